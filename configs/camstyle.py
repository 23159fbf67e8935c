"""CamStyle: one CycleGAN per camera pair, smoothed labels on the translated images.

Paper: Zhong, Zheng, Zheng, Li, Yang, "Camera Style Adaptation for Person Re-identification",
CVPR 2018.
Command: ``python launch.py --config=configs/camstyle.py``, and for the published settings
``python launch.py --config=configs/camstyle.py:paper --config.data.root=Market-1501-v15.09.15``
Published, Market-1501, rank-1 / mAP (trapezoid): IDE 85.66 / 65.87, CamStyle 88.12 / 68.72, with
random erasing 89.49 / 71.55, all from ImageNet weights (``--config.reid.pretrained=...``).

From tables of the paper: ``--sweep=losses`` (labels of translated images), ``--sweep=ratio`` (real
to translated images, for 128 real ones a batch; ``--sweep=world_ratio`` for the demo's 64),
``--sweep=augmentation`` (random erasing). 4 or 8 devices need a ``reid.generated_batch`` that they
can share: 48. Ours:
``--sweep=translators`` puts a StarGAN in the CycleGANs' place; ``--sweep=checkpoints`` has judges
of held-out training people choose among four checkpoints.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common

RATIOS = ((1, 3), (1, 2), (1, 1), (2, 1), (3, 1), (4, 1), (5, 1))


def _ratio(batch: int) -> dict[str, dict[str, Any]]:
    """M real images to N translated ones, with ``batch`` real ones per step."""
    return {f"{m}_to_{n}": {"reid.generated_batch": round(batch * n / m)} for m, n in RATIOS}


SWEEPS: dict[str, dict[str, dict[str, Any]]] = {
    "losses": {"one_hot": {"camstyle.epsilon": 0.0}, "smoothed": {"camstyle.epsilon": 0.1}},
    "ratio": _ratio(128),
    "world_ratio": _ratio(64),
    "augmentation": {"plain": {"reid.erasing": 0.0}, "erasing": {"reid.erasing": 0.5}},
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
            **common.training(scale),
            "data": common.data(scale),
            "reid": common.reid(scale),
            "translator": "cyclegan",
            "gan": common.cyclegan(scale),
            "stargan": common.stargan(scale),
        }
    )
    generated = {"tiny": 3, "demo": 23, "paper": 46}[scale]
    config.update({"reid": {"generated_batch": generated}})
    config.update({"gan": {"candidates": 2 if scale == "tiny" else 1}})
    config.camstyle = {"epsilon": 0.1, "jitter": 0.2, "judge": scale == "tiny"}
    return config
