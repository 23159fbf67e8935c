"""Tiny copies of the official sets: their folders, their kinds of names, a few pixels each."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MARKET = {
    "bounding_box_train": [
        "0002_c1s1_000451_03.jpg",
        "0002_c2s1_000776_01.jpg",
        "0007_c3s3_077419_03.jpg",
        "0007_c6s2_011111_01.jpg",
    ],
    "query": ["0001_c1s1_001051_00.jpg", "1488_c1s6_023071_00.jpg.jpg"],
    "bounding_box_test": [
        "-1_c1s1_000401_03.jpg",
        "0000_c4s6_022316_04.jpg.jpg",
        "0001_c2s1_001051_01.jpg",
        "0001_c6s1_001051_01.jpg",
        "1488_c2s6_023071_01.jpg.jpg",
    ],
}
DUKE = {
    "bounding_box_train": ["0001_c2_f0046182.jpg", "0005_c8_f0046302.jpg"],
    "query": ["0030_c1_f0000001.jpg", "0033_c5_f0000002.jpg"],
    "bounding_box_test": [
        "0000_c7_f0000003.jpg",  # an ordinary person: Duke has no distractor pid
        "0030_c4_f0000004.jpg",
        "0033_c1_f0000005.jpg",
    ],
}
CUHK = {
    "bounding_box_train": ["0003_c1_21.png", "0004_c2_3.png"],
    "query": ["0001_c1_1.png", "1_002_1_01.png"],
    "bounding_box_test": ["0001_c2_2.png", "1_002_2_06.png"],
}
MSMT = {
    "list_train.txt": [
        ("0000/0000_000_01_0303morning_0008_0.jpg", 0),
        ("0001/0001_000_12_0113noon_0100_1_ex.jpg", 1),
    ],
    "list_val.txt": [("0001/0001_001_15_0302afternoon_0007_2.jpg", 1)],
    "list_query.txt": [
        ("0000/0000_000_01_0303morning_0108_0.jpg", 0),
        ("0001/0001_000_03_0303morning_0208_0.jpg", 1),
    ],
    "list_gallery.txt": [
        ("0000/0000_001_14_0303morning_0308_0.jpg", 0),
        ("0001/0001_001_10_0303morning_0408_0.jpg", 1),
    ],
}
PRID = {  # from 201 on a number names two people, one per view
    "single_shot/cam_a": [f"person_{pid:04d}.png" for pid in (1, 2, 3, 4, 201, 203)],
    "single_shot/cam_b": [f"person_{pid:04d}.png" for pid in (1, 2, 3, 4, 201, 749)],
    "multi_shot/cam_a/person_0001": ["0001.png"],
}
SYSU = {  # 2 trains, 4 is for validation, 1 and 3 test, nobody names 5
    "cam1/0001": ["0001.jpg", "0002.jpg"],
    "cam1/0002": ["0001.jpg"],
    "cam2/0001": ["0001.jpg"],
    "cam2/0005": ["0001.jpg"],
    "cam3/0001": ["0001.jpg"],
    "cam3/0002": ["0001.jpg", "0002.jpg"],
    "cam4/0003": ["0001.jpg", "0003.jpg"],
    "cam4/0004": ["0001.jpg"],
    "cam5/0003": ["0001.jpg"],
    "cam6/0003": ["0001.jpg"],
    "cam6/0004": ["0001.jpg"],
}
SYSU_LISTS = {"train_id.txt": "2,5", "val_id.txt": "4\n", "test_id.txt": "1,3"}
REGDB = {  # 1 to 4, twice per modality; trial 1 trains on 1 and 2, trial 2 on 1 and 3
    f"{modality}/{pid}": [
        f"{sex}_{side}_{modality[0].lower()}_{2 * pid + i:05d}_{pid}.bmp" for i in (0, 1)
    ]
    for modality in ("Visible", "Thermal")
    for pid, sex, side in (
        (1, "male", "back"),
        (2, "female", "front"),
        (3, "male", "front"),
        (4, "female", "back"),
    )
}
REGDB_HALVES = {1: ((1, 2), (3, 4)), 2: ((1, 3), (2, 4))}
ROOTS = {
    "market1501": "Market-1501-v15.09.15",
    "dukemtmc_reid": "DukeMTMC-reID",
    "cuhk03_np_detected": "cuhk03-np",
    "msmt17_v1": "MSMT17_V1",
    "msmt17_v2": "MSMT17_V2",
    "prid2011": "prid_2011",
    "sysu_mm01": "SYSU-MM01",
    "regdb_1": "RegDB",
}


TABLES = {
    "dukemtmc_reid": DUKE,
    "cuhk03_np_detected": CUHK,
    "prid2011": PRID,
    "sysu_mm01": SYSU,
    "regdb_1": REGDB,
}


def paint(path: Path, size: tuple[int, int] = (8, 4), mode: str = "RGB") -> None:
    """A picture of its own for every path: colours follow from the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(str(path).encode()))
    pixels = rng.integers(0, 256, (*size, 3), np.uint8)
    kind = {".png": "PNG", ".bmp": "BMP"}.get(path.suffix, "JPEG")
    Image.fromarray(pixels).convert(mode).save(path, kind)


def _write(name: str, root: Path) -> None:
    if name.startswith("msmt17"):
        v2 = name.endswith("v2")
        for listed, lines in MSMT.items():
            part = "train" if listed in ("list_train.txt", "list_val.txt") else "test"
            folder = root / (f"mask_{part}_v2" if v2 else part)
            for path, _ in lines:
                paint(folder / path)
            (root / listed).write_text("".join(f"{path} {pid}\n" for path, pid in lines))
            paint(folder / "0000" / "._0000_000_01_0303morning_0008_0.jpg")
        return
    table = TABLES.get(name, MARKET)
    below = root / "detected" if name == "cuhk03_np_detected" else root
    for folder, names in table.items():
        for file in names:
            paint(below / folder / file)
        (below / folder / "Thumbs.db").write_bytes(b"not a picture")
        paint(below / folder / ("._" + names[0]))
    for listed, text in _lists(name).items():
        (root / listed).parent.mkdir(exist_ok=True)
        (root / listed).write_text(text)


def _lists(name: str) -> dict[str, str]:
    """The lists of people or pictures, by path; those of RegDB number people from 0 on."""
    if name == "sysu_mm01":
        return {f"exp/{listed}": text for listed, text in SYSU_LISTS.items()}
    if name != "regdb_1":
        return {}
    return {
        f"idx/{part}_{modality.lower()}_{trial}.txt": "".join(
            f"{modality}/{pid}/{file} {label}\n"
            for label, pid in enumerate(people)
            for file in REGDB[f"{modality}/{pid}"]
        )
        for trial, halves in REGDB_HALVES.items()
        for part, people in zip(("train", "test"), halves, strict=True)
        for modality in ("Visible", "Thermal")
    }


@pytest.fixture
def official(tmp_path):
    """``official(name)`` writes a tiny official folder and returns it."""

    def make(name: str) -> Path:
        root = tmp_path / "sets" / ROOTS.get(name, name)
        _write(name, root)
        return root

    return make


@pytest.fixture
def painter():
    """``painter(path, size, mode)`` writes a picture file."""
    return paint
