"""Several splits as one."""

from collections.abc import Sequence

import numpy as np

from jaxreid.data.pictures import Pictures
from jaxreid.data.splits import CACHE_BYTES, Split, common


def concatenate(splits: Sequence[Split], cache_bytes: int = CACHE_BYTES) -> Split:
    """The rows of all ``splits``, in order; they must have one size.

    They keep their masks if all of them have some, and their keypoints likewise.

    Args:
        splits: at least one.
        cache_bytes: as in ``load``, for all of them together.
    """
    first = np.cumsum([0, *(len(split) for split in splits)])

    def joined(parts: Sequence[Pictures], masks: bool) -> Pictures:
        def read(numbers: Sequence[int]) -> list[bytes]:
            owners = np.searchsorted(first, numbers, side="right") - 1
            files: list[bytes] = [b""] * len(numbers)
            for owner in np.unique(owners):
                places = np.flatnonzero(owners == owner)
                local = splits[owner].numbers[np.asarray(numbers)[places] - first[owner]]
                for place, file in zip(places, parts[owner].files(local), strict=True):
                    files[place] = file
            return files

        return Pictures(read, int(first[-1]), splits[0].size, cache_bytes, masks)

    joints = [split.joints for split in splits if split.joints is not None]
    foregrounds = [split.foreground for split in splits if split.foreground]
    return Split(
        pids=np.concatenate([split.pids for split in splits]),
        cameras=np.concatenate([split.cameras for split in splits]),
        names=sum((split.names for split in splits), ()),
        styles=np.concatenate([split.styles for split in splits]),
        sources=sum((split.sources for split in splits), ()),
        size=splits[0].size,
        numbers=np.arange(first[-1]),
        pictures=joined([split.pictures for split in splits], masks=False),
        foreground=joined(foregrounds, masks=True) if len(foregrounds) == len(splits) else None,
        joints=np.concatenate(joints) if len(joints) == len(splits) else None,
        domain=common([split.domain for split in splits]),
    )
