"""Several splits as one."""

from collections.abc import Sequence

import numpy as np

from jaxreid.data.pictures import Pictures
from jaxreid.data.splits import CACHE_BYTES, Split


def concatenate(splits: Sequence[Split], cache_bytes: int = CACHE_BYTES) -> Split:
    """The rows of all ``splits``, in order; they must have one size.

    Args:
        splits: at least one.
        cache_bytes: as in ``load``, for all of them together.
    """
    first = np.cumsum([0, *(len(split) for split in splits)])

    def read(numbers: Sequence[int]) -> list[bytes]:
        parts = np.searchsorted(first, numbers, side="right") - 1
        files: list[bytes] = [b""] * len(numbers)
        for part in np.unique(parts):
            places = np.flatnonzero(parts == part)
            local = splits[part].numbers[np.asarray(numbers)[places] - first[part]]
            for place, file in zip(places, splits[part].pictures.files(local), strict=True):
                files[place] = file
        return files

    total = int(first[-1])
    return Split(
        pids=np.concatenate([split.pids for split in splits]),
        cameras=np.concatenate([split.cameras for split in splits]),
        names=sum((split.names for split in splits), ()),
        styles=np.concatenate([split.styles for split in splits]),
        sources=sum((split.sources for split in splits), ()),
        size=splits[0].size,
        numbers=np.arange(total),
        pictures=Pictures(read, total, splits[0].size, cache_bytes),
    )
