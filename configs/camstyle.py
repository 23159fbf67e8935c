"""CamStyle: one CycleGAN per camera pair, smoothed labels on the translated images.

Paper: Zhong, Zheng, Zheng, Li, Yang, "Camera Style Adaptation for Person Re-identification",
CVPR 2018.
Command: ``python launch.py --config=configs/camstyle.py``, and for the published settings
``python launch.py --config=configs/camstyle.py:paper --config.data.root=Market-1501-v15.09.15``
Published, Market-1501, rank-1 / mAP (trapezoid): IDE 85.66 / 65.87, CamStyle 88.12 / 68.72, with
random erasing 89.49 / 71.55, all from ImageNet weights (``--config.reid.pretrained=...``).
"""

from ml_collections import ConfigDict

from configs import common


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
        }
    )
    config.camstyle = {"epsilon": 0.1, "jitter": 0.2, "judge": False}
    config.gan = {
        "width": 64,
        "blocks": 9,
        "halvings": 2,
        "patch_layers": 3,
        "dropout": 0.0,
        "batch": 1,
        "margin": 286 / 256 - 1,
        "cycle_weight": 10.0,
        "identity_weight": 5.0,
        "pool": 50,
        "rate": 2e-4,
        "epochs": 30,
        "decay_epochs": 20,
        "candidates": 1,
    }
    if scale == "demo":
        config.gan.update(
            {
                "width": 16,
                "blocks": 2,
                "halvings": 1,
                "patch_layers": 1,
                "rate": 1e-3,
                "epochs": 3,
                "decay_epochs": 5,
            }
        )
    if scale == "tiny":
        config.camstyle.judge = True
        config.gan.update(
            {
                "width": 4,
                "blocks": 1,
                "patch_layers": 2,
                "batch": 4,
                "epochs": 1,
                "decay_epochs": 1,
                "pool": 6,
                "candidates": 2,
            }
        )
    return config
