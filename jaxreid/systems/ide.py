"""IDE: the classification baseline that every system of this library is compared with.

Zheng et al., "Person Re-identification: Past, Present and Future", 2016: a ResNet trained to name
the training identities; its pooled features retrieve the others.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxreid.stages import publish, reid, sets
from jaxreid.stages.arms import run_arm
from jaxreid.training import Every


def run(config: Mapping[str, Any], workdir: Path) -> dict[str, Any]:
    """Data, one re-ID network, scores, report."""
    settings, every = reid.Settings(**config["reid"]), Every(**config["every"])
    data = sets.prepare(workdir, sets.Settings(**config["data"]))
    reid.require(settings, data)
    baseline = run_arm(workdir, data, "baseline", settings, seed=config["seed"], every=every)
    return publish.publish(workdir, config, data, [baseline])
