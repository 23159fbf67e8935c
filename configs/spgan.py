"""SPGAN: a labelled source set in the style of an unlabelled target, kept apart by a siamese net.

Paper: Deng, Zheng, Ye, Kang, Yang, Jiao, "Image-Image Domain Adaptation with Preserved
Self-Similarity and Domain-Dissimilarity for Person Re-identification", CVPR 2018.
Command: ``python launch.py --config=configs/spgan.py``, and for the published settings
``python launch.py --config=configs/spgan.py:paper --config.data.source.root=Market-1501-v15.09.15
--config.data.target.root=MSMT17_V2``.
Published, rank-1 / mAP (trapezoid), from ImageNet weights (``--config.reid.pretrained=...``):
Market-1501 to DukeMTMC-reID 41.1 / 22.3, with local max pooling 46.9 / 26.4; back 51.5 / 22.8 and
58.1 / 26.9. Direct transfer: 33.1 / 16.7 and 43.1 / 17.0.

``--config.spgan.taudl=True`` adds SPGAN + TAUDL: tracklet association (``configs/taudl.py``) that
begins with SPGAN's network and uses per-camera identities of the target. Published, rank-1 / mAP:
Market-1501 to DukeMTMC-reID 66.1 / 47.2, back 66.5 / 38.5.

Scale ``paper`` is the authors' PyTorch code, except that the generators turn in every step, as the
paper says, with their IDE for the paper: 224x224, norms frozen where weights are given.

Sweeps: ``margin`` (the paper's 0, 1, 2, and without the term), ``pairs`` (whose negatives),
``recipe`` (IDE, IDE with colour jitter in all arms, a strong re-ID network), ``back`` (from the
second city to the first).
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common

SWEEPS: dict[str, dict[str, dict[str, Any]]] = {
    "margin": {
        "cyclegan": {"spgan.weight": 0.0, "gan.identity_weight": 0.0},
        "identity": {"spgan.weight": 0.0},
        **{f"margin_{m}": {"spgan.margin": float(m)} for m in (0, 1, 2)},
    },
    "pairs": {pairs: {"spgan.pairs": pairs} for pairs in ("pytorch", "paper", "tensorflow")},
    "recipe": common.RECIPES,
    "back": common.BACK,
}


def get_config(scale: str = "demo") -> ConfigDict:
    """The config at a scale."""
    common.check(scale)
    gan, data = common.cyclegan(scale), common.domains(scale)
    if scale == "paper":
        gan.update({"batch": 8, "epochs": 20, "decay_epochs": 0})
        data.update({"source": {"masks": ""}, "target": {"masks": ""}})  # cut-and-paste needs them
    options = {
        "weight": 2.0,
        "margin": 2.0,
        "pairs": "pytorch",
        "siamese_from": 0.05,
        "contrastive_from": 0.1,
        "width": 64,
        "blocks": 3,
        "taudl": False,
    }
    if scale != "paper":
        options |= {"width": {"demo": 16, "tiny": 4}[scale], "blocks": 2}
    config = ConfigDict(
        {
            "system": "spgan",
            **common.training(scale),
            "data": data,
            "reid": common.reid(scale),
            "gan": gan,
            "spgan": options,
            "tracklets": common.tracklets(scale),
            "crossing": common.crossing(scale),
        }
    )
    if scale == "paper":
        common.caffe_ide(config)
    return config
