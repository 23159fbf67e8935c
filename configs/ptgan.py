"""PTGAN: a labelled source set in the style of an unlabelled target, persons held by masks.

Paper: Wei, Zhang, Gao, Tian, "Person Transfer GAN to Bridge Domain Gap for Person
Re-Identification", CVPR 2018.
Command: ``python launch.py --config=configs/ptgan.py``, and for the published settings
``python launch.py --config=configs/ptgan.py:paper --config.data.source.root=Market-1501-v15.09.15
--config.data.target.root=MSMT17_V2``, with masks of the persons as PNGs in the folder ``masks`` of
each set, or elsewhere: ``--config.data.source.masks=...`` (``jaxreid/data/masks.py``). ``python -m
jaxreid.stages.masks ROOT`` makes them; the paper's were PSPNet's, which no package carries. Without
any, ``masks=centre_ellipse`` gives every picture one, and ``ones`` holds whole pictures in place.
Published, rank-1 / mAP, with GoogLeNet: Market-1501 to MSMT17 10.2 / 2.9; to DukeMTMC-reID rank-1
27.4, back 38.6. Give ImageNet weights by ``--config.reid.pretrained=...``.

Pictures are 256x128, as in the other systems, not the paper's 256x256. The networks are CycleGAN's
default ones, with biases and without affine norms. Epochs and the rate
of the discriminators are the paper's as it is remembered (40, 1e-4), not the code's (200, 2e-4);
the masked term is the code's mean of squares. Masks are cropped and flipped with their images,
which the code forgets. The re-ID network of scale ``paper`` is SPGAN's IDE, since PTGAN's own
(GoogLeNet) was never published: so rows differ in the translator alone.

Sweeps: ``person``, the weight of the masked term, 0 for a CycleGAN without identity terms;
``recipe``, IDE, IDE with colour jitter in all arms, and a strong re-ID network; ``back``, from the
second city to the first.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common

SWEEPS: dict[str, dict[str, dict[str, Any]]] = {
    "person": {f"{weight:g}": {"ptgan.person_weight": weight} for weight in (0.0, 10.0, 50.0)},
    "recipe": common.RECIPES,
    "back": common.BACK,
}


def get_config(scale: str = "demo") -> ConfigDict:
    """The config at a scale."""
    common.check(scale)
    gan = common.cyclegan(scale)
    gan.identity_weight = 0.0
    judge_rate = gan.to_dict()["rate"] / 2
    if scale == "paper":
        gan.update({"epochs": 20, "decay_epochs": 20})
    config = ConfigDict(
        {
            "system": "ptgan",
            **common.training(scale),
            "data": common.domains(scale),
            "reid": common.reid(scale),
            "gan": gan,
            "ptgan": {"person_weight": 10.0, "norm": "mean_square", "judge_rate": judge_rate},
            "crossing": common.crossing(scale),
        }
    )
    if scale == "paper":
        common.caffe_ide(config)
    return config
