"""Worlds with infrared cameras: RegDB's and SYSU-MM01's layouts, and that colour tells little."""

import collections
import re
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat

from jaxreid.data import world
from jaxreid.data.__main__ import main
from jaxreid.data.world import people as p
from jaxreid.data.world.drawing import cameras_of
from jaxreid.data.world.infrared import sample_fabrics
from jaxreid.data.world.keys import person_key
from jaxreid.evaluation import Embedded, Protocol, evaluate

SIZE: dict[str, Any] = {"height": 40, "width": 20}
SMALL = {**SIZE, "test_identities": 4}
REGDB = world.Spec(seed=5, layout="regdb", train_identities=5, images_per_camera=3.0, **SMALL)
SYSU = world.Spec(
    seed=6,
    layout="sysu_mm01",
    train_identities=8,
    cameras_per_identity=4.0,
    images_per_camera=2.0,
    **SMALL,
)
REGDB_NAME = re.compile(r"^(male|female)_(front|back)_([vt])_(\d{5})_(\d{1,3})\.bmp$")
CLOTHES = [p.TOP, p.INNER, p.BOTTOM, p.SHOES, p.BAG]
LUMA = np.array([0.299, 0.587, 0.114])


@pytest.fixture(scope="module", autouse=True)
def quick_compiler():
    """Every picture here has a size of its own, so no other test meets what was compiled so."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def regdb(tmp_path_factory):
    path = tmp_path_factory.mktemp("infrared") / "regdb"
    world.write(REGDB, path)
    return path


@pytest.fixture(scope="module")
def sysu(tmp_path_factory):
    path = tmp_path_factory.mktemp("infrared") / "sysu"
    world.write(SYSU, path, masks=True)
    return path


def below(root, folder, suffix):
    return sorted(str(f.relative_to(root)) for f in (root / folder).rglob(f"*{suffix}"))


def trunk(pictures):
    """Mean brightness of the middle of the body."""
    return (pictures[:, 12:20, 7:13] @ LUMA).mean((1, 2))


def test_regdb_has_ten_lists_of_halves_and_names_that_tell_the_truth(regdb):
    assert {f.name for f in regdb.iterdir()} == {"Visible", "Thermal", "idx", "world.json"}
    files = {folder: below(regdb, folder, ".bmp") for folder in ("Visible", "Thermal")}
    for folder, names in files.items():
        assert len(names) == len(set(names)) == 9 * 3
        for name in names:
            _, pid, file = name.split("/")
            parsed = REGDB_NAME.match(file)
            assert parsed and parsed[3] == folder[0].lower() and parsed[5] == pid
            with Image.open(regdb / name) as image:
                assert image.size == (20, 40)
                assert image.mode == ("RGB" if folder == "Visible" else "L")
    splits = []
    for trial in range(1, 11):
        seen = {}
        for part, people in (("train", 5), ("test", 4)):
            for folder, listed in files.items():
                text = (regdb / f"idx/{part}_{folder.lower()}_{trial}.txt").read_text()
                lines = [line.split(" ") for line in text.splitlines()]
                found = {(name.split("/")[1], int(label)) for name, label in lines}
                assert {name for name, _ in lines} <= set(listed) and len(lines) == 3 * people
                assert sorted(label for _, label in found) == list(range(people))
                assert seen.setdefault(part, found) == found  # labels of both modalities agree
        pids = [{pid for pid, _ in seen[part]} for part in ("train", "test")]
        assert not pids[0] & pids[1] and pids[0] | pids[1] == set(map(str, range(1, 10)))
        splits.append(frozenset(pids[0]))
    assert len(set(splits)) > 5
    assert len(list((regdb / "idx").iterdir())) == 40


def test_regdb_names_say_sex_and_side(regdb):
    names = below(regdb, "Visible", ".bmp")
    root = jax.random.key(REGDB.seed)
    draw = jax.jit(lambda pid: p.sample_person(person_key(root, pid)).shape)
    for pid in range(1, 10):
        said = {n.split("/")[2].split("_")[0] for n in names if n.split("/")[1] == str(pid)}
        assert said == {"female" if (np.asarray(draw(pid))[:8] == 0).all() else "male"}
    _, keypoints = world.truth(regdb, names)
    front = np.array(["_front_" in name for name in names])
    noses = keypoints[:, 0, 2]
    assert noses[front].mean() > 0.6 > 0.2 > noses[~front].mean()


def test_sysu_has_six_cameras_and_the_official_lists(sysu):
    cameras = [f"cam{c}" for c in range(1, 7)]
    assert {f.name for f in sysu.iterdir()} == {*cameras, "exp", "masks", "world.json"}
    lists = {}
    for name in ("available", "train", "val", "test"):
        text = (sysu / f"exp/{name}_id.txt").read_text()
        assert text.count("\n") == 1
        lists[name] = [int(pid) for pid in text.split(",")]
        assert loadmat(sysu / f"exp/{name}_id.mat")["id"].tolist() == [lists[name]]
    assert [len(lists[name]) for name in lists] == [12, 6, 2, 4]
    assert sorted(lists["train"] + lists["val"] + lists["test"]) == lists["available"]
    permutations = loadmat(sysu / "exp/rand_perm_cam.mat")["rand_perm_cam"]
    assert permutations.shape == (6, 1)
    modalities = collections.defaultdict(set)
    for camera, cell in zip(cameras, permutations[:, 0], strict=True):
        assert cell.shape == (12, 1)
        for pid, drawn in enumerate(cell[:, 0], 1):
            folder = sysu / camera / f"{pid:04d}"
            files = sorted(f.name for f in folder.iterdir()) if folder.exists() else []
            assert files == [f"{i:04d}.jpg" for i in range(1, len(files) + 1)]
            assert drawn.shape == (10, len(files))
            assert (np.sort(drawn, axis=1) == np.arange(1, len(files) + 1)).all()
            for file in files:
                modalities[pid].add(camera in ("cam3", "cam6"))
                with Image.open(folder / file) as image:
                    assert image.mode == ("L" if camera in ("cam3", "cam6") else "RGB")
                assert (sysu / "masks" / camera / f"{pid:04d}" / f"{file[:4]}.png").is_file()
    assert all(seen == {True, False} for seen in modalities.values()) and len(modalities) == 12
    assert (np.ptp(permutations[0, 0][-1, 0], axis=0) > 0).any()  # trials differ


def test_sysu_cameras_2_and_3_share_a_room():
    scenes = cameras_of(SYSU).scenes
    np.testing.assert_array_equal(scenes.salt[1], scenes.salt[2])
    np.testing.assert_array_equal(scenes.wall_colour[1], scenes.wall_colour[2])
    assert len(set(np.asarray(scenes.salt[:, 0]).tolist())) == 5


def test_the_same_spec_gives_the_same_bytes(regdb, sysu, tmp_path):
    world.write(REGDB, tmp_path / "again")
    for folder in ("Visible", "Thermal", "idx"):
        names = below(tmp_path / "again", folder, ".*")
        assert names == below(regdb, folder, ".*")
        for name in names:
            assert (regdb / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name
    head = (sysu / "exp/rand_perm_cam.mat").read_bytes()[:116]
    assert b"Created on" not in head  # scipy's date would differ from run to run


def test_the_oracle_shows_the_moment_in_the_other_modality(regdb, sysu):
    names = below(regdb, "Visible", ".bmp")[:4] + below(regdb, "Thermal", ".bmp")[:4]
    converted = world.convert(regdb, names)
    np.testing.assert_array_equal(converted, world.restyle(regdb, names, [1] * 4 + [0] * 4))
    grey = np.ptp(converted.astype(int), axis=-1).max((1, 2))
    assert (grey[:4] == 0).all() and (grey[4:] > 20).all()
    own = world.restyle(regdb, names, [0] * 4 + [1] * 4)
    for name, picture in zip(names, own, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(regdb / name).convert("RGB")), picture)
    name = below(sysu, "cam1", ".jpg")[0]
    looks = {world.convert(sysu, [name], seed).tobytes() for seed in range(6)}
    near = [world.restyle(sysu, [name], [camera]).tobytes() for camera in (2, 5)]
    assert looks == set(near)


def test_only_worlds_of_two_modalities_convert(tmp_path):
    (tmp_path / "world.json").write_text('{"spec": {}}')
    with pytest.raises(ValueError, match="visible cameras only: write one with layout=regdb"):
        world.convert(tmp_path, [])


def test_outsiders_of_regdb_are_new_people_in_each_picture(regdb):
    drawn = world.outsiders(regdb, 0, 6)
    assert (np.ptp(drawn.astype(int), axis=-1).max((1, 2)) == 0).tolist() == [False, True] * 3
    brightness = [np.abs(drawn[0].astype(int) - drawn[i]).mean() for i in (2, 4)]
    assert min(brightness) > 5


def test_people_look_alike_to_both_near_cameras_and_unlike_their_visible_selves(sysu):
    names = [below(sysu, f"cam{c}", ".jpg") for c in (1, 2, 4, 5)]
    first = {name.split("/")[1]: name for few in names for name in few}  # one picture per person
    assert len(first) == 12
    chosen = list(first.values())
    near, other, seen = (trunk(world.restyle(sysu, chosen, [camera] * 12)) for camera in (2, 5, 0))
    assert np.corrcoef(near, other)[0, 1] > 0.9
    assert abs(np.corrcoef(near, seen)[0, 1]) < 0.6


def mean_colour(pictures):
    return pictures.mean((1, 2))


def grey_histogram(pictures):
    levels = np.round(pictures @ LUMA).astype(int) // 16
    return np.stack([np.bincount(each.ravel(), minlength=16) / each.size for each in levels])


def standard(vectors, folders):
    """Each camera's vectors with mean 0 and deviation 1: what all its pictures share is gone."""
    found = np.empty_like(vectors)
    for folder in np.unique(folders):
        own = vectors[folders == folder]
        found[folders == folder] = (own - own.mean(0)) / (own.std(0) + 1e-6)
    return found


