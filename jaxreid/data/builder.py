"""The TFDS builder of every layout and of generated sets.

``tfds.builder('reid/market1501', data_dir=...)`` works once this module is imported; most callers
use ``jaxreid.data.prepare``. Imported lazily, because TFDS is.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxreid.data.layouts import LAYOUTS
from jaxreid.data.record import Record
from jaxreid.data.validation import official_records

SHARD = 4096  # records per file
CHUNK = 256  # records that are encoded at a time


class Info(tfds.core.DatasetInfo):
    """What TFDS knows of these records."""

    def initialize_from_bucket(self) -> None:
        """Reads nothing: TFDS has no records of ours, and would leave an empty folder in /tmp."""


class Reid(tfds.core.GeneratorBasedBuilder):
    """Person re-identification records; one config per layout, and ``generated``."""

    VERSION = tfds.core.Version("1.2.0")
    RELEASE_NOTES = {
        "1.2.0": "Keypoints.",
        "1.1.0": "Foreground masks.",
        "1.0.0": "First version.",
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Get the set from its authors under their terms, unpack it, and pass the unpacked folder "
        "as manual_dir. Nothing is downloaded."
    )
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name=layout.name, description=layout.title)
        for layout in LAYOUTS.values()
    ] + [tfds.core.BuilderConfig(name="generated", description="Pictures made by a generator")]

    def __init__(self, *, records: Mapping[str, Iterable[Record]] | None = None, **kwargs: Any):
        """Initialises the builder.

        Args:
            records: of every split; None scans ``manual_dir`` in the layout of the config.
            **kwargs: of ``tfds.core.GeneratorBasedBuilder``.
        """
        self._records = records
        super().__init__(**{"file_format": "array_record", **kwargs})

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "pid": np.int64,
            "camera": np.int64,
            "domain": tfds.features.Text(),
            "name": tfds.features.Text(),
            "index": np.int64,
            "source": tfds.features.Text(),
            "style": np.int64,
            "generated": np.int64,
            "mask": tfds.features.Text(),  # an encoded PNG, empty if there is none
            "keypoints": tfds.features.Tensor(shape=(None, 3), dtype=np.float32),  # 18 or none
        }
        return Info(
            builder=self,
            description="Person re-identification pictures with identity and camera labels.",
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict]]]:
        records = self._records
        if records is None:
            config = self.builder_config.name  # pyright: ignore[reportOptionalMemberAccess]
            records = official_records(config, Path(dl_manager.manual_dir))
        return {split: self._generate_examples(rows) for split, rows in records.items()}

    def _generate_examples(self, records: Iterable[Record]) -> Iterator[tuple[int, dict]]:
        for index, record in enumerate(records):
            image = record.image if isinstance(record.image, bytes) else str(record.image)
            mask = record.mask.read_bytes() if isinstance(record.mask, Path) else record.mask
            points = np.empty((0, 3), np.float32) if record.keypoints is None else record.keypoints
            plain = {**asdict(record), "image": image, "generated": int(record.generated)}
            yield index, {**plain, "mask": mask or b"", "keypoints": points, "index": index}

    def _generate_splits(self, dl_manager: Any, download_config: Any) -> list:
        """Streams to disk in order.

        TFDS's own writer collects a split first and, above 1 GB, needs TensorFlow to do so; sets
        of generated pictures are larger than that.
        """
        del download_config
        info = self._info()
        writer = tfds.core.SequentialWriter(info, SHARD, file_format="array_record")
        for split, examples in self._split_generators(dl_manager).items():
            writer.initialize_splits([split])
            while chunk := [example for _, example in islice(examples, CHUNK)]:
                writer.add_examples({split: chunk})
        writer.close_all()
        empty = [split.name for split in info.splits.values() if not split.num_examples]
        if empty:
            raise ValueError(f"There are no pictures for the splits {empty}.")
        return list(info.splits.values())

    def _log_download_bytes(self) -> None:
        """Says nothing: TFDS would announce a download, and none happens."""

    def _log_download_done(self) -> None:
        """Says nothing, as above."""
