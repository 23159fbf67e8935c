"""HHL: camera invariance by renderings of target images, and domains connected by triplets.

Paper: Zhong, Zheng, Li, Yang, "Generalizing a Person Retrieval Model Hetero- and Homogeneously",
ECCV 2018. Command: ``python launch.py --config=configs/hhl.py``, and for the published settings
``python launch.py --config=configs/hhl.py:paper --config.data.source.root=Market-1501-v15.09.15
--config.data.target.root=MSMT17_V2``.
Published, rank-1 / mAP (trapezoid), from ImageNet weights (``--config.reid.pretrained=...``):

    ======================  ==================  ==================
    row of sweep ``table``  Market to Duke      Duke to Market
    ======================  ==================  ==================
    baseline (every row's)  32.9 / 16.9         44.6 / 20.6
    source_triplet          35.1 / 20.5         48.6 / 23.5
    connectedness           36.8 / 21.1         49.8 / 23.8
    invariance              42.5 / 22.1         60.6 / 28.5
    hhl                     46.9 / 27.2         62.2 / 31.4
    trained on the target   72.3 / 53.5         83.8 / 66.3
    ======================  ==================  ==================

Scale ``paper`` has the released code's batches (128 source images classified; 8 people with 8
images, 16 target images and their C renderings in the triplets: 176 for 6 cameras, 208 for 8).
Unlike it, FC 1024, its norm and FC 128 learn, at the backbone's rate as the paper says (the code
leaves them out of both its groups of parameters); pseudo-identities never collide; StarGAN's rate
falls to 0 as the paper says (``--config.stargan.decay=legacy`` for the code's, which hardly falls).
The triplet loss is the code's mean over anchors, not the printed sum. Sweep ``back``: from the
second city to the first.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common

SWEEPS: dict[str, dict[str, dict[str, Any]]] = {
    "table": {
        "source_triplet": {"hhl.over": "source"},
        "connectedness": {"hhl.over": "source+target"},
        "invariance": {"hhl.over": "target+rendered"},
        "hhl": {"hhl.over": "source+target+rendered"},
    },
    "back": common.BACK,
}


def get_config(scale: str = "demo") -> ConfigDict:
    """The config at a scale."""
    common.check(scale)
    data, reid = common.domains(scale), common.reid(scale)
    options = {"over": "source+target+rendered", "margin": 0.3, "weight": 0.5}
    options |= dict(zip(("people", "images", "batch"), SIZES[scale], strict=True))
    if scale == "paper":
        reid.epochs = 60
        data.update({"source": {"masks": ""}, "target": {"masks": ""}})  # cut-and-paste needs them
    return ConfigDict(
        {
            "system": "hhl",
            **common.training(scale),
            "data": data,
            "reid": reid,
            "stargan": common.stargan(scale),
            "hhl": options,
            "crossing": common.crossing(scale),
        }
    )


SIZES = {"demo": (8, 4, 8), "tiny": (2, 2, 3), "paper": (8, 8, 16)}  # people, images, target images
