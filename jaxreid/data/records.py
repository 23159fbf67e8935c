"""Records on disk: TFDS array_record directories, the same schema for real and generated pictures.

A directory is written beside its place and renamed, so it is whole or absent. Encoded files are
stored unchanged and in order; nothing needs TensorFlow, and no network is touched.
"""

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxreid.data.record import Record

MARK = "dataset_info.json"  # every TFDS directory holds this file


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
        OSError: the disk is full.
    """
    from jaxreid.data.builder import Reid

    directory = Path(directory)
    if directory.exists() and any(directory.iterdir()) and not (directory / MARK).is_file():
        raise FileExistsError(
            f"{directory} exists and does not hold jaxreid records: name another directory "
            "or empty this one."
        )
    directory.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{directory.name}.unfinished-"
    for left in (p for p in directory.parent.iterdir() if p.name.startswith(prefix)):
        shutil.rmtree(left)  # by a process that was killed
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=prefix) as scratch:
        builder = Reid(records=splits, config=config, data_dir=scratch)
        with _room(directory):
            builder.download_and_prepare()
        if directory.exists():  # moved first: what is killed while deleting leaves half of it
            directory.rename(Path(scratch) / "old")
        Path(builder.data_dir).rename(directory)


def read(directory: Path | str) -> dict[str, Sequence[Mapping[str, Any]]]:
    """Random access to the records of every split; images stay encoded.

    Raises:
        FileNotFoundError: the directory holds no records.
        ValueError: they are damaged, which may be found only when one is taken.
    """
    import tensorflow_datasets as tfds

    directory = Path(directory)
    if not (directory / MARK).is_file():
        raise FileNotFoundError(
            f"{directory} holds no jaxreid records ({MARK} is missing): "
            "make them with jaxreid.data.prepare."
        )
    raw = {"image": tfds.decode.SkipDecoding()}
    with _naming(directory):
        builder = tfds.builder_from_directory(str(directory))
        # TFDS's decorator hides the signature
        sources = {n: builder.as_data_source(n, decoders=raw) for n in builder.info.splits}  # pyright: ignore
    return {name: _Rows(source, directory) for name, source in sources.items()}


class _Rows(Sequence):
    """A split whose errors name its directory."""

    def __init__(self, source: Any, directory: Path):
        self._source, self._directory = source, directory

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, row: Any) -> Any:
        with _naming(self._directory):
            return self._source[row]

    def __getitems__(self, rows: Sequence[int]) -> Any:
        with _naming(self._directory):
            return self._source.__getitems__(rows)


@contextmanager
def _room(directory: Path) -> Iterator[None]:
    """What array_record says of a full disk, as an error that says what to do."""
    try:
        yield
    except RuntimeError as error:
        if "No space left" not in str(error):
            raise
        raise OSError(
            f"no space left for the records in {directory}: free some disk, then try again"
        ) from None


@contextmanager
def _naming(directory: Path) -> Iterator[None]:
    """TFDS and its files fail with many kinds of error; each gets the directory's name."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"The records in {directory} cannot be read ({type(error).__name__}: {error!s:.200}): "
            "make them again; of a run, delete the folder, then the same command does so."
        ) from error


def _generated_only(split: str, records: Iterable[Record]) -> Iterable[Record]:
    for record in records:
        if not record.generated:
            raise ValueError(
                f"Record {record.name!r} of split {split!r} is not marked as generated: "
                "build it with jaxreid.data.generated."
            )
        yield record
