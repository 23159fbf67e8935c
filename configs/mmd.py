"""IDE + MMD: identities of a labelled source, features spread alike in an unlabelled target.

Paper: Lin, Li, Li, Kot, "Multi-task Mid-level Feature Alignment Network for Unsupervised
Cross-Dataset Person Re-Identification" (MMFA), BMVC 2018, of which this is the part that needs no
attribute labels; weight, batch and kernels are ours, for the paper's were not to be had.
Command: ``python launch.py --config=configs/mmd.py``, and for scale ``paper``
``python launch.py --config=configs/mmd.py:paper --config.data.source.root=Market-1501-v15.09.15
--config.data.target.root=MSMT17_V2``.
Published for the whole MMFA, with attributes, rank-1 / mAP: Market-1501 to DukeMTMC-reID 45.3 /
24.7, back 56.7 / 27.4. Give ImageNet weights by ``--config.reid.pretrained=...``.

Source and target share a forward pass, hence batch norm. Sweeps: ``weight``, 0 leaves that alone;
``back``, from the second city to the first.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common

SWEEPS: dict[str, dict[str, dict[str, Any]]] = {
    "weight": {f"{weight:g}": {"mmd.weight": weight} for weight in (0.0, 0.1, 1.0, 10.0)},
    "back": common.BACK,
}


def get_config(scale: str = "demo") -> ConfigDict:
    """The config at a scale."""
    common.check(scale)
    data, reid = common.domains(scale), common.reid(scale)
    if scale == "paper":
        reid.batch = 32
        data.update({"source": {"masks": ""}, "target": {"masks": ""}})  # cut-and-paste needs them
    return ConfigDict(
        {
            "system": "mmd",
            **common.training(scale),
            "data": data,
            "reid": reid,
            "mmd": {"weight": 1.0, "bandwidths": (0.5, 1.0, 2.0), "batch": reid.to_dict()["batch"]},
            "crossing": common.crossing(scale),
        }
    )
