"""IDE baseline: identity classification, the network that every system is compared with.

Paper: Zheng, Yang, Hauptmann, "Person Re-identification: Past, Present and Future", 2016; the
settings of scale ``paper`` are CamStyle's IDE* (Zhong et al., CVPR 2018).
Command: ``python launch.py --config=configs/ide.py``
Published, Market-1501, rank-1 / mAP (trapezoid): 85.66 / 65.87, from ImageNet weights.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(scale: str = "demo") -> ConfigDict:
    """The config at a scale."""
    common.check(scale)
    return ConfigDict(
        {
            "system": "ide",
            **common.training(scale),
            "data": common.data(scale),
            "reid": common.reid(scale),
        }
    )
