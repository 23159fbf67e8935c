"""PUL: clusters of the unlabelled target as identities, fine-tuned round after round.

Paper: Fan, Zheng, Yan, Yang, "Unsupervised Person Re-identification: Clustering and Fine-tuning",
ACM TOMM 2018; numbers and defaults of the published code.
Command: ``python launch.py --config=configs/pul.py``, and for the published settings
``python launch.py --config=configs/pul.py:paper --config.data.source.root=cuhk03-np/detected
--config.data.target.root=Market-1501-v15.09.15 --config.reid.pretrained=...`` (ImageNet weights).
Published, rank-1 / mAP (trapezoid): CUHK03 to Market-1501 41.9 / 18.0; Market-1501 to
DukeMTMC-reID (700 clusters) 30.0 / 16.4, back 45.5 / 20.5; other papers quote 30.4 / 16.4 and
44.7 / 20.1 for these two.

As in the code, an image is kept if it is near to any centre, not only to its own cluster's
(``own_centre``). Ours: one k-means++ start in the place of ten restarts. Scale ``paper`` differs
from the code in what the house's re-ID network does: momentum is Nesterov's; pictures are shifted
over black and flipped, but not rotated (the code rotates by up to 20 degrees and does not flip);
means of ImageNet in RGB instead of Caffe's in BGR. The published CUHK03 is not the split of
CUHK03-NP. ``demo`` and ``tiny`` begin with the network of the other cross-domain systems, whose
embedding has unit length, and fine-tune at half the rate of its head and a tenth of its
backbone's. Cosines of the small network are large (a median of 0.85 between images of the target),
so that ``demo`` keeps what exceeds 0.97, two images of three in round 1.

Sweeps: ``threshold`` (0.85 keeps every image of ``demo``), ``centre`` (any, own), ``rounds``,
``back`` (from the second city to the first).
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common

SWEEPS: dict[str, dict[str, dict[str, Any]]] = {
    "threshold": {f"{value:g}": {"pul.threshold": value} for value in (0.85, 0.95, 0.97, 0.98)},
    "centre": {"any": {"pul.own_centre": False}, "own": {"pul.own_centre": True}},
    "rounds": {str(rounds): {"pul.rounds": rounds} for rounds in (1, 3, 5)},
    "back": common.BACK,
}


def get_config(scale: str = "demo") -> ConfigDict:
    """The config at a scale."""
    common.check(scale)
    data, net, tests = common.domains(scale), common.reid(scale), common.crossing(scale)
    options = {"clusters": 750, "threshold": 0.85, "own_centre": False, "rounds": 25}
    options |= {"epochs": 20, "rate": 1e-3, "head_rate": 1e-3}
    if scale == "demo":
        options |= {"clusters": 240, "rounds": 5, "epochs": 8, "threshold": 0.97}
        options |= {"rate": 5e-3, "head_rate": 0.05}
    if scale == "tiny":
        options |= {"clusters": 6, "rounds": 2, "epochs": 1, "threshold": 0.5}
    if scale == "paper":
        data.update({"height": 224, "width": 224})
        data.update({"source": {"name": "cuhk03_np_detected", "masks": ""}})
        data.update({"target": {"name": "market1501", "masks": ""}})
        net.update({"head": "direct_dropout", "batch": 16, "epochs": 40, "decay_every": 40})
        net.update({"rate": 1e-3, "head_rate": 1e-3, "weight_decay": 0.0})
        net.update({"crop": "pad", "pad": 45})  # 20 % of 224 in every direction
        tests.parts = 7
    return ConfigDict(
        {
            "system": "pul",
            **common.training(scale),
            "data": data,
            "reid": net,
            "pul": options,
            "crossing": tests,
        }
    )
