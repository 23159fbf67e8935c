"""SYSU-MM01 and RegDB: people by list, cameras by folder, cameras that see infrared, trials."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from jaxreid.data import LAYOUTS, load, prepare, require_unseen, scan
from jaxreid.data.check import check
from jaxreid.data.joined import concatenate
from jaxreid.data.layouts import Counts
from jaxreid.data.scanning import count

REGDB = tuple(f"regdb_{trial}" for trial in range(1, 11))


def rows(entries):
    return [(entry.name, entry.pid, entry.camera) for entry in entries]


def problems(name, root):
    return [line.text for line in check(name, root) if line.wrong]


def loaded(name, root, directory):
    prepare(name, root, directory, allow_partial=True)
    return load(directory, (8, 4))


# --- SYSU-MM01 --------------------------------------------------------------------------------


def test_sysu_takes_people_from_lists_and_cameras_from_folders(official):
    splits = scan("sysu_mm01", official("sysu_mm01"))
    assert rows(splits["train"]) == [
        ("cam1/0002/0001.jpg", 2, 0),
        ("cam2/0005/0001.jpg", 5, 1),
        ("cam3/0002/0001.jpg", 2, 2),
        ("cam3/0002/0002.jpg", 2, 2),
        ("cam4/0004/0001.jpg", 4, 3),
        ("cam6/0004/0001.jpg", 4, 5),
    ]
    assert rows(splits["query"]) == [("cam3/0001/0001.jpg", 1, 2), ("cam6/0003/0001.jpg", 3, 5)]
    assert [(e.pid, e.camera) for e in splits["gallery"]] == [
        *((1, 0), (1, 0), (1, 1)),
        *((3, 3), (3, 3), (3, 4)),
    ]


def test_sysu_noval_trains_on_the_first_list_alone(official):
    splits = scan("sysu_mm01_noval", official("sysu_mm01"))
    assert {entry.pid for entry in splits["train"]} == {2, 5}
    assert splits["gallery"] == scan("sysu_mm01", official("sysu_mm01"))["gallery"]


def test_sysu_people_in_no_list_are_left_out(official):
    root = official("sysu_mm01")
    (root / "exp" / "train_id.txt").write_text("2")
    found = scan("sysu_mm01", root).values()
    assert {entry.pid for entries in found for entry in entries} == {1, 2, 3, 4}


def test_published_numbers_of_both_modalities():
    sysu, noval = LAYOUTS["sysu_mm01"].published, LAYOUTS["sysu_mm01_noval"].published
    assert sysu["train"].images == 22_258 + 11_909
    cameras = np.array(noval["train"].cameras)
    infrared = list(LAYOUTS["sysu_mm01"].infrared)
    assert (np.delete(cameras, infrared).sum(), cameras[infrared].sum()) == (20_284, 9_929)
    assert sum(LAYOUTS["regdb_7"].published[split].images for split in ("query", "gallery")) == 4120


# --- RegDB ------------------------------------------------------------------------------------


def test_regdb_takes_people_from_paths_and_never_from_the_labels_of_lists(official):
    splits = scan("regdb_1", official("regdb_1"))
    assert rows(splits["query"]) == [
        ("Visible/3/male_front_v_00006_3.bmp", 3, 0),
        ("Visible/3/male_front_v_00007_3.bmp", 3, 0),
        ("Visible/4/female_back_v_00008_4.bmp", 4, 0),
        ("Visible/4/female_back_v_00009_4.bmp", 4, 0),
    ]
    assert [(e.pid, e.camera) for e in splits["gallery"]] == [(3, 1), (3, 1), (4, 1), (4, 1)]
    found = count(LAYOUTS["regdb_1"], splits["train"])
    assert found == Counts(2, 8, cameras=(4, 4))
    assert {entry.pid for entry in splits["train"]} == {1, 2}


def test_regdb_has_ten_trials_with_lists_of_their_own(official):
    root = official("regdb_1")
    assert {entry.pid for entry in scan("regdb_2", root)["train"]} == {1, 3}
    assert all(name in LAYOUTS for name in REGDB) and "regdb_11" not in LAYOUTS
    lists = {source.lists for name in REGDB for source in LAYOUTS[name].splits.values()}
    assert len(lists) == 30


def without_lists(root):
    shutil.rmtree(root / "idx")


def lists_of_two_trials(root):
    shutil.copy(root / "idx" / "test_thermal_2.txt", root / "idx" / "test_thermal_1.txt")


def without_a_person(root):
    shutil.rmtree(root / "Thermal" / "4")


def third_modality(root):
    lines = (root / "idx" / "test_visible_1.txt").read_text()
    (root / "idx" / "test_visible_1.txt").write_text(lines.replace("Visible/3", "Seen/3"))
    shutil.copytree(root / "Visible" / "3", root / "Seen" / "3")


def person_in_two_lists(root):
    (root / "exp" / "test_id.txt").write_text("1,3,4")


def torn_list(root):
    (root / "exp" / "val_id.txt").write_text("4,five")


def without_test_list(root):
    (root / "exp" / "test_id.txt").unlink()


@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        ("regdb_1", without_lists, ["{root} lacks idx/train_visible_1.txt, idx/train_thermal_1"]),
        (
            "regdb_1",
            lists_of_two_trials,
            [
                "1 identities in {root} are both in train and in the test set: 2.",
                "restore the lists idx/train_visible_1.txt, idx/train_thermal_1.txt, "
                "idx/test_visible_1.txt, idx/test_thermal_1.txt of RegDB, trial 1",
            ],
        ),
        ("regdb_1", without_a_person, ["2 pictures that idx/test_thermal_1.txt", "Thermal/4/"]),
        ("regdb_1", third_modality, ["2 of 4 file names", "Seen/3/male", "RegDB, trial 1"]),
        ("sysu_mm01", person_in_two_lists, ["1 identities", "test set: 4.", "exp/val_id.txt"]),
        ("sysu_mm01", torn_list, ["exp/val_id.txt: expected person numbers", "'4,five'"]),
        ("sysu_mm01", without_test_list, ["{root} lacks exp/test_id.txt", "SYSU-MM01"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_wrong_lists_are_named(official, tmp_path, name, spoil, said):
    root = official(name)
    spoil(root)
    with pytest.raises((ValueError, FileNotFoundError)) as raised:
        prepare(name, root, tmp_path / "records", allow_partial=True)
    for part in said:
        assert part.format(root=root) in str(raised.value)
    assert problems(name, root) == [str(raised.value)]


# --- both -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sysu_mm01", "regdb_1"])
def test_check_reports_cameras_counts_and_terms(official, name):
    lines = check(name, official(name))
    text = [line.text for line in lines]
    assert LAYOUTS[name].notice in text
    assert [line.text.split(":")[0] for line in lines if line.wrong] == ["published counts"]
    table = {"sysu_mm01": "c3:1 c6:1", "regdb_1": "c1:4"}[name]
    assert next(line for line in text if line.startswith("query")).endswith(f"  {table}")


def test_a_complete_copy_has_no_problems(official, monkeypatch):
    tiny = {"train": Counts(2, 8, (4, 4)), "query": Counts(2, 4, (4,))}
    complete = {**LAYOUTS, "regdb_1": replace(LAYOUTS["regdb_1"], published=tiny)}
    monkeypatch.setattr("jaxreid.data.layouts.LAYOUTS", complete)
    assert not problems("regdb_1", official("regdb_1"))


def test_infrared_cameras_are_known_and_one_channel_is_three_equal_ones(
    official, tmp_path, painter
):
    root = official("sysu_mm01")
    painter(root / "cam3" / "0002" / "0001.jpg", mode="L")
    train = loaded("sysu_mm01", root, tmp_path / "records")["train"]
    assert train.domain == "sysu_mm01"
    assert train.modalities.tolist() == [0, 0, 1, 1, 0, 1]
    assert train.take(train.modalities == 1).names[0] == "cam3/0002/0001.jpg"
    grey, colour = train.images(np.array([2, 0]))
    assert (grey == grey[:, :, :1]).all() and not (colour == colour[:, :, :1]).all()


def test_modality_follows_the_layout_and_is_not_guessed(official, tmp_path):
    root = official("regdb_1")
    splits = loaded("regdb_1", root, tmp_path / "records")
    assert splits["train"].modalities.tolist() == [1] * 4 + [0] * 4  # Thermal sorts first
    both = concatenate([splits["query"], splits["gallery"]])
    assert both.modalities.tolist() == [0] * 4 + [1] * 4
    with pytest.raises(ValueError, match="8 pictures of 'several sets' .* modality"):
        _ = concatenate([splits["query"], replace(splits["gallery"], domain="")]).modalities


def test_people_of_another_trial_are_not_tested(official, tmp_path):
    root = official("regdb_1")
    first, second = (loaded(f"regdb_{k}", root, tmp_path / f"records{k}") for k in (1, 2))
    for splits in (first, second):
        require_unseen(splits["train"], splits["query"])
    with pytest.raises(ValueError, match=r"regdb_1 cannot be tested on regdb_2: 1 people.*\(2\)"):
        require_unseen(first["train"], second["query"])
    # another set numbers its people by itself
    other = replace(second["query"], domain="market1501")
    require_unseen(first["train"], other)