def above_chance(vectors, pids, asked, searched):
    """Rank-1 and mAP of plain distances, less their means over shuffled names of the queries."""
    query, gallery = (
        Embedded(vectors[rows], pids[rows], np.zeros(rows.sum(), int)) for rows in (asked, searched)
    )
    plain = Protocol(mask="none", normalize=False)

    def scores(names):
        found = evaluate(replace(query, pids=names), gallery, plain)
        return np.array([found.rank(1), found.mean_ap])

    people, rng = np.unique(pids), np.random.default_rng(0)
    shuffled = [dict(zip(people, rng.permutation(people), strict=True)) for _ in range(20)]
    chance = np.mean([scores(np.array([names[p] for p in query.pids])) for names in shuffled], 0)
    return scores(query.pids) - chance


SETS: dict[str, dict[str, Any]] = {
    "regdb": {"test_identities": 20},
    "sysu_mm01": {"test_identities": 14, "cameras_per_identity": 3.0},
}


@pytest.mark.parametrize("layout", SETS)
def test_colour_alone_finds_people_in_their_own_modality_only(layout, tmp_path):
    """Shuffled names spread rank-1 by 0.01 to 0.03 and mAP by 0.01; ``found`` is far beyond."""
    found = (0.1, 0.05)
    given = {"seed": 7, "city": 1, "train_identities": 4, "images_per_camera": 2.0, **SIZE}
    root = tmp_path / layout
    world.write(world.Spec(layout=layout, **given, **SETS[layout]), root)
    files = sorted(file for end in ("bmp", "jpg") for file in root.glob(f"*/*/*.{end}"))
    folders, pids = np.array([file.parts[-3:-1] for file in files]).T
    pictures = np.stack([np.asarray(Image.open(file).convert("RGB"), float) for file in files])
    infrared, half = np.isin(folders, ("Thermal", "cam3", "cam6")), np.arange(len(files)) % 2 == 1
    for describe in (mean_colour, grey_histogram):
        raw = describe(pictures)
        for vectors in (raw, standard(raw, folders)):
            ranked = partial(above_chance, vectors, pids.astype(int))
            for asked in (infrared, ~infrared):
                across = ranked(asked, ~asked)
                assert (across < found).all(), (describe.__name__, across)
        own = ranked(~infrared & half, ~infrared & ~half)
        assert (own > found).all(), (describe.__name__, own)


