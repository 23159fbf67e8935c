"""Data sets: official layouts, records on disk, splits in memory, batches.

TFDS is imported when records are written or read, not before. The synthetic world is
``jaxreid.data.world``; augmentation on the device is ``jaxreid.data.augment``.
"""

from jaxreid.data.layouts import LAYOUTS, Layout
from jaxreid.data.record import Record, generated
from jaxreid.data.records import write_generated
from jaxreid.data.sampling import Plan, companions, pk, prefetch, shuffled, stream, unpaired
from jaxreid.data.scanning import Entry, scan
from jaxreid.data.splits import (
    Split,
    held_out,
    load,
    prepare,
    require_keypoints,
    require_masks,
    with_masks,
)
from jaxreid.data.trials import require_unseen

__all__ = [
    "LAYOUTS",
    "Entry",
    "Layout",
    "Plan",
    "Record",
    "Split",
    "companions",
    "generated",
    "held_out",
    "load",
    "pk",
    "prefetch",
    "prepare",
    "require_keypoints",
    "require_masks",
    "require_unseen",
    "scan",
    "shuffled",
    "stream",
    "unpaired",
    "with_masks",
    "write_generated",
]
