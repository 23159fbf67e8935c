"""M2M-GAN, lite: a labelled source set in the styles of the cameras of an unlabelled target.

Paper: Liang, Wang, Lai, Zhu, "M2M-GAN: Many-to-Many Generative Adversarial Transfer Learning for
Person Re-Identification", 2018. Its text was not to be had; what is known is the idea: cameras are
domains on both sides, one model for all pairs, guided by labels and a camera classifier. Losses,
networks and schedule here are OURS, and results are those of a **lite** form.
Command: ``python launch.py --config=configs/m2m.py``, and for scale ``paper``
``python launch.py --config=configs/m2m.py:paper --config.data.source.root=Market-1501-v15.09.15
--config.data.target.root=MSMT17_V2``.
Published for the real M2M-GAN, rank-1 / mAP, with local max pooling: Market-1501 to DukeMTMC-reID
54.4 / 31.6, back 63.1 / 30.9; without (not verified) 49.6 / 26.1 and 57.5 / 26.8.

Ours: StarGAN's generators, told both cameras of a pair, and its patch discriminators with a head
for cameras; least squares, camera 1, cycle 10, identity 5; SPGAN's batch and epochs, then a falling
rate. Each source image goes to one target camera, drawn by the seed. The re-ID network is the
house's IDE, as for SPGAN and CR-GAN, so that the rows differ in the translator alone.

Sweeps: ``camera``, the weight of the camera heads, at 0 nothing tells the cameras apart; ``back``,
from the second city to the first.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common

SWEEPS: dict[str, dict[str, dict[str, Any]]] = {
    "camera": {f"{weight:g}": {"m2m.class_weight": weight} for weight in (0.0, 0.3, 1.0)},
    "back": common.BACK,
}


def get_config(scale: str = "demo") -> ConfigDict:
    """The config at a scale."""
    common.check(scale)
    gan, data = common.cyclegan(scale), common.domains(scale)
    gan.patch_layers = 3
    if scale == "paper":
        gan.update({"batch": 8, "blocks": 6, "epochs": 20, "decay_epochs": 20})
        data.update({"source": {"masks": ""}, "target": {"masks": ""}})  # cut-and-paste needs them
    return ConfigDict(
        {
            "system": "m2m",
            **common.training(scale),
            "data": data,
            "reid": common.reid(scale),
            "gan": gan,
            "m2m": {"class_weight": 1.0},
            "crossing": common.crossing(scale),
        }
    )
