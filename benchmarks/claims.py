"""The head of ``EVIDENCE.md``: what each of the nine papers claims, and what was measured of it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.cells import interval, verdict
from jaxreid.evaluation.statistics import paired_difference
from jaxreid.report import markdown
from jaxreid.report.results import BASELINE


class Claim(NamedTuple):
    """What a paper says of its system.

    Attributes:
        title: of the system.
        words: the claim, ours.
        arm: whose mAP is compared.
        other: with that of this one.
    """

    title: str
    words: str
    arm: str
    other: str = BASELINE


CLAIMS = {
    "camstyle": Claim(
        "CamStyle",
        "training images in the style of the other cameras, with smoothed labels, improve IDE",
        "camstyle",
    ),
    "lsro": Claim(
        "GAN + LSRO", "pictures of nobody with uniform labels improve a classifier", "lsro"
    ),
    "faketriplet": Claim(
        "fake triplet",
        "generated images improve IDE through a triplet loss of real anchors",
        "faketriplet",
    ),
    "unitystyle": Claim(
        "UnityStyle",
        "training and test images in one style of all cameras improve IDE",
        "unitystyle",
    ),
    "ptgan": Claim(
        "PTGAN",
        "source images in the target's style, persons held, improve direct transfer",
        "ptgan",
    ),
    "spgan": Claim(
        "SPGAN", "the same, with translations that stay similar to their originals", "spgan"
    ),
    "crgan": Claim(
        "CR-GAN", "source persons in many contexts of the target improve direct transfer", "crgan"
    ),
    "pngan": Claim(
        "PN-GAN",
        "features of images in canonical poses improve those of the originals (more than those of "
        "a second network of originals do)",
        "pngan",
        "two_nets",
    ),
    "ce2l_near": Claim(
        "CE2L",
        "images converted to the other modality improve matching between modalities",
        "ce2l (near)",
    ),
}
HEAD = """## What the papers claim

The mAP of a system's own arm less that of the arm it is to improve, which is the same network on
the real images alone (of PN-GAN, which fuses two networks, two such). Minutes and peak memory are
of whole runs, every arm included, but without the stages that a run took over from another:
medians, where they were kept.
"""
COLUMNS = ("system", "claim", "seeds", "mAP in points", "verdict", "minutes", "MiB")


def section(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The table; ``found`` has the stored runs of each system."""
    rows = [_row(claim, found.get(name, ())) for name, claim in CLAIMS.items()]
    return "\n".join([HEAD, markdown.table([COLUMNS, *rows])]) + "\n"


def _row(claim: Claim, runs: Sequence[Mapping[str, Any]]) -> list[str]:
    row = [claim.title, claim.words, str(len(runs))]
    if len(runs) < 2:
        return [*row, "", "not measured", *_costs(runs)]
    own, other = ([r["arms"][arm]["mAP"] for r in runs] for arm in (claim.arm, claim.other))
    gain = paired_difference(own, other)
    return [*row, interval(gain), verdict(gain), *_costs(runs)]


def _costs(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Median minutes and peak memory, as far as they are known."""
    values = ([r[key] for r in runs if key in r] for key in ("seconds", "peak_mib"))
    minutes, memory = (np.median(each) if each else None for each in values)
    return [
        "" if minutes is None else f"{minutes / 60:.0f}",
        "" if memory is None else f"{memory:.0f}",
    ]
