"""Worlds in DukeMTMC-reID's layout, and how the second city differs from the first."""

import collections
import dataclasses
import functools
import json
import re
import shutil
from typing import Any

import jax
import numpy as np
import pytest

from jaxreid.data import load, prepare, scan, world
from jaxreid.data.__main__ import main
from jaxreid.data.world.cameras import sample_camera
from jaxreid.data.world.spec import FOLDERS

NAME = re.compile(r"^(\d{4})_c([1-8])_f(\d{7})\.jpg$")
DUKE: dict[str, Any] = {"layout": "dukemtmc_reid"}


@pytest.mark.parametrize("layout", ["world", "dukemtmc_reid"])
def test_both_layouts_read_every_file_of_a_duke_form_world(cities, layout):
    spec = world.read_spec(cities.duke)
    splits = scan(layout, cities.duke)
    parsed = {f: [NAME.match(p.name) for p in (cities.duke / f).iterdir()] for f in FOLDERS}
    assert all(match for rows in parsed.values() for match in rows)
    pids = {split: {entry.pid for entry in entries} for split, entries in splits.items()}
    assert len(splits["train"]) == len(parsed["bounding_box_train"]) == round(4 * 2.0 * 4.0)
    assert len(pids["train"]) == 4 and len(pids["query"]) == 3
    assert not pids["train"] & pids["gallery"] and 0 not in pids["gallery"]
    cells = collections.Counter((entry.pid, entry.camera) for entry in splits["query"])
    assert set(cells.values()) == {1} and len(cells) == spec.test_identities * spec.cameras


def test_distractors_are_people_of_the_gallery_whom_one_camera_saw(cities):
    splits = scan("dukemtmc_reid", cities.duke)
    known = {entry.pid for split in ("train", "query") for entry in splits[split]}
    extra = [entry for entry in splits["gallery"] if entry.pid not in known]
    assert {entry.pid for entry in extra} == {8, 9, 10, 11, 12}  # after the 7 known people
    cameras = collections.defaultdict(set)
    for entry in extra:
        cameras[entry.pid].add(entry.camera)
    assert all(len(seen) == 1 for seen in cameras.values()) and len(extra) == 5 * 4
    masks, _ = world.truth(cities.duke, [entry.name for entry in extra])
    assert (masks.mean((1, 2)) > 0.05).all()  # no empty street


def test_records_of_a_duke_form_world(cities, tmp_path):
    prepare("dukemtmc_reid", cities.duke, tmp_path / "records", allow_partial=True)
    splits = load(tmp_path / "records", (48, 24))
    assert splits["gallery"].images(np.array([0])).shape == (1, 48, 24, 3)
    assert -1 not in splits["gallery"].pids
    with pytest.raises(ValueError, match="not the complete DukeMTMC-reID"):
        prepare("dukemtmc_reid", cities.duke, tmp_path / "again")


def test_people_and_their_pictures_do_not_depend_on_the_layout():
    same: dict[str, Any] = {"seed": 3, "train_identities": 5, "test_identities": 4, "cameras": 3}
    market = world.plan(world.Spec(**same))
    duke = world.plan(world.Spec(**same, **DUKE))
    ordinary = market.pid > 0
    for field in ("folder", "stream", "pid", "camera", "shot", "kind"):
        ours = getattr(duke, field)[: ordinary.sum()]
        np.testing.assert_array_equal(ours, getattr(market, field)[ordinary])
    assert len(set(duke.names)) == len(duke.names)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"junk": 3}, r"Spec\.junk = 3 is impossible: DukeMTMC-reID has no junk boxes\. Give 0"),
        ({"cameras": 9}, r"Spec\.cameras = 9 is impossible: give a whole number from 2 to 8"),
        ({"distractors": 9900}, r"Spec\.distractors = 9900 .* from 0 to 9849"),
        ({"layout": "duke"}, r"Spec\.layout = 'duke' .* give market1501 or dukemtmc_reid"),
    ],
)
def test_impossible_duke_worlds_name_the_field(fields, said):
    with pytest.raises(ValueError, match=said):
        world.Spec(**{**DUKE, **fields})


def test_junk_follows_the_layout_and_must_be_whole():
    assert world.Spec().junk == 50 and world.Spec(**DUKE).junk == 0
    with pytest.raises(ValueError, match=r"Spec\.junk = 1\.5 .* a whole number"):
        world.Spec(junk=1.5)  # pyright: ignore[reportArgumentType]


def test_worlds_of_before_there_were_layouts_are_still_known(cities, tmp_path):
    root = tmp_path / "old"
    shutil.copytree(cities.market, root)
    fields = json.loads((root / "world.json").read_text())["spec"]
    del fields["layout"]
    (root / "world.json").write_text(json.dumps({"spec": fields}))
    spec = world.read_spec(root)
    assert spec == world.read_spec(cities.market)
    world.write(spec, root)  # already there
    with pytest.raises(FileExistsError):
        world.write(dataclasses.replace(spec, junk=0, layout="dukemtmc_reid"), root)


def test_the_second_city_looks_down_from_higher_cameras_under_a_higher_sun(quick_compiler):
    keys = jax.random.split(jax.random.key(0), 128)
    first, second = (
        jax.jit(jax.vmap(functools.partial(sample_camera, city=city)))(keys) for city in (0, 1)
    )
    tilts = [np.arcsin((np.asarray(c.height) - 8.5) / c.distance) for c in (first, second)]
    assert tilts[0].min() > 0.05 and tilts[0].max() < 0.35
    assert tilts[1].min() > 0.23 and tilts[1].max() < 0.59
    assert np.mean(second.height) > 1.5 * np.mean(first.height)
    np.testing.assert_array_equal(first.distance, second.distance)
    assert np.mean(second.sun[:, 1]) > np.mean(first.sun[:, 1]) + 0.2
    assert np.mean(second.sunlight) > 1.3 * np.mean(first.sunlight)
    walls = [np.asarray(c.scenes.wall_colour).mean() for c in (first, second)]
    assert walls[1] > 1.8 * walls[0]  # plaster instead of brick


def test_the_command_writes_a_second_city_in_dukes_layout(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(world, "write", lambda *args, **more: drawn.append((*args, more)))
    root = str(tmp_path / "city")
    assert main(["world", root, "--layout=dukemtmc_reid", "--city=1"]) == 0
    assert main(["world", root, "--masks", "--keypoints"]) == 0
    spec = world.Spec(city=1, layout="dukemtmc_reid")
    neither, both = ({"masks": wanted, "keypoints": wanted} for wanted in (False, True))
    assert drawn == [(spec, root, neither), (world.Spec(), root, both)]
