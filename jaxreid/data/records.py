"""Records on disk: TFDS array_record directories, the same schema for real and generated pictures.

A directory is written beside its place and renamed, so it is whole or absent. Encoded files are
stored unchanged and in order; nothing needs TensorFlow, and no network is touched.
"""

import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxreid.data.pictures import encode_png

MARK = "dataset_info.json"  # every TFDS directory holds this file


@dataclass(frozen=True)
class Record:
    """One picture of a data set.

    Attributes:
        image: an encoded JPEG, PNG or BMP, or the path of one.
        pid: person; raw number, -1 for junk.
        camera: 0-based.
        domain: layout or set that the picture belongs to.
        name: file name; a generated picture's name tells it from its siblings.
        source: name of the picture that this one was generated from, '' for a real one.
        style: target camera, domain or pose of a generated picture, -1 for a real one.
        generated: whether a network made it.
    """

    image: bytes | Path
    pid: int
    camera: int
    domain: str
    name: str
    source: str = ""
    style: int = -1
    generated: bool = False


def generated(
    image: np.ndarray, *, pid: int, camera: int, domain: str, name: str, source: str, style: int
) -> Record:
    """The record of a generated picture, stored as PNG.

    Args:
        image: uint8 ``[H, W, 3]`` RGB.
        pid: person that it shows, -1 for nobody in particular (LSRO).
        camera: 0-based camera of the source picture; its new style is ``style``.
        domain: set that it was generated for.
        name: of its own.
        source: name of the source picture, '' if made from noise.
        style: target camera, domain or pose.
    """
    return Record(encode_png(image), pid, camera, domain, name, source, style, generated=True)


def write_generated(directory: Path | str, splits: Mapping[str, Iterable[Record]]) -> None:
    """Writes a generated set; ``jaxreid.data.load`` reads it back, order included.

    Args:
        directory: to be created; an older set of records there is replaced at the end.
        splits: for every split, e.g. ``{'train': records}``, an iterable that is consumed as it is
            written: the set never has to fit in memory.

    Raises:
        ValueError: a record that is not marked as generated, or a split without any.
    """
    checked = {split: _generated_only(split, records) for split, records in splits.items()}
    write(directory, checked, "generated")


def write(directory: Path | str, splits: Mapping[str, Iterable[Record]], config: str) -> None:
    """Writes records below ``directory``: all of them or, when anything fails, none.

    Args:
        directory: to be created; an older set of records there is replaced at the end.
        splits: records of every split, in the order that loading gives them back.
        config: name of a layout, or 'generated'.

    Raises:
        FileExistsError: the directory holds something else than records.
    """
    from jaxreid.data.builder import Reid

    directory = Path(directory)
    if directory.exists() and any(directory.iterdir()) and not (directory / MARK).is_file():
        raise FileExistsError(
            f"{directory} exists and does not hold jaxreid records: name another directory "
            "or empty this one."
        )
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}.") as scratch:
        builder = Reid(records=splits, config=config, data_dir=scratch)
        builder.download_and_prepare()
        shutil.rmtree(directory, ignore_errors=True)
        Path(builder.data_dir).rename(directory)


def read(directory: Path | str) -> dict[str, Sequence[Mapping[str, Any]]]:
    """Random access to the records of every split; images stay encoded.

    Raises:
        FileNotFoundError: the directory holds no records.
    """
    import tensorflow_datasets as tfds

    if not (Path(directory) / MARK).is_file():
        raise FileNotFoundError(
            f"{directory} holds no jaxreid records ({MARK} is missing): "
            "make them with jaxreid.data.prepare."
        )
    builder = tfds.builder_from_directory(str(directory))
    raw = {"image": tfds.decode.SkipDecoding()}
    splits = builder.info.splits
    # TFDS's decorator hides the signature
    return {name: builder.as_data_source(name, decoders=raw) for name in splits}  # pyright: ignore


def _generated_only(split: str, records: Iterable[Record]) -> Iterable[Record]:
    for record in records:
        if not record.generated:
            raise ValueError(
                f"Record {record.name!r} of split {split!r} is not marked as generated: "
                "build it with jaxreid.data.generated."
            )
        yield record