def test_brightness_tells_something_of_reflectance_and_little_of_warmth():
    keys = jax.random.split(jax.random.key(0), 600)

    def draw(key):
        person = p.sample_person(key)
        return person.palette, sample_fabrics(key, person)

    palette, fabrics = jax.device_get(jax.jit(jax.vmap(draw))(keys))
    bright, near = (palette @ LUMA)[:, CLOTHES], fabrics.reflectance[:, CLOTHES]
    link = np.corrcoef(bright.ravel(), near.ravel())[0, 1]
    assert 0.5 < link < 0.7, link
    for part in (p.TOP, p.BOTTOM):
        link = np.corrcoef(palette[:, part] @ LUMA, fabrics.warmth[:, part])[0, 1]
        assert abs(link) < 0.2, link
    dark = bright < 0.2
    assert 0.4 < (near[dark] > 0.3).mean() < 0.8  # most dark clothes become bright
    skin = fabrics.reflectance[:, p.SKIN]
    assert skin.std() < 0.05 and abs(np.corrcoef(skin, palette[:, p.SKIN] @ LUMA)[0, 1]) < 0.2
    warm = fabrics.warmth
    assert (warm[:, p.SKIN] > warm[:, p.HAIR]).all() and (warm[:, p.HAIR] > warm[:, p.BAG]).all()
    np.testing.assert_array_equal(warm[:, p.PRINT], warm[:, p.TOP])  # prints are not seen
    assert 0.3 < (near[:, 0] == fabrics.reflectance[:, p.PRINT]).mean() < 0.7


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"layout": "regdb", "cameras": 3}, r"Spec\.cameras = 3 .* always 2\. Leave it out"),
        ({"layout": "regdb", "images_per_camera": 2.5}, r"images_per_camera = 2\.5 .* whole"),
        ({"layout": "regdb", "test_images_per_camera": 4.0}, r"test_images_per_camera = 4\.0"),
        ({"layout": "regdb", "test_identities": 900}, r"test_identities = 900 .* from 1 to 899"),
        ({"layout": "sysu_mm01", "distractors": 5}, r"Spec\.distractors = 5 .* always 0"),
        ({"layout": "sysu_mm01", "train_identities": 1}, r"train_identities = 1 .* from 2"),
        ({"layout": "sysu_mm01", "cameras_per_identity": 1.0}, r"per_identity = 1\.0 .* from 2"),
    ],
)
def test_impossible_infrared_worlds_name_the_field(fields, said):
    with pytest.raises(ValueError, match=said):
        world.Spec(**fields)


def test_the_command_knows_both_layouts(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(world, "write", lambda spec, *_, **__: drawn.append(spec))
    for layout, modalities in (("regdb", "vt"), ("sysu_mm01", "vvnvvn")):
        assert main(["world", str(tmp_path), f"--layout={layout}", "--seed=3"]) == 0
        assert drawn[-1] == world.Spec(seed=3, layout=layout)
        assert "".join(seen[0] for seen in drawn[-1].modalities) == modalities
    assert drawn[0].images_per_camera == 10 and drawn[0].distractors == 0
