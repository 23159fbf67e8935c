"""What is ranked and under which rules: the records that go into an evaluation."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

# Rules that hide gallery pictures from one query: (same identity, query camera, gallery camera) ->
# hidden. They use operators only, so they serve NumPy on the host and jax.numpy on the device.
# SYSU-MM01's cameras 2 (visible) and 3 (infrared) stand in the same room.
MASKS: Mapping[str, Callable[[Any, Any, Any], Any]] = {
    "same_id_same_camera": lambda same, query, gallery: same & (query == gallery),
    "same_camera": lambda same, query, gallery: query == gallery,
    "sysu": lambda same, query, gallery: (query == 3) & (gallery == 2),
    "none": lambda same, query, gallery: same & False,
}


def _check_choice(field: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"Protocol.{field} is {value!r}; expected one of {', '.join(choices)}.")


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The rules of one evaluation; print them beside every number.

    Attributes:
        mask: gallery pictures a query does not see. ``same_id_same_camera``: its own identity in
            its own camera (Market-1501, DukeMTMC-reID, MSMT17, CUHK03-NP). ``same_camera``: its own
            camera altogether (CUHK03 classic as in open-reid). ``sysu``: camera 2 for queries of
            camera 3, cameras numbered as in the data set (SYSU-MM01). ``none`` (RegDB, VIPeR).
        junk_pids: identities removed from the gallery for every query. Market-1501's junk is -1;
            its distractors, 0, stay.
        cmc: what a rank counts. ``image``: pictures up to the first match. ``identity``: distinct
            identities up to it (SYSU-MM01). ``single_shot``: the exact expectation over drawing one
            picture of each gallery identity (CUHK03 classic, which papers estimate by ten draws).
        empty_query: a query without a match is left out of the means (``drop``) or counts as 0
            (``zero``).
        rank_truncate: matches behind this many ranked pictures count for nothing (2,000 and 4,000
            in the MATLAB scripts of DukeMTMC-reID), or None. Only with ``cmc='image'``.
        normalize: Euclidean distance between L2-normalised embeddings; False: between raw ones.
    """

    mask: str = "same_id_same_camera"
    junk_pids: tuple[int, ...] = (-1,)
    cmc: str = "image"
    empty_query: str = "drop"
    rank_truncate: int | None = None
    normalize: bool = True

    def __post_init__(self) -> None:
        _check_choice("mask", self.mask, tuple(MASKS))
        _check_choice("cmc", self.cmc, ("image", "identity", "single_shot"))
        _check_choice("empty_query", self.empty_query, ("drop", "zero"))
        # Configs hand over lists; a tuple keeps the record hashable.
        object.__setattr__(self, "junk_pids", tuple(int(pid) for pid in self.junk_pids))
        if self.rank_truncate is None:
            return
        if self.rank_truncate < 1:
            raise ValueError(
                f"Protocol.rank_truncate is {self.rank_truncate}; give the number of ranked "
                "pictures that count (1 or more), or None for all."
            )
        if self.cmc != "image":
            raise ValueError(
                f"Protocol.rank_truncate={self.rank_truncate} counts ranked pictures and has no "
                f"meaning with cmc={self.cmc!r}; use cmc='image' or rank_truncate=None."
            )

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain JSON values."""
        return dataclasses.asdict(self) | {"junk_pids": list(self.junk_pids)}


MARKET = Protocol()
"""Market-1501's rules, which DukeMTMC-reID, MSMT17 and CUHK03-NP share."""


@dataclasses.dataclass(frozen=True)
class Embedded:
    """Pictures as the ranking sees them; anything array-like is accepted and put on the host.

    Attributes:
        embeddings: ``[n, d]``, kept as float32.
        pids: ``[n]`` integer person identities.
        cameras: ``[n]`` integer cameras; query and gallery share one numbering.

    Raises:
        ValueError: shapes that do not belong together, or identities or cameras not integers.
    """

    embeddings: np.ndarray
    pids: np.ndarray
    cameras: np.ndarray

    def __post_init__(self) -> None:
        embeddings = np.asarray(self.embeddings, np.float32)
        if embeddings.ndim != 2:
            raise ValueError(
                f"Embedded.embeddings has shape {embeddings.shape}; expected [pictures, numbers]. "
                "Flatten or pool each picture to one vector."
            )
        object.__setattr__(self, "embeddings", embeddings)
        for field in ("pids", "cameras"):
            values = _integers(field, getattr(self, field), len(embeddings))
            object.__setattr__(self, field, values)

    def __len__(self) -> int:
        return len(self.pids)

    def take(self, rows: ArrayLike) -> Self:
        """Returns the pictures ``rows`` (row numbers, or one bool per picture)."""
        rows = np.asarray(rows)
        rows = rows if rows.size else rows.astype(np.intp)  # [] is float64 to NumPy
        return type(self)(self.embeddings[rows], self.pids[rows], self.cameras[rows])


def _integers(field: str, values: ArrayLike, length: int) -> np.ndarray:
    array = np.asarray(values)
    if array.shape != (length,):
        raise ValueError(
            f"Embedded.{field} has shape {array.shape}; expected ({length},), one per embedding."
        )
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"Embedded.{field} has type {array.dtype}; expected integers.")
    return array.astype(np.int64)
