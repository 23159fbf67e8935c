"""Generated sets: every image of a split in every other style, as records on disk."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxreid import data as records
from jaxreid.data import Split
from jaxreid.data.joined import concatenate
from jaxreid.stages.sets import (
    SOURCE,
    TARGET,
    Generated,
    Restylers,
    Sets,
    Translate,
    Translators,
    require_cameras,
)
from jaxreid.training import run_once
from jaxreid.training.workdir import fingerprint


def every_camera(
    directory: Path, data: Sets, translators: Translators, *, batch: int = 64
) -> Generated:
    """Translates every training image by every translator that starts at its camera.

    Args:
        directory: one part per ordered pair goes below; finished parts are not made again.
        data: its training images are translated; identity and camera go over to the results.
        translators: from camera to camera.
        batch: images per call.

    Returns:
        The generated set: ``styles`` holds the target camera, ``sources`` the name translated from.
    """
    real = data.train
    parts = {
        f"c{source + 1}_to_c{target + 1}": _records(
            real,
            np.flatnonzero(real.cameras == source),
            translate,
            batch,
            "generated",
            f"fake_to{target + 1}",
            target,
        )
        for (source, target), translate in sorted(translators.between.items())
    }
    split, made_by = _parts(directory, real, parts, {"translator": translators.made_by})
    return Generated(split, made_by, "cameras")


def to_target(
    directory: Path, real: Split, translators: Translators, *, batch: int = 64
) -> Generated:
    """Every image of a source in the style of the target, in the order of the split.

    Args:
        directory: for the records; made once.
        real: images of the source; identity and camera go over to the results.
        translators: between domains.
        batch: images per call.

    Returns:
        The generated set: ``styles`` 1, the target's number, ``sources`` the names of ``real``.
    """
    translate = translators.between[SOURCE, TARGET]

    def make() -> None:
        made_here = _records(
            real, np.arange(len(real)), translate, batch, "generated", "fake_target", TARGET
        )
        records.write_generated(directory / "records", {"train": made_here})

    made = run_once(directory, {"translator": translators.made_by}, make)
    split = records.load(directory / "records", real.size)["train"]
    return Generated(split, fingerprint({"made": made, "name": directory.name}), "target")


def converted(
    directory: Path, real: Split, translators: Translators, *, batch: int = 64
) -> Generated:
    """Every image in the other modality, in the order of the split.

    Args:
        directory: for the records; made once.
        real: images of both modalities; identity and camera go over to the results.
        translators: between the modalities 0 and 1.
        batch: images per call.

    Returns:
        The generated set: ``styles`` 0 (visible) or 1 (infrared), ``sources`` the names of
        ``real``.
    """
    modalities = real.modalities
    order = np.argsort(modalities, kind="stable")  # a translator at a time

    def made_here() -> Iterator[records.Record]:
        for source, target, suffix in ((0, 1, "v2t"), (1, 0, "t2v")):
            rows, translate = (
                np.flatnonzero(modalities == source),
                translators.between[source, target],
            )
            yield from _records(real, rows, translate, batch, "generated", suffix, target)

    def make() -> None:
        records.write_generated(directory / "records", {"train": made_here()})

    made = run_once(directory, {"translator": translators.made_by}, make)
    split = records.load(directory / "records", real.size)["train"].take(np.argsort(order))
    return Generated(split, fingerprint({"made": made, "name": directory.name}), "modalities")


class Redrawn(NamedTuple):
    """Images drawn again in each of several poses.

    Attributes:
        redraw: ``redraw(split, k, rows)`` gives these images in pose k, uint8 ``[n, H, W, 3]``.
        poses: how many.
        made_by: fingerprint of all that made it.
    """

    redraw: Callable[[Split, int, np.ndarray], np.ndarray]
    poses: int
    made_by: str


def in_poses(directory: Path, data: Sets, redrawn: Redrawn, *, batch: int = 64) -> Generated:
    """Every training image in every pose.

    Args:
        directory: one part per pose goes below; finished parts are not made again.
        data: its training images are redrawn; identity and camera go over to the results.
        redrawn: how.
        batch: images per call.

    Returns:
        The generated set: ``styles`` holds the number of the pose, ``sources`` the name drawn from.
    """
    real, rows = data.train, np.arange(len(data.train))

    def pose(k: int) -> Iterator[records.Record]:
        def redraw(split: Split, rows: np.ndarray) -> np.ndarray:
            return redrawn.redraw(split, k, rows)

        return _records(real, rows, redraw, batch, "generated", f"pose{k + 1}", k)

    parts = {f"pose_{k + 1}": pose(k) for k in range(redrawn.poses)}
    split, made_by = _parts(directory, real, parts, {"redrawn": redrawn.made_by})
    return Generated(split, made_by, "poses")


def from_noise(
    directory: Path,
    data: Sets,
    draw: Callable[[int, int], np.ndarray],
    made_by: str,
    count: int,
    *,
    batch: int = 64,
) -> Generated:
    """Draws ``count`` pictures of nobody in particular.

    Args:
        directory: for the records; made once.
        data: whose training images the pictures stand beside; they get their size.
        draw: ``draw(number, batch)`` gives uint8 ``[batch, H, W, 3]``.
        made_by: fingerprint of ``draw``.
        count: pictures.
        batch: pictures per call.

    Returns:
        The generated set: person -1, camera -1, no source, style -1.
    """

    def made_here() -> Iterator[records.Record]:
        for number, start in enumerate(range(0, count, batch)):
            for i, image in enumerate(draw(number, batch)[: count - start]):
                nobody = {"pid": -1, "camera": -1, "source": "", "style": -1}
                name = f"noise_{start + i:06d}.png"
                yield records.generated(image, domain="generated", name=name, **nobody)

    def make() -> None:
        records.write_generated(directory / "records", {"train": made_here()})

    made = run_once(directory, {"generator": made_by, "count": count}, make)
    split = records.load(directory / "records", data.train.size)["train"]
    return Generated(split, made, "noise")


def to_unity(
    directory: Path, split_name: str, split: Split, restylers: Restylers, *, batch: int = 64
) -> Generated:
    """Every image of a split in the unity style, in the order of the split.

    So restyled, query and gallery can stand in for the real ones in an evaluation. A camera without
    a restyler keeps its real images, after saying so: a style that was never trained has no model.

    Args:
        directory: the records go below ``directory / split_name``; made once.
        split_name: ``train``, ``query`` or ``gallery``.
        split: its images.
        restylers: from camera to unity style.
        batch: images per call.

    Returns:
        The generated set, domain ``unity``: identity and camera as in ``split``, ``sources`` the
        names of its images, ``styles`` 0, or -1 where the image was kept.

    Raises:
        ValueError: an image without camera.
    """
    require_cameras(split_name, split)
    order = np.argsort(split.cameras, kind="stable")  # a restyler at a time

    def restyled() -> Iterator[records.Record]:
        for camera in np.unique(split.cameras).tolist():
            rows = np.flatnonzero(split.cameras == camera)
            translate, style = restylers.to_unity.get(camera), 0
            if translate is None:
                kept = f"its {len(rows)} {split_name} images stay real"
                print(f"warning: camera {camera + 1} has no UnityGAN: {kept}", flush=True)
                translate, style = Split.images, -1
            yield from _records(split, rows, translate, batch, "unity", "unity", style)

    part = directory / split_name
    images = fingerprint({"names": split.names, "size": split.size})
    made = run_once(
        part,
        {"restylers": restylers.made_by, "split": split_name, "images": images},
        lambda: records.write_generated(part / "records", {split_name: restyled()}),
    )
    written = records.load(part / "records", split.size)[split_name]
    return Generated(written.take(np.argsort(order)), made, "unity")


def _parts(
    directory: Path,
    real: Split,
    parts: Mapping[str, Iterator[records.Record]],
    determined_by: Mapping[str, str],
) -> tuple[Split, str]:
    """Writes each part below ``directory``, once; all of them as one split, and its fingerprint."""
    made, splits = [], []
    for name, found in parts.items():
        part = directory / name
        write = partial(records.write_generated, part / "records", {"train": found})
        made.append(run_once(part, determined_by, write))
        splits.append(records.load(part / "records", real.size)["train"])
    return concatenate(splits), fingerprint({"parts": made, "name": directory.name})


def _records(
    real: Split,
    rows: np.ndarray,
    translate: Translate,
    batch: int,
    domain: str,
    suffix: str,
    style: int,
) -> Iterator[records.Record]:
    for start in range(0, len(rows), batch):
        picked = rows[start : start + batch]
        # Filled up with repeats, so that one compiled program serves all batches.
        images = translate(real, np.resize(picked, batch))
        for row, image in zip(picked, images[: len(picked)], strict=True):
            name = real.names[row]
            yield records.generated(
                image,
                pid=int(real.pids[row]),
                camera=int(real.cameras[row]),
                domain=domain,
                name=f"{Path(name).with_suffix('')}_{suffix}.png",
                source=name,
                style=style,
            )
