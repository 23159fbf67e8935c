"""The part of ``EVIDENCE.md`` that has the form of the CR-GAN paper's tables: systems in one table.

Both directions side by side: from the first city to the second, and back (the sweep ``back``).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.cells import percent, plain
from jaxreid.report import markdown

HEAD = """## From one city to the other

The systems of a labelled source and an unlabelled target in one table each, in the form of the
tables of Chen, Zhu, Gong (ICCV 2019); what follows below has their intervals. *There* is from the
world's first city to its second, *back* the reverse. In percent, mean (standard deviation) over the
seeds; the last columns say how many. Systems of fewer seeds compare with others only roughly.
*lmp*: mAP when retrieving by local max pooling. `taudl` uses identities per camera of the target.
"""
PICTURES = """
Generated sets. LPIPS, of a source image and its translation (in the row
`source`: of random images of both sets), and the distance to the target's training images by the
network that the key names; the paper reports a higher LPIPS as diversity, but see `lpips/oracle`
below: the truth itself has a value. `colour/spread`: as below.
"""
KINDS = {
    "none": ("baseline", "jitter", "cut_and_paste"),
    "image": ("ptgan", "spgan", "m2m", "crgan"),
    "feature": ("mmd", "pul", "buc", "taudl"),
    "hybrid": ("hhl", "spgan_taudl", "crgan_taudl"),
    "truth": ("oracle",),
}
BACK = "back"
Found = dict[str, dict[int, Mapping[str, float]]]  # by arm or set, by seed


def section(runs: Sequence[Mapping[str, Any]]) -> str:
    """Both tables of stored runs; nothing where none is of such a system."""
    there, back = (_found(runs, "arms", way) for way in ("", BACK))
    if not there:
        return ""
    head = ["learns from", "arm"]
    head += [f"{way} {name}" for way in ("there", BACK) for name in ("rank-1", "mAP", "lmp")]
    rows = [
        [kind, arm, *_scores(arm, there), *_scores(arm, back), _seeds(arm, there, back)]
        for kind, arms in KINDS.items()
        for arm in arms
        if arm in there or arm in back
    ]
    parts = [HEAD, markdown.table([[*head, "seeds"], *rows])]
    apart = [_found(runs, "distances", way) for way in ("", BACK)]
    names = ["source", *(arm for arms in KINDS.values() for arm in arms), "floor"]
    keys = [key for key in _keys(apart[0]) if key.split("/")[0] in ("fd", "fid", "colour")]
    lines = [
        [name, *(cell for found in apart for cell in _apart(name, found, keys))]
        for name in names
        if name in apart[0]
    ]
    if lines:
        head = [f"{way} {key}" for way in ("there", BACK) for key in ("lpips", *keys)]
        parts += [PICTURES, markdown.table([["images", *head], *lines])]
    return "\n".join(parts) + "\n"


def _found(runs: Sequence[Mapping[str, Any]], part: str, way: str) -> Found:
    """What all systems' runs of one direction found, by arm or set and seed."""
    found: Found = {}
    for run in runs:
        sweep = "".join(run["settings"].get("sweep", {}))
        if "target" in run["settings"]["data"] and sweep == way:
            for name, values in run.get(part, {}).items():
                by_seed = found.setdefault(name.removesuffix(f" ({way})"), {})
                by_seed.setdefault(run["settings"]["seed"], values)
    return found


def _scores(arm: str, found: Found) -> list[str]:
    plain, pooled = found.get(arm, {}), found.get(f"{arm}_lmp", {})
    return [
        _cell(plain, "rank-1", percent),
        _cell(plain, "mAP", percent),
        _cell(pooled, "mAP", percent),
    ]


def _apart(name: str, found: Found, keys: list[str]) -> list[str]:
    ours = "lpips/source_target" if name == "source" else "lpips/source_generated"
    values = found.get(name, {})
    return [_cell(values, key, plain) for key in (ours, *keys)]


def _cell(by_seed: Mapping[int, Mapping[str, float]], key: str, text: Callable[..., str]) -> str:
    values = np.array([each[key] for each in by_seed.values() if key in each])
    return text(values) if len(values) else ""


def _seeds(arm: str, *ways: Found) -> str:
    return ", ".join(str(len(found.get(arm, {}))) for found in ways)


def _keys(found: Found) -> list[str]:
    runs = [values for by_seed in found.values() for values in by_seed.values()]
    return list(dict.fromkeys(key for values in runs for key in values))
