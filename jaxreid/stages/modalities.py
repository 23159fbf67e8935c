"""Two modalities of one data set: visible (0) and infrared (1) images of the same people."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxreid.data import LAYOUTS, Split, world
from jaxreid.data.layouts import find
from jaxreid.data.scanning import shortened
from jaxreid.data.world.spec import REGDB as REGDB_FORM
from jaxreid.evaluation import (
    REGDB,
    SYSU_ALL,
    SYSU_ALL_MULTI,
    SYSU_INDOOR,
    SYSU_INDOOR_MULTI,
    Embedded,
    Permutations,
    Protocol,
    drawn,
    load_permutations,
)
from jaxreid.stages import scoring, sets
from jaxreid.stages.scoring import Arm, Features
from jaxreid.stages.sets import Sets, Translators
from jaxreid.training.workdir import fingerprint

VISIBLE, INFRARED = PAIR = 0, 1
NAMES = ("visible", "thermal")
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class View(NamedTuple):
    """One more test of the same embeddings.

    Attributes:
        protocol: its rules.
        exchanged: whether query and gallery change places.
    """

    protocol: Protocol
    exchanged: bool = False


class Tests(NamedTuple):
    """How a set of two modalities is tested.

    Attributes:
        protocol: of the main result.
        views: further tests by name.
        permutations: by which SYSU-MM01's galleries are drawn; None for this library's own draws.
        note: what a reader of the scores has to know.
    """

    protocol: Protocol
    views: Mapping[str, View]
    permutations: Permutations | None = None
    note: str = ""


def require_layout(name: str) -> None:
    """Raises ValueError unless a set read under this layout has infrared images."""
    if not find(name).infrared:
        known = ", ".join(name for name, each in LAYOUTS.items() if each.infrared)
        raise ValueError(
            f"data.name: the set is read as {name}, whose cameras all see visible light, but this "
            f"method needs infrared images, too: take one of {known}, or a world with "
            "--config.data.world.layout=regdb (or sysu_mm01)"
        )


def require(train: Split) -> None:
    """Raises ValueError unless everybody in ``train`` was seen in both modalities."""
    visible, infrared = (np.unique(train.pids[train.modalities == m]) for m in PAIR)
    for name, lonely in {
        "infrared": np.setdiff1d(visible, infrared),
        "visible": np.setdiff1d(infrared, visible),
    }.items():
        if len(lonely):
            raise ValueError(
                f"{len(lonely):,} of {len(np.unique(train.pids)):,} training people have no "
                f"{name} image ({shortened([str(pid) for pid in lonely])}), but each step takes "
                "one of either modality of a person: complete the set, or leave them out of it"
            )


def tests(data: Sets, permutations: str, multi_shot: bool) -> Tests:
    """The tests of the layout that ``data`` is read under; see ``require``.

    RegDB: infrared gallery for visible queries, and ``thermal_query`` the other way. SYSU-MM01:
    all-search, ``indoor`` search, and with ``multi_shot`` both with ten pictures of each person
    and camera in the gallery.

    Args:
        data: query and gallery.
        permutations: path of SYSU-MM01's ``rand_perm_cam.mat``, or empty.
        multi_shot: see above.

    Raises:
        FileNotFoundError: no such file.
        ValueError: galleries cannot be drawn.
    """
    if data.train.domain.startswith(REGDB_FORM):
        if permutations:
            raise ValueError(
                f"ce2l.permutations is {permutations}, but {data.train.domain} draws no galleries: "
                "leave it empty"
            )
        return Tests(REGDB, {"thermal_query": View(REGDB, exchanged=True)})
    views = {"indoor": View(SYSU_INDOOR)}
    if multi_shot:
        views |= {"all_multi": View(SYSU_ALL_MULTI), "indoor_multi": View(SYSU_INDOOR_MULTI)}
    order = load_permutations(permutations) if permutations else None
    labels = Embedded(np.zeros((len(data.gallery), 1)), data.gallery.pids, data.gallery.cameras)
    for protocol in (SYSU_ALL, *(view.protocol for view in views.values())):
        assert protocol.draw
        drawn(labels, protocol.draw, order)
    note = "" if permutations else "galleries drawn by Python's generator, not the authors' file"
    return Tests(SYSU_ALL, views, order, note)


def plain(how: Tests) -> Tests:
    """The same tests of vectors as they are, by Euclidean distance."""
    views = {
        name: view._replace(protocol=replace(view.protocol, normalize=False))
        for name, view in how.views.items()
    }
    return how._replace(protocol=replace(how.protocol, normalize=False), views=views)


def score(
    features: Features,
    data: Sets,
    how: Tests,
    kept: Sequence[Features] = (),
    raw: Collection[str] = (),
) -> list[Arm]:
    """An arm by the main test and by every further one, then each of ``kept`` likewise.

    Images are embedded once, whatever the number of tests.

    Args:
        features: the vectors.
        data: query and gallery.
        how: the tests.
        kept: vectors of earlier steps of the same training.
        raw: names; if that of ``features`` is among them, all are tested by ``plain(how)``.
    """
    how = plain(how) if features.name in raw else how
    found = []
    for each in (features, *kept):
        main = scoring.score(each, data, protocol=how.protocol, permutations=how.permutations)
        found.append(main)
        found += [
            scoring.again(main, name, view.protocol, how.permutations, view.exchanged)
            for name, view in how.views.items()
        ]
    return found


def styles(data: Sets) -> Sets:
    """The training images as nobody's, in which ``cameras`` tells the modality."""
    nobody = np.full(len(data.train), -1)
    return data._replace(train=replace(data.train, pids=nobody, cameras=data.train.modalities))


def truth(workdir: Path, data: Sets, seed: int) -> Translators:
    """The world in the converter's place: the same moments as other cameras would have seen them.

    In RegDB's layout they are taken from the same place; in SYSU-MM01's viewpoint, scene and light
    are those of the other camera, which no converter of pictures can bring about.
    """

    def convert(split: Split, rows: np.ndarray) -> np.ndarray:
        return world.convert(sets.pictures(workdir), [split.names[row] for row in rows], seed)

    made_by = fingerprint({"truth": data.made_by, "seed": seed})
    return Translators({(VISIBLE, INFRARED): convert, (INFRARED, VISIBLE): convert}, made_by)


def grey(data: Sets) -> Translators:
    """A nearly free rival of converters: visible images without colour, infrared ones as they are.

    What is left of the gain with them comes from twice as many images and from the loss.
    """

    def fade(split: Split, rows: np.ndarray) -> np.ndarray:
        values = np.round(split.images(rows) @ LUMA).astype(np.uint8)
        return np.repeat(values[..., None], 3, axis=-1)

    made_by = fingerprint({"grey": data.made_by})
    between = {(VISIBLE, INFRARED): fade, (INFRARED, VISIBLE): Split.images}
    return Translators(between, made_by)
