"""What is ranked and under which rules: the records that go into an evaluation."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

# Rules that hide gallery pictures from one query: (same identity, query camera, gallery camera) ->
# hidden. They use operators only, so they serve NumPy on the host and jax.numpy on the device.
# SYSU-MM01's cameras 2 (visible) and 3 (infrared) stand in the same room. Splits count from 0, its
# authors from 1; as queries are of cameras 3 and 6 alone, one rule serves both ways of counting.
MASKS: Mapping[str, Callable[[Any, Any, Any], Any]] = {
    "same_id_same_camera": lambda same, query, gallery: same & (query == gallery),
    "same_camera": lambda same, query, gallery: query == gallery,
    "sysu": lambda same, query, gallery: (query == gallery + 1) & ((query == 2) | (query == 3)),
    "none": lambda same, query, gallery: same & False,
}


SYSU_QUERIES = (2, 5)  # counted from 0: the infrared cameras 3 and 6


def _check_choice(field: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"Protocol.{field} is {value!r}; expected one of {', '.join(choices)}.")


@dataclasses.dataclass(frozen=True)
class Draw:
    """Which galleries are drawn from a larger one; see `jaxreid.evaluation.draws.drawn`.

    Attributes:
        cameras: 0-based; pictures of others are not searched.
        shots: pictures of each person in each of these cameras.
        trials: galleries, over which scores are averaged.
    """

    cameras: tuple[int, ...]
    shots: int
    trials: int = 10

    def __post_init__(self) -> None:
        object.__setattr__(self, "cameras", tuple(int(camera) for camera in self.cameras))
        if not self.cameras or min(self.shots, self.trials) < 1:
            raise ValueError(f"{self} draws nothing: give cameras, 1 shot and 1 trial or more.")


@dataclasses.dataclass(frozen=True)
class Reranking:
    """k-reciprocal re-ranking; see `jaxreid.evaluation.reranking.reranker` for what is computed.

    Attributes:
        k1: neighbours, the picture itself not counted, among which reciprocal ones are sought.
        k2: neighbours, the picture itself counted, whose sets are averaged; 1 averages nothing.
        weight: of the original distance, from 0 (the Jaccard distance alone) to 1 (the original
            order). At 0 all pictures that share no neighbour with the query stand at distance 1,
            where matches win ties: such scores flatter.
        include_junk: whether pictures of ``Protocol.junk_pids`` are among the neighbours, as in the
            authors' MATLAB code; they are never counted.
    """

    k1: int = 20
    k2: int = 6
    weight: float = 0.3
    include_junk: bool = False

    def __post_init__(self) -> None:
        for field in ("k1", "k2"):
            if getattr(self, field) < 1:
                raise ValueError(
                    f"Reranking.{field} is {getattr(self, field)}; give a number of neighbours, "
                    "1 or more."
                )
        if not 0 <= self.weight <= 1:
            raise ValueError(f"Reranking.weight is {self.weight}; expected 0 to 1.")


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The rules of one evaluation; print them beside every number.

    Attributes:
        mask: gallery pictures a query does not see. ``same_id_same_camera``: its own identity in
            its own camera (Market-1501, DukeMTMC-reID, MSMT17, CUHK03-NP). ``same_camera``: its own
            camera altogether (CUHK03 classic as in open-reid). ``sysu``: camera 2 for queries of
            camera 3 (SYSU-MM01), whose queries are of cameras 3 and 6; counted from 1 as its
            authors do, or from 0 as splits do. Other queries get a wrong mask, which `evaluate`
            refuses where galleries are drawn. ``none`` (RegDB, VIPeR).
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
        draw: which galleries are drawn, or None: there is one, the whole.
        reranking: how distances are re-ranked, or None: they are not. Each gallery, drawn or whole,
            is re-ranked by itself, together with all queries.
    """

    mask: str = "same_id_same_camera"
    junk_pids: tuple[int, ...] = (-1,)
    cmc: str = "image"
    empty_query: str = "drop"
    rank_truncate: int | None = None
    normalize: bool = True
    draw: Draw | None = None
    reranking: Reranking | None = None

    def __post_init__(self) -> None:
        _check_choice("mask", self.mask, tuple(MASKS))
        _check_choice("cmc", self.cmc, ("image", "identity", "single_shot"))
        _check_choice("empty_query", self.empty_query, ("drop", "zero"))
        # Configs hand over lists; a tuple keeps the record hashable.
        object.__setattr__(self, "junk_pids", tuple(int(pid) for pid in self.junk_pids))
        for field, record in (("draw", Draw), ("reranking", Reranking)):
            if isinstance(given := getattr(self, field), Mapping):  # read back from JSON
                object.__setattr__(self, field, record(**given))
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
        """Returns the fields as plain JSON values, ``draw`` and ``reranking`` where there are."""
        fields: dict[str, Any] = dataclasses.asdict(self) | {"junk_pids": list(self.junk_pids)}
        records = {name: fields.pop(name) for name in ("draw", "reranking")}
        if self.draw:
            records["draw"]["cameras"] = list(self.draw.cameras)
        return fields | {name: record for name, record in records.items() if record}


MARKET = Protocol()
"""Market-1501's rules, which DukeMTMC-reID, MSMT17 and CUHK03-NP share."""

REGDB = Protocol(mask="none")
"""RegDB's rules within one trial, in either direction: exchange query and gallery for the other."""

SYSU_ALL = Protocol(mask="sysu", cmc="identity", draw=Draw((0, 1, 3, 4), shots=1))
"""SYSU-MM01, all-search, single-shot: the queries see all visible cameras, indoors and outdoors."""

SYSU_ALL_MULTI = dataclasses.replace(SYSU_ALL, draw=Draw((0, 1, 3, 4), shots=10))
"""SYSU-MM01, all-search, multi-shot."""

SYSU_INDOOR = dataclasses.replace(SYSU_ALL, draw=Draw((0, 1), shots=1))
"""SYSU-MM01, indoor-search, single-shot; only 56 of the 96 people were seen there."""

SYSU_INDOOR_MULTI = dataclasses.replace(SYSU_ALL, draw=Draw((0, 1), shots=10))
"""SYSU-MM01, indoor-search, multi-shot."""


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


def prepared(pictures: Embedded, protocol: Protocol) -> np.ndarray:
    """Returns the vectors whose Euclidean distances are ranked; rows of zeros stay zeros."""
    if not protocol.normalize:
        return pictures.embeddings
    squares = np.einsum("nd,nd->n", pictures.embeddings, pictures.embeddings)
    return pictures.embeddings / np.sqrt(np.where(squares > 0, squares, 1))[:, None]


def searchable(gallery: Embedded, protocol: Protocol) -> np.ndarray:
    """Returns ``[G]`` whether each gallery picture is no junk."""
    return ~np.isin(gallery.pids, protocol.junk_pids)


def _integers(field: str, values: ArrayLike, length: int) -> np.ndarray:
    array = np.asarray(values)
    if array.shape != (length,):
        raise ValueError(
            f"Embedded.{field} has shape {array.shape}; expected ({length},), one per embedding."
        )
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"Embedded.{field} has type {array.dtype}; expected integers.")
    return array.astype(np.int64)
