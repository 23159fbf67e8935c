"""TAUDL: a network that learns from tracklets of the target, named within each camera alone.

Li, Zhu, Gong, "Person Re-identification by Deep Learning Tracklet Association", ECCV 2018. There is
no translator: a classifier per camera tells the tracklets of that camera apart, while tracklets of
different cameras that look alike are pulled together. PCTD, CCTA and their training are in
``stages.tracklets``, since the hybrids SPGAN + TAUDL and CR-GAN + TAUDL end with them, too.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxreid.stages import crossing, tracklets

STARTS = ("none", "direct")


def run(config: Mapping[str, Any], workdir: Path) -> dict[str, Any]:
    """Both sets, direct transfer, tracklet association, rivals, report."""
    options, settings = config["taudl"], tracklets.Settings(**config["tracklets"])
    if options["start"] not in STARTS:
        raise ValueError(f"taudl.start is {options['start']!r}; choose one of {STARTS}")
    started = crossing.begin(config, workdir)
    tracklets.require(started, settings)
    first = crossing.direct(started) if options["start"] == "direct" else None
    return crossing.conclude(started, [tracklets.associate(started, settings, first, "taudl")])
