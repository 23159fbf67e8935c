"""The data of a run: the embedded world or a set on disk, validated and turned into records."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxreid import data
from jaxreid.data import Split, world
from jaxreid.data.keypoints import FILE as KEYPOINTS
from jaxreid.data.layouts import announce
from jaxreid.data.masks import MADE_UP
from jaxreid.data.world.spec import REGDB, SYSU
from jaxreid.training import mirror, run_once, sharers
from jaxreid.training.workdir import fingerprint

WORLD = "world"
SOURCE, TARGET = 0, 1  # numbers of the two domains, where styles are domains
Translate = Callable[[Split, np.ndarray], np.ndarray]


class Translators(NamedTuple):
    """Translators between the styles of a set.

    Attributes:
        between: ``between[source, target](split, rows)`` gives these images of camera ``source``
            in the style of camera ``target``, uint8 ``[n, H, W, 3]``.
        made_by: fingerprint of all that made them.
    """

    between: dict[tuple[int, int], Translate]
    made_by: str


class Restylers(NamedTuple):
    """Restylers of a set: from each camera to one style that all share.

    Attributes:
        to_unity: ``to_unity[camera](split, rows)`` gives these images of ``camera`` in the shared
            style, uint8 ``[n, H, W, 3]``.
        made_by: fingerprint of all that made them.
    """

    to_unity: dict[int, Translate]
    made_by: str


class Sampler(NamedTuple):
    """A source of pictures of nobody in a set.

    Attributes:
        draw: ``draw(number, count)`` gives uint8 ``[count, H, W, 3]``, the same for the same
            arguments, others for another number.
        made_by: fingerprint of all that made it.
    """

    draw: Callable[[int, int], np.ndarray]
    made_by: str


class Generated(NamedTuple):
    """A generated set.

    Attributes:
        split: its pictures.
        made_by: fingerprint of all that made it.
        kind: ``cameras`` (every image in every other camera's style), ``unity`` (every image in one
            style), ``target`` (every image of the source in the target's style), ``poses`` (every
            image in every canonical pose), ``modalities`` (every image in the other modality) or
            ``noise`` (of nobody).
    """

    split: Split
    made_by: str
    kind: Literal["cameras", "unity", "target", "poses", "modalities", "noise"] = "cameras"


@dataclass(frozen=True)
class Settings:
    """Where pictures come from and how large they are on the device.

    Attributes:
        name: ``world``, a layout of ``jaxreid.data`` (``market1501``, ...), or ``regdb``.
        root: the set's official folder, here or on object storage (``gs://``), from where it is
            copied once; unused by the world, which is drawn into the workdir.
        height: rows of the pictures fed to the networks.
        width: columns.
        world: fields of ``world.Spec``.
        masks: folder of foreground masks; ``root`` for the folder ``masks`` in the set's own (there
            the world writes its true ones); ``ones`` or ``centre_ellipse`` for one mask that all
            pictures get (``jaxreid.data.masks``); or empty for none.
        keypoints: file or folder of keypoints (``jaxreid.data.keypoint_files`` lists formats);
            ``root`` for the file ``keypoints.npz`` in the set's own folder (there the world writes
            its true ones); or empty for none.
        trial: of RegDB (``regdb``, or a world in its layout), 1 to 10; others have none.
    """

    name: str
    root: str
    height: int
    width: int
    world: Mapping[str, Any]
    masks: str = ""
    keypoints: str = ""
    trial: int = 0

    @property
    def layout(self) -> str:
        """Name of the layout that the pictures are read under."""
        form = self.world.get("layout", "") if self.name == WORLD else self.name
        if self.name == WORLD and form not in (REGDB, SYSU):
            return WORLD
        return official(form, self.trial)


def official(name: str, trial: int) -> str:
    """Name of a layout: ``name``, or of RegDB that of a trial.

    Raises:
        ValueError: a trial that RegDB does not have, or another than ``name`` says.
    """
    if name == REGDB:
        if f"{REGDB}_{trial}" not in data.LAYOUTS:
            raise ValueError(f"data.trial is {trial}: RegDB has the trials 1 to 10")
        return f"{REGDB}_{trial}"
    named = name.removeprefix(f"{REGDB}_")
    if trial and named not in (name, str(trial)):
        raise ValueError(
            f"data.name is {name}, but data.trial is {trial}: say --config.data.name={REGDB} and "
            "choose by data.trial"
        )
    return name


class Sets(NamedTuple):
    """Splits of one data set.

    Attributes:
        train: labelled training images.
        query: test images that are looked for.
        gallery: test images that are searched.
        truth: for the world, its true translators from camera to camera, else None.
        made_by: fingerprint of all this.
        outsiders: for the world, real pictures of people who are in no split, else None.
    """

    train: Split
    query: Split
    gallery: Split
    truth: Translators | None
    made_by: str
    outsiders: Sampler | None = None


def prepare(workdir: Path, settings: Settings, name: str = "data") -> Sets:
    """Draws or finds the pictures, checks them, writes records below ``workdir``, loads them.

    ``name`` is that of the block of the config, for messages.
    """
    drawn, layout = settings.name == WORLD, settings.layout
    if not drawn and not settings.root:
        raise ValueError(f"{name}.root is empty: say --config.{name}.root=DIRECTORY")
    root = pictures(workdir) if drawn else mirror.fetched(settings.root)
    made_up = settings.masks in MADE_UP
    masks = {"": None, "root": root / "masks"}.get(settings.masks, Path(settings.masks))
    masks = None if made_up else masks
    points = {"": None, "root": root / KEYPOINTS}.get(settings.keypoints, Path(settings.keypoints))
    chosen = {"masks": settings.masks} if masks else {}
    chosen |= {"keypoints": settings.keypoints} if points else {}
    if drawn:
        if settings.keypoints not in ("", "root"):
            raise ValueError(
                f"{name}.keypoints is {settings.keypoints!r}: the world takes root or nothing"
            )
        if masks and settings.masks != "root":
            known = ", ".join(MADE_UP)
            raise ValueError(
                f"{name}.masks is {settings.masks!r}: the world takes root, {known} or nothing"
            )
        fields = dict(settings.world)
        more = {"masks": bool(masks), "keypoints": bool(points)}
        write = partial(world.write, world.Spec(**fields), root, **more)
        source = run_once(root.parent, {"world": fields, **chosen}, write)
    else:
        announce(layout)  # in every run, also where the records are there already
        source = _listing(layout, root, masks, points)
    records = workdir / "records"
    made_by = run_once(
        records,
        {"layout": layout, "source": source, **chosen},
        lambda: data.prepare(
            layout,
            root,
            records / "tfds",
            allow_partial=True,
            masks=masks,
            keypoints=points,
            notice=not drawn,
        ),
    )
    splits = data.load(records / "tfds", (settings.height, settings.width))
    if made_up:
        splits = {key: data.with_masks(split, settings.masks) for key, split in splits.items()}
        made_by = fingerprint({"records": made_by, "masks": settings.masks})
    train, query, gallery = (splits[split] for split in ("train", "query", "gallery"))
    if not drawn:
        return Sets(train, query, gallery, None, made_by)
    truth = Translators(_truth(root, train), made_by)
    outsiders = Sampler(lambda n, count: world.outsiders(root, n * count, count), made_by)
    return Sets(train, query, gallery, truth, made_by, outsiders)


def pictures(workdir: Path) -> Path:
    """Where a run draws its world."""
    return workdir / "world" / "pictures"


def require_batch(name: str, batch: int, images: int | None = None) -> None:
    """Raises ValueError if ``images`` do not fill ``batch`` or nobody can split it evenly."""
    if images is not None and not 1 <= batch <= images:
        raise ValueError(
            f"{name} is {batch}, but there are {images} training images: choose 1 to {images}"
        )
    parts, whose = sharers()
    if batch % parts:
        raise ValueError(
            f"{name} is {batch}, which {parts} {whose} cannot share evenly: choose a multiple of "
            f"{parts}"
        )


def require_cameras(name: str, split: Split) -> None:
    """Raises ValueError unless every image of ``split``, called ``name``, has a camera."""
    unknown = np.flatnonzero(split.cameras < 0)
    if len(unknown):
        raise ValueError(
            f"{len(unknown)} of {len(split)} {name} images have no camera (camera -1), the first "
            f"is {split.names[unknown[0]]!r}, but UnityStyle needs the camera of every image: "
            "records carry it as 'camera', 0-based, read from the _cN part of the file names"
        )


def _listing(layout: str, root: Path, masks: Path | None, keypoints: Path | None) -> str:
    """A fingerprint of the folder: names and sizes of all files that the layout lists.

    Keypoints count by their bytes: made anew, as many of them are a file of the same size.
    """
    splits = data.scan(layout, root)
    files: dict[str, list[tuple[str, int | str]]] = {
        name: [(e.name, e.path.stat().st_size) for e in found] for name, found in splits.items()
    }
    if masks:
        found = sorted(masks.rglob("*.png"))
        files["masks"] = [(str(p.relative_to(masks)), p.stat().st_size) for p in found]
    if keypoints:
        below = keypoints if keypoints.is_dir() else keypoints.parent
        found = sorted(p for p in (keypoints, *keypoints.rglob("*")) if p.is_file())
        files["keypoints"] = [
            (str(p.relative_to(below)), sha256(p.read_bytes()).hexdigest()) for p in found
        ]
    return fingerprint(files)


def _truth(root: Path, train: Split) -> dict[tuple[int, int], Translate]:
    def restyle(target: int, split: Split, rows: np.ndarray) -> np.ndarray:
        names = [split.names[row] for row in rows]
        return world.restyle(root, names, [target] * len(names))

    cameras = np.unique(train.cameras).tolist()
    return {(a, b): partial(restyle, b) for a in cameras for b in cameras if a != b}
