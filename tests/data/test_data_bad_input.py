"""Every way in which a folder can be wrong: the message names the place and the mend."""

import shutil

import numpy as np
import pytest
from PIL import Image

from jaxreid.data import prepare, scan

TRAIN = "bounding_box_train"


def too_high(root):
    return root.parent


def toolkit_root(root):
    shutil.move(root, root.parent / "market1501" / root.name)
    return root.parent


def too_low(root):
    return root / TRAIN


def empty(root):
    return _cleared(root)


def archive_inside(root):
    _cleared(root)
    (root / "Market.zip").write_bytes(b"PK")
    return root


def archive_itself(root):
    archive = root.parent / "Market.zip"
    archive.write_bytes(b"PK")
    return archive


def missing(root):
    return root / "nowhere"


def without_query(root):
    shutil.rmtree(root / "query")
    return root


def without_pictures(root):
    for path in (root / "query").iterdir():
        path.unlink()
    return root


def strange_names(root):
    for i in range(7):
        (root / TRAIN / f"person{i}.jpg").write_bytes(b"")
    return root


def seventh_camera(root):
    (root / TRAIN / "0002_c7s1_000451_03.jpg").write_bytes(b"")
    return root


def one_camera(root):
    for path in root.rglob("*_c*s*.jpg"):
        stem = path.name.split("_c")
        path.rename(path.with_name(f"{stem[0]}_c1{stem[1][1:]}"))
    return root


def one_identity(root):
    for path in (root / TRAIN).glob("0007_*"):
        path.unlink()
    return root


def _cleared(root):
    shutil.rmtree(root)
    root.mkdir()
    return root


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (too_high, ["is not the folder of Market-1501 itself", "pass {root} instead"]),
        (toolkit_root, ["pass {high}/market1501/Market-1501-v15.09.15 instead"]),
        (too_low, ["is not the folder", "pass {root} instead"]),
        (empty, ["{root} is empty", "unpack"]),
        (archive_inside, ["Market.zip", "unpack it first"]),
        (archive_itself, ["Market.zip is a file", "unpack it first"]),
        (missing, ["nowhere does not exist", "Market-1501"]),
        (without_query, ["lacks query", "It holds bounding_box_test, bounding_box_train"]),
        (without_pictures, ["{root}/query holds no pictures", "'query'", "unpack"]),
        (strange_names, ["7 of 11", "person0.jpg", "and 2 more", "Remove or rename"]),
        (seventh_camera, ["1 of 5", "0002_c7s1_000451_03.jpg"]),
        (one_camera, ["{root}", "camera id 1", "no query can have a match", "c1, c2"]),
        (one_identity, ["'train'", "fewer than two identities", "Check the person numbers"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_scan_names_what_is_wrong_and_how_to_mend_it(official, spoil, said):
    root = official("market1501")
    with pytest.raises((ValueError, FileNotFoundError)) as raised:
        scan("market1501", spoil(root))
    for part in said:
        assert part.format(root=root, high=root.parent) in str(raised.value)


def test_a_listed_picture_that_is_missing(official):
    root = official("msmt17_v2")
    (root / "mask_train_v2/0001/0001_001_15_0302afternoon_0007_2.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 pictures that .*list_val.txt.*0007_2\.jpg"):
        scan("msmt17_v2", root)


def test_a_list_with_a_broken_line(official):
    root = official("msmt17_v2")
    (root / "list_query.txt").write_text("0000/0000_000_01_0303morning_0108_0.jpg\n")
    with pytest.raises(ValueError, match=r"list_query\.txt, line 1: expected 'path pid'"):
        scan("msmt17_v2", root)


@pytest.mark.parametrize(("name", "hint"), [("msmt17", "msmt17_v2"), ("nonsense", "market1501")])
def test_unknown_names_get_a_hint(tmp_path, name, hint):
    with pytest.raises(ValueError, match=f"Unknown data set '{name}': .*{hint}"):
        scan(name, tmp_path)


def spoil_pixels(folder):
    """Five files that must never reach training, with the word that explains each."""
    good = sorted(folder.glob("0*.jpg"))[0].read_bytes()
    (folder / "0100_c1s1_000000_00.jpg").write_bytes(good[:-30])
    (folder / "0101_c1s1_000000_00.jpg").write_bytes(b"")
    (folder / "0102_c1s1_000000_00.jpg").write_bytes(b"<html>404</html>")
    Image.new("L", (9000, 2)).save(folder / "0103_c1s1_000000_00.jpg")
    grey = Image.fromarray(np.full((8, 4), 40_000, np.uint16))
    grey.save(folder / "0104_c1s1_000000_00.jpg", "PNG")
    return ["truncated", "empty", "cannot identify", "more than 8192", "not 8-bit"]


def test_prepare_lists_every_unusable_picture_and_writes_nothing(official, tmp_path):
    root = official("market1501")
    said = spoil_pixels(root / TRAIN)
    with pytest.raises(ValueError) as raised:
        prepare("market1501", root, tmp_path / "records", allow_partial=True)
    lines = str(raised.value).splitlines()
    assert lines[0].startswith("5 of 16 pictures cannot be used: restore them")
    for i, (line, why) in enumerate(zip(lines[1:], said, strict=True)):
        assert f"010{i}_c1s1" in line and why in line.lower()
    assert not (tmp_path / "records").exists()


def test_prepare_compares_with_the_published_counts(official, tmp_path):
    root = official("market1501")
    with pytest.raises(ValueError, match="not the complete Market-1501.*images 4 where 12936"):
        prepare("market1501", root, tmp_path / "records")


def test_prepare_does_not_delete_what_is_not_its_own(official, tmp_path):
    (tmp_path / "notes.txt").write_text("keep me")
    with pytest.raises(FileExistsError, match="does not hold jaxreid records"):
        prepare("market1501", official("market1501"), tmp_path, allow_partial=True)
    assert (tmp_path / "notes.txt").read_text() == "keep me"
