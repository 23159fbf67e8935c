"""TAUDL: learning from tracklets of the target, which are labelled within each camera only.

Paper: Li, Zhu, Gong, "Person Re-identification by Deep Learning Tracklet Association", ECCV 2018.
Command: ``python launch.py --config=configs/taudl.py``, and for the released settings
``python launch.py --config=configs/taudl.py:paper --config.data.source.root=Market-1501-v15.09.15
--config.data.target.root=MSMT17_V2 --config.reid.pretrained=...`` (ImageNet weights).
Published, rank-1 / mAP: Market-1501 63.7 / 41.2, DukeMTMC-reID 61.7 / 43.5; SPGAN + TAUDL, Market
to Duke 66.1 / 47.2, back 66.5 / 38.5; CR-GAN + TAUDL 68.9 / 48.6 and 77.7 / 54.0. All of them use
per-camera identities of the target's training images, and so does this: the paper tells of
automatic tracklets, but on image sets its code groups images by camera and identity. In the
synthetic world that is what a perfect tracker would give, as a person passes a camera once; it is
said beside the scores, in ``results.json`` and in the report.

The paper's exact CCTA, its sigma, K and batch are not known to us: sigma 2, K half of the cameras,
the rest as in the released scripts. Those depart from the paper in CCTA (no gradient through its
numerator, distances not squared, all tracklets as neighbours, another camera's rows, the tracklet
itself in the denominator), which is not followed here but for the last, by
``tracklets.include_self``. PCTD is the paper's mean; ``tracklets.reduction="camera_sum"`` is the
code's. Batch norm sees the whole batch, per camera by ``tracklets.per_camera_norm``. Of the 200
epochs the last 50 do next to nothing at the printed rate.

``taudl.start``: ``none`` begins with ImageNet weights (``reid.pretrained``), as published;
``direct`` with the network of direct transfer, which scale ``demo`` does, having no such weights.
SPGAN + TAUDL: ``--config=configs/spgan.py --config.spgan.taudl=True``. The target of scale
``paper`` is MSMT17, as for PTGAN and SPGAN. Ranking is by Euclidean distance of x as it is; the
rows with local max pooling leave x out.

Sweeps: ``terms`` (both losses and each alone), ``code`` (three choices of the released code),
``back`` (from the second city to the first).
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common

SWEEPS: dict[str, dict[str, dict[str, Any]]] = {
    "terms": {
        "pctd": {"tracklets.association": 0.0},
        "ccta": {"tracklets.association": 1.0},
        "both": {},
    },
    "code": {
        "default": {},
        "camera_sum": {"tracklets.reduction": "camera_sum"},
        "include_self": {"tracklets.include_self": True},
        "per_camera_norm": {"tracklets.per_camera_norm": True},
    },
    "back": common.BACK,
}


def get_config(scale: str = "demo") -> ConfigDict:
    """The config at a scale."""
    common.check(scale)
    data = common.domains(scale)
    if scale == "paper":
        data.update({"source": {"masks": ""}, "target": {"masks": ""}})  # cut-and-paste needs them
    return ConfigDict(
        {
            "system": "taudl",
            **common.training(scale),
            "data": data,
            "reid": common.reid(scale),
            "tracklets": common.tracklets(scale),
            "taudl": {"start": "none" if scale == "paper" else "direct"},
            "crossing": common.crossing(scale),
        }
    )
