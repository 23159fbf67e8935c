import numpy as np
import pytest

from jaxreid.data import LAYOUTS, scan
from jaxreid.data.layouts import Counts
from jaxreid.data.scanning import count


def rows(entries):
    return [(entry.name, entry.pid, entry.camera) for entry in entries]


def test_market_names_cameras_junk_and_double_suffixes(official):
    splits = scan("market1501", official("market1501"))
    assert rows(splits["train"]) == [
        ("0002_c1s1_000451_03.jpg", 2, 0),
        ("0002_c2s1_000776_01.jpg", 2, 1),
        ("0007_c3s3_077419_03.jpg", 7, 2),
        ("0007_c6s2_011111_01.jpg", 7, 5),
    ]
    assert rows(splits["query"]) == [
        ("0001_c1s1_001051_00.jpg", 1, 0),
        ("1488_c1s6_023071_00.jpg.jpg", 1488, 0),
    ]
    assert [entry.pid for entry in splits["gallery"]] == [-1, 0, 1, 1, 1488]


def test_market_counts_set_junk_and_distractors_apart(official):
    splits = scan("market1501", official("market1501"))
    found = count(LAYOUTS["market1501"], splits["gallery"])
    assert found == Counts(2, 4, cameras=(0, 2, 0, 1, 0, 1), junk=1, distractors=1)


def test_duke_pid_zero_is_a_person(official):
    splits = scan("dukemtmc_reid", official("dukemtmc_reid"))
    assert rows(splits["train"]) == [
        ("0001_c2_f0046182.jpg", 1, 1),
        ("0005_c8_f0046302.jpg", 5, 7),
    ]
    found = count(LAYOUTS["dukemtmc_reid"], splits["gallery"])
    assert (found.identities, found.images, found.distractors) == (3, 3, 0)


@pytest.mark.parametrize("name", ["msmt17_v1", "msmt17_v2"])
def test_msmt17_has_two_digit_cameras_and_test_pids_of_their_own(official, name):
    splits = scan(name, official(name))
    assert rows(splits["train"]) == [
        ("0000_000_01_0303morning_0008_0.jpg", 0, 0),
        ("0001_000_12_0113noon_0100_1_ex.jpg", 1, 11),
        ("0001_001_15_0302afternoon_0007_2.jpg", 1, 14),
    ]
    assert [(e.pid, e.camera) for e in splits["query"]] == [(1041, 0), (1042, 2)]
    assert [(e.pid, e.camera) for e in splits["gallery"]] == [(1041, 13), (1042, 9)]


def test_msmt17_noval_trains_on_the_first_list_only(official):
    root = official("msmt17_v2")
    assert len(scan("msmt17_v2_noval", root)["train"]) == 2


def test_cuhk03_reads_both_ways_of_naming(official):
    splits = scan("cuhk03_np_detected", official("cuhk03_np_detected"))
    assert rows(splits["train"]) == [("0003_c1_21.png", 3, 0), ("0004_c2_3.png", 4, 1)]
    assert rows(splits["query"]) == [("0001_c1_1.png", 1, 0), ("1_002_1_01.png", 1002, 0)]


def test_world_reads_market_names_with_any_number_of_cameras(official, painter):
    root = official("market1501")
    for path in root.rglob("*.jpg.jpg"):
        path.rename(path.with_suffix(""))
    painter(root / "bounding_box_train" / "0009_c12s1_000001_00.jpg")
    assert scan("world", root)["train"][-1].camera == 11


def test_published_per_camera_counts_add_up():
    for layout in LAYOUTS.values():
        for published in layout.published.values():
            assert not published.cameras or sum(published.cameras) == published.images


def test_published_totals():
    assert LAYOUTS["market1501"].published["gallery"].junk + 15_913 == 19_732
    totals = {
        name: sum(counts.images + counts.junk for counts in LAYOUTS[name].published.values())
        for name in ("market1501", "dukemtmc_reid", "msmt17_v2", "cuhk03_np_labelled")
    }
    assert totals == {
        "market1501": 12_936 + 3_368 + 19_732,
        "dukemtmc_reid": 36_411,
        "msmt17_v2": 126_441,
        "cuhk03_np_labelled": 14_096,
    }


def test_order_is_sorted_whatever_the_file_system_says(official):
    for entries in scan("market1501", official("market1501")).values():
        assert entries == sorted(entries, key=lambda entry: entry.path)
        assert np.unique([entry.name for entry in entries]).size == len(entries)
