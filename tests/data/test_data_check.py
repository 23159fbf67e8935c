import argparse
import shutil
from dataclasses import dataclass, replace

import numpy as np
import pytest
from PIL import Image

from jaxreid.data import LAYOUTS, layouts
from jaxreid.data.__main__ import add_flags, from_flags, main
from jaxreid.data.check import check
from jaxreid.data.layouts import Counts

TINY = {
    "train": Counts(2, 4, (1, 1, 1, 0, 0, 1)),
    "query": Counts(2, 2),
    "gallery": Counts(2, 4, junk=1, distractors=1),
}


@pytest.fixture
def tiny_counts(monkeypatch):
    """Publishes the counts of the tiny set, so that it is complete."""
    table = {**LAYOUTS, "market1501": replace(LAYOUTS["market1501"], published=TINY)}
    monkeypatch.setattr(layouts, "LAYOUTS", table)


def problems(name, root):
    return [line.text for line in check(name, root) if line.wrong]


def test_a_complete_set_has_no_problems_and_a_table(official, tiny_counts):
    root = official("market1501")
    lines = check("market1501", root)
    assert not [line for line in lines if line.wrong]
    text = [line.text for line in lines]
    assert "train          4      2      0       0  c1:1 c2:1 c3:1 c6:1" in text
    assert "gallery        4      2      1       1  c2:2 c4:1 c6:1" in text
    assert "published counts: ok" in text
    assert "height x width: smallest 8 x 4, median 8 x 4, largest 8 x 4" in text


def test_missing_files_read_as_partial(official):
    (said,) = problems("market1501", official("market1501"))
    assert said.startswith("published counts: partial, files are missing: train has identities 2 ")
    assert "gallery has distractors 1 where 2798 are published" in said


def test_more_files_than_published_differ(official, tiny_counts, painter):
    root = official("market1501")
    painter(root / "bounding_box_train" / "0002_c2s1_000777_01.jpg")
    (said,) = problems("market1501", root)
    assert said.startswith("published counts: differs: train has images 5 where 4 are published")


def test_unreadable_pictures_are_all_listed(official, tiny_counts):
    root = official("market1501")
    for name in ("0002_c1s1_000451_03.jpg", "0007_c6s2_011111_01.jpg"):
        (root / "bounding_box_train" / name).write_bytes(b"")
    (said,) = problems("market1501", root)
    assert said.startswith("2 unreadable pictures")
    assert "000451_03.jpg (the file is empty)" in said and "011111_01.jpg" in said


def test_odd_modes_and_sizes_are_noted_but_no_problem(official, tiny_counts, painter):
    root = official("market1501")
    painter(root / "query" / "0001_c1s1_001051_00.jpg", (20, 6), "L")
    lines = check("market1501", root)
    assert not [line for line in lines if line.wrong]
    text = "\n".join(line.text for line in lines)
    assert "decoded to RGB from another mode: 1 L" in text and "largest 20 x 6" in text


def test_queries_without_a_match_in_another_camera(official, tiny_counts):
    root = official("market1501")
    folder = root / "bounding_box_test"
    (folder / "1488_c2s6_023071_01.jpg.jpg").rename(folder / "1488_c1s6_023071_01.jpg.jpg")
    (said,) = [text for text in problems("market1501", root) if "queries" in text]
    assert said.startswith("1 of 2 queries have no picture of the same person from another camera")
    assert "1488_c1s6_023071_00.jpg.jpg" in said
    assert "all query identities do not appear in gallery" in said and "one camera id" in said


def test_identities_on_both_sides(official, tiny_counts):
    root = official("market1501")
    folder = root / "bounding_box_train"
    (folder / "0007_c3s3_077419_03.jpg").rename(folder / "1488_c3s3_077419_03.jpg")
    assert problems("market1501", root) == [
        f"1 identities in {root} are both in train and in the test set: 1488. Scores would be far "
        "too high: restore the folders of Market-1501."
    ]


def test_equal_files_on_both_sides_and_under_two_identities(official, tiny_counts):
    root = official("market1501")
    copied = root / "bounding_box_train" / "0002_c1s1_000451_03.jpg"
    shutil.copy(copied, root / "bounding_box_test" / "0001_c2s1_001051_01.jpg")
    said = problems("market1501", root)
    assert [text.split(":")[0] for text in said] == [
        "1 pictures with equal content are both in train and in the test set",
        "1 pictures with equal content show two identities",
    ]


def test_check_command_exits_with_the_verdict(official, tiny_counts, capsys):
    root = official("market1501")
    assert main(["check", "market1501", str(root)]) == 0
    assert capsys.readouterr().out.endswith("no problems: fit for training\n")
    assert main(["check", "market1501", str(root.parent)]) == 1
    assert f"pass {root} instead" in capsys.readouterr().out


WORLD = "--train_identities 2 --test_identities 2 --cameras 2 --distractors 1 --junk 1".split()


@pytest.mark.slow
def test_world_command_makes_a_set_that_passes_the_check(tmp_path):
    root = str(tmp_path / "world")
    assert main(["world", root, *WORLD, "--height", "32", "--width", "16"]) == 0
    assert main(["check", "world", root]) == 0


def test_impossible_worlds_end_with_an_error(tmp_path, capsys):
    assert main(["world", str(tmp_path / "world"), "--cameras", "1"]) == 1
    assert "error: Spec.cameras = 1 is impossible" in capsys.readouterr().err
    assert not (tmp_path / "world").exists()


@dataclass(frozen=True)
class Plain:
    seed: int = 1
    strength: float = 0.5
    city: str = "a"
    share: float | None = None


def test_flags_follow_the_fields_of_a_dataclass():
    parser = argparse.ArgumentParser()
    add_flags(parser, Plain)
    assert from_flags(Plain, parser.parse_args([])) == Plain()
    line = "--seed 3 --strength 1 --city b --share 2"
    assert from_flags(Plain, parser.parse_args(line.split())) == Plain(3, 1.0, "b", 2.0)


def test_wrong_video_is_refused_by_its_hash(tmp_path, capsys):
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "video.png")
    command = ["vtest", str(tmp_path / "out"), "--video", str(tmp_path / "video.png")]
    assert main(command) == 1
    error = capsys.readouterr().err
    assert "is not the labelled video" in error and "45cddc9490be6934" in error
    assert not (tmp_path / "out").exists()
