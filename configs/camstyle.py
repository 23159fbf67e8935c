"""CamStyle: one CycleGAN per camera pair, smoothed labels on the translated images.

Paper: Zhong, Zheng, Zheng, Li, Yang, "Camera Style Adaptation for Person Re-identification",
CVPR 2018.
Command: ``python launch.py --config=configs/camstyle.py``, and for the published settings
``python launch.py --config=configs/camstyle.py:paper --config.data.root=Market-1501-v15.09.15``
Published, Market-1501, rank-1 / mAP (trapezoid): IDE 85.66 / 65.87, CamStyle 88.12 / 68.72, with
random erasing 89.49 / 71.55, all from ImageNet weights (``--config.reid.pretrained=...``).

``--sweep=translators`` puts a StarGAN in the CycleGANs' place; ``--sweep=checkpoints`` has judges
of held-out training people choose among four checkpoints.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common

SWEEPS: dict[str, dict[str, dict[str, Any]]] = {
    "translators": {kind: {"translator": kind} for kind in ("cyclegan", "stargan")},
    "checkpoints": {
        str(count): {"gan.candidates": count, "camstyle.judge": True} for count in (1, 4)
    },
}


def get_config(scale: str = "demo") -> ConfigDict:
    """The config at a scale."""
    common.check(scale)
    config = ConfigDict(
        {
            "system": "camstyle",
            "seed": 0,
            "every": common.every(scale),
            "data": common.data(scale),
            "reid": common.reid(scale),
            "translator": "cyclegan",
            "gan": common.cyclegan(scale),
            "stargan": common.stargan(scale),
        }
    )
    config.camstyle = {"epsilon": 0.1, "jitter": 0.2, "judge": scale == "tiny"}
    return config
