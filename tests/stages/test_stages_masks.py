"""Masks of a folder of pictures: which, where, again after a stop, and what looks odd."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jaxreid.data.masks import mask_path
from jaxreid.nets import person
from jaxreid.stages import masks


def dark(picture):
    """A segmenter by hand: what is dark is a person."""
    return (picture.mean(-1) < 100).astype(np.float32)


def paint(path, shade=0, size=(8, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((*size, 3), 200, np.uint8)
    pixels[2:6, 1:3] = shade
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "set"
    for name in ("train/a.png", "train/b.jpg.png", "query/a.png", "c.bmp"):
        paint(root / name)
    for name in ("train/._a.png", ".cache/d.png", "masks/train/a.jpg", "masks_sheet.png"):
        paint(root / name)
    (root / "train" / "notes.txt").write_text("no picture")
    (root / "masks" / "train" / "a.jpg").unlink()
    return root


@pytest.fixture
def run(monkeypatch):
    """The command, with the segmenter by hand; counts the pictures that it saw."""
    seen = []
    monkeypatch.setattr(person, "segmenter", lambda path: lambda x: seen.append(x) or dark(x))

    def command(*arguments):
        seen.clear()
        return masks.main([str(each) for each in arguments]), len(seen)

    return command


def test_every_picture_gets_a_mask_at_its_place(folder, run, capsys):
    assert run(folder, "--batch", 3) == (0, 4)
    made = sorted(p.relative_to(folder / "masks") for p in (folder / "masks").rglob("*.png"))
    assert [p.as_posix() for p in made] == [
        "c.png",
        "query/a.png",
        "train/a.png",
        "train/b.jpg.png",
    ]
    with Image.open(folder / "masks" / "train" / "a.png") as mask:
        assert mask.mode == "L" and mask.size == (4, 8)
        found = np.asarray(mask)
    expected = np.zeros((8, 4), np.uint8)
    expected[2:6, 1:3] = 255
    np.testing.assert_array_equal(found, expected)
    said = capsys.readouterr().out
    assert "4 pictures, 0 have a mask" in said and "4 of 4, " in said and "masks cover" not in said
    with Image.open(folder / "masks_sheet.png") as sheet:
        assert (np.asarray(sheet.convert("RGB")) == (255, 0, 255)).all(-1).any()


def test_what_is_there_is_not_made_again(folder, run, capsys):
    run(folder)
    (folder / "masks" / "c.png").write_bytes(b"mine")
    (folder / "masks" / "query" / "a.png").unlink()
    assert run(folder) == (1, 1)  # the sheet shows all four: a mask that is none is found out
    assert "cannot identify image file" in capsys.readouterr().err
    assert (folder / "masks" / "c.png").read_bytes() == b"mine"
    (folder / "masks" / "c.png").unlink()
    assert run(folder) == (0, 1)
    assert run(folder) == (0, 0)


def test_masks_may_go_elsewhere_and_are_no_pictures(folder, run, tmp_path):
    assert run(folder, "--masks", tmp_path / "mine") == (0, 4)
    assert (tmp_path / "mine_sheet.png").is_file() and not list((folder / "masks").rglob("*.png"))
    assert run(folder, "--masks", folder / "own") == (0, 4)
    assert run(folder, "--masks", folder / "own") == (0, 0)


def test_a_kill_while_writing_leaves_no_mask(folder, monkeypatch):
    def write(path, content):
        path.parent.mkdir(parents=True, exist_ok=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(masks, "write_atomically", write)
    picture = folder / "c.bmp"
    with pytest.raises(KeyboardInterrupt):
        masks.make(folder, folder / "masks", dark, picture)
    assert not mask_path(picture, folder, folder / "masks").exists()


def test_only_the_pictures_of_a_layout(tmp_path, run):
    names = {
        "bounding_box_train": ["0002_c1s1_000451_03.jpg", "0007_c2s1_000776_01.jpg"],
        "query": ["0001_c1s1_001051_00.jpg", "0003_c1s1_001051_00.jpg"],
        "bounding_box_test": ["0001_c2s1_001051_01.jpg", "0003_c2s1_001051_01.jpg"],
        "gt_bbox": ["0001_c2s1_001051_01.jpg"],
    }
    for part, files in names.items():
        for name in files:
            paint(tmp_path / part / name)
    assert run(tmp_path, "--layout", "market1501") == (0, 6)
    assert run(tmp_path) == (0, 1)


def test_odd_masks_and_broken_pictures_are_told(folder, run, capsys):
    paint(folder / "train" / "nobody.png", shade=200)
    (folder / "train" / "broken.jpg").write_bytes(b"no picture")
    Image.new("RGB", (4, 8)).save(folder / "train" / "night.png")
    assert run(folder) == (1, 6)
    said = capsys.readouterr()
    assert "1 masks cover less than 5% of the picture" in said.out and "nobody.png" in said.out
    assert "1 masks cover more than 95% of the picture" in said.out and "night.png" in said.out
    assert "1 pictures have no mask" in said.err and "broken.jpg (" in said.err


def test_folders_that_cannot_be_masked(folder, run, capsys, tmp_path):
    paint(folder / "train" / "a.jpg")
    for root, message in (
        (tmp_path / "nowhere", "is no folder"),
        (folder, "would have one mask: rename one"),
    ):
        assert run(root) == (1, 0)
        assert message in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty") == (1, 0)
    assert "holds no pictures (.bmp, .jpeg, .jpg, .png)" in capsys.readouterr().err


def test_importing_needs_no_runtime():
    code = "import sys, jaxreid.stages.masks; sys.exit('ai_edge_litert' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
