"""Two modalities of a set: layouts and trials, tests of each, converted images."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.io import matlab

from jaxreid.data import LAYOUTS
from jaxreid.evaluation import REGDB, SYSU_ALL, SYSU_INDOOR, camera_pairs, drawn, evaluate
from jaxreid.stages import generate, modalities, publish, scoring, sets
from jaxreid.stages.modalities import INFRARED, VISIBLE
from jaxreid.stages.scoring import Features
from jaxreid.training import WorkdirError

COLOURS = np.random.default_rng(0).integers(0, 256, (7, 6, 3))


def painted(path, pid, camera):
    """A picture of one colour, which is the person's, or a shade of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = ("L", (int(COLOURS[pid, camera, 0]),)) if camera else ("RGB", COLOURS[pid, camera])
    Image.new(mode[0], (4, 8), tuple(int(value) for value in mode[1])).save(path)


def regdb_at(root):
    """Six people, two pictures per modality, two trials."""
    (root / "idx").mkdir(parents=True)
    halves = {1: ((1, 2, 3), (4, 5, 6)), 2: ((1, 2, 4), (3, 5, 6))}
    for camera, modality in enumerate(("Visible", "Thermal")):
        short = modality[0].lower()
        files = {
            pid: [f"{modality}/{pid}/male_back_{short}_{k:05d}_{pid}.bmp" for k in (1, 2)]
            for pid in range(1, 7)
        }
        for pid, names in files.items():
            for name in names:
                painted(root / name, pid, camera)
        for trial, parts in halves.items():
            for part, people in zip(("train", "test"), parts, strict=True):
                lines = [f"{name} {i}\n" for i, pid in enumerate(people) for name in files[pid]]
                list_file = root / f"idx/{part}_{modality.lower()}_{trial}.txt"
                list_file.write_text("".join(lines))


def sysu_at(root):
    """Six people, two pictures per camera, and an order of them for ten trials."""
    lists = {"train": "1,2", "val": "3", "test": "4,5,6", "available": "1,2,3,4,5,6"}
    (root / "exp").mkdir(parents=True)
    for name, people in lists.items():
        (root / f"exp/{name}_id.txt").write_text(people)
    for pid in range(1, 7):
        for camera in range(6):
            for k in (1, 2):
                path = root / f"cam{camera + 1}/{pid:04d}/{k:04d}.jpg"
                painted(path, pid, camera * (camera in (2, 5)))
    order = np.empty((6, 1), object)
    for camera in range(6):
        order[camera, 0] = np.empty((6, 1), object)
        for pid in range(6):
            order[camera, 0][pid, 0] = np.tile([2, 1], (10, 1))
    matlab.savemat(root / "exp/rand_perm_cam.mat", {"rand_perm_cam": order})


def settings(root, name="regdb", trial=1):
    return sets.Settings(name, str(root), 8, 4, {}, trial=trial)


@pytest.fixture(scope="module")
def regdb(tmp_path_factory):
    root, workdir = tmp_path_factory.mktemp("sets") / "RegDB", tmp_path_factory.mktemp("regdb")
    regdb_at(root)
    return root, workdir, sets.prepare(workdir, settings(root))


@pytest.fixture(scope="module")
def sysu(tmp_path_factory):
    root, workdir = tmp_path_factory.mktemp("sets") / "SYSU-MM01", tmp_path_factory.mktemp("sysu")
    sysu_at(root)
    return root, sets.prepare(workdir, settings(root, "sysu_mm01"))


def test_both_layouts_have_both_modalities(regdb, sysu):
    for data, name in ((regdb[2], "regdb_1"), (sysu[1], "sysu_mm01")):
        assert {split.domain for split in (data.train, data.query, data.gallery)} == {name}
        assert set(data.train.modalities.tolist()) == {VISIBLE, INFRARED}
        modalities.require_layout(name)
        modalities.require(data.train)
    assert set(regdb[2].query.modalities) == {VISIBLE}
    assert set(sysu[1].query.modalities) == {INFRARED}


@pytest.mark.parametrize(
    ("fields", "layout"),
    [
        ({"name": "market1501"}, "market1501"),
        ({"name": "regdb", "trial": 3}, "regdb_3"),
        ({"name": "regdb_3"}, "regdb_3"),
        ({"name": "regdb_3", "trial": 3}, "regdb_3"),
        ({"name": "world"}, "world"),
        ({"name": "world", "world": {"layout": "dukemtmc_reid"}}, "world"),
        ({"name": "world", "world": {"layout": "regdb"}, "trial": 10}, "regdb_10"),
        ({"name": "world", "world": {"layout": "sysu_mm01"}, "trial": 10}, "sysu_mm01"),
        ({"name": "sysu_mm01_noval", "trial": 1}, "sysu_mm01_noval"),
    ],
)
def test_the_layout_that_a_set_is_read_under(fields, layout):
    assert (
        sets.Settings(**{"root": "", "height": 2, "width": 1, "world": {}, **fields}).layout
        == layout
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "regdb", "trial": 11}, "data.trial is 11: RegDB has the trials 1 to 10"),
        ({"name": "regdb"}, "data.trial is 0"),
        ({"name": "regdb_3", "trial": 1}, "data.name is regdb_3, but data.trial is 1"),
    ],
)
def test_trials_that_there_are_not_are_refused(tmp_path, fields, message):
    asked = sets.Settings(**{"root": "x", "height": 2, "width": 1, "world": {}, **fields})
    with pytest.raises(ValueError, match=message):
        sets.prepare(tmp_path, asked)


def known(data, name="known", learned=None):
    """Features that tell everybody, and how many splits were embedded."""
    seen = []

    def embed(split):
        seen.append(len(split))
        return np.eye(100)[split.pids]

    return Features(name, data, embed, name, learned), seen


def test_regdb_is_tested_in_both_directions(regdb, tmp_path):
    data = regdb[2]
    how = modalities.tests(data, "", multi_shot=False)
    features, seen = known(tmp_path)
    first, second = modalities.score(features, data, how)
    assert (first.name, second.name) == ("known", "known_thermal_query")
    assert first.scores.protocol == REGDB and first.scores.rank(1) == second.scores.rank(1) == 1
    np.testing.assert_array_equal(first.query.pids, second.gallery.pids)
    assert seen == [len(data.query), len(data.gallery)]  # once each
    kept = features._replace(name="known_step_2", directory=tmp_path / "step_2")
    again = modalities.score(features, data, how, [kept])
    names = [first.name, second.name, "known_step_2", "known_step_2_thermal_query"]
    assert [arm.name for arm in again] == names
    np.testing.assert_array_equal(again[3].query.pids, again[2].gallery.pids)
    assert len(seen) == 4


def test_a_trial_is_tested_by_what_was_trained_in_it(regdb, tmp_path):
    root, workdir, data = regdb
    second = sets.prepare(tmp_path, settings(root, trial=2))
    features, _ = known(tmp_path / "reid", learned=second.train)
    how = modalities.tests(data, "", multi_shot=False)
    modalities.score(features, second, how)
    with pytest.raises(ValueError, match="regdb_2 cannot be tested on regdb_1"):
        modalities.score(features._replace(directory=tmp_path / "other"), data, how)
    with pytest.raises(WorkdirError, match="layout: regdb_1 there, regdb_2 now"):
        sets.prepare(workdir, settings(root, trial=2))


def test_sysu_is_searched_all_over_and_indoors(sysu, tmp_path):
    root, data = sysu
    for path, said in (("", "Python's generator"), (str(root / "exp/rand_perm_cam.mat"), "")):
        how = modalities.tests(data, path, multi_shot=False)
        assert said in how.note and bool(said) == bool(how.note)
        first, indoor = modalities.score(known(tmp_path)[0], data, how)
        assert indoor.name == "known_indoor" and first.scores.trials == 10
        kept = known(tmp_path)[0]._replace(name="known_step_2", directory=tmp_path / "step_2")
        earlier = modalities.score(known(tmp_path)[0], data, how, [kept])[2:]
        assert [arm.scores.protocol for arm in earlier] == [SYSU_ALL, SYSU_INDOOR]
        assert (first.scores.protocol, indoor.scores.protocol) == (SYSU_ALL, SYSU_INDOOR)
        assert indoor.scores.gallery_size < first.scores.gallery_size
    with pytest.raises(ValueError, match="draws 10 pictures per person and camera, but there are"):
        modalities.tests(data, "", multi_shot=True)
    with pytest.raises(FileNotFoundError, match="none.mat does not exist"):
        modalities.tests(data, "none.mat", multi_shot=False)


def test_the_galleries_that_are_reranked_are_those_that_were_drawn(sysu, tmp_path):
    root, data = sysu
    draw = np.random.default_rng(0).normal
    features = Features("x", tmp_path, lambda split: draw(size=(len(split), 8)), "x")
    by_file = modalities.tests(data, str(root / "exp/rand_perm_cam.mat"), multi_shot=False)
    arm = modalities.score(features, data, by_file)[0]
    rules = replace(SYSU_ALL, reranking=scoring.RERANKING)
    trials = drawn(arm.gallery, SYSU_ALL.draw, by_file.permutations)
    assert scoring.reranked(arm) == evaluate(arm.query, arm.gallery, rules, trials=trials)
    assert scoring.reranked(arm) != evaluate(arm.query, arm.gallery, rules)


def test_camera_pairs_and_pictures_are_of_the_first_gallery_that_was_drawn(sysu, tmp_path):
    root, data = sysu
    vectors = np.random.default_rng(0).normal(size=(len(data.gallery), 8))
    features = Features("x", tmp_path, lambda split: vectors[: len(split)], "x")
    how = modalities.tests(data, str(root / "exp/rand_perm_cam.mat"), multi_shot=False)
    arm = modalities.score(features, data, how)[0]
    rows = drawn(arm.gallery, SYSU_ALL.draw, how.permutations)[0]
    assert len(rows) == 3 * 4 < len(data.gallery)
    config = {"system": "x", "seed": 0, "rerank": False, "data": {"name": "world"}}
    found = publish.publish(tmp_path / "run", config, data, [arm])
    one, whole = (
        camera_pairs(arm.query, gallery, SYSU_ALL).to_dict()
        for gallery in (arm.gallery.take(rows), arm.gallery)
    )
    assert found["camera_pairs"] == {"x": one} != {"x": whole}
    page = (tmp_path / "run/report.html").read_text()
    for what in ("rank-1, x", "mAP, x", "Ranked by average precision of the arm x"):
        assert f"{what} in the first of 10 drawn galleries" in page
    shown, searched = publish._searched(arm, data.gallery)
    assert searched.names == tuple(data.gallery.names[row] for row in rows)
    np.testing.assert_array_equal(shown.gallery.embeddings, arm.gallery.embeddings[rows])


def test_one_gallery_is_shown_whole(regdb, tmp_path):
    data = regdb[2]
    arm = modalities.score(known(tmp_path)[0], data, modalities.tests(data, "", False))[0]
    shown, searched = publish._searched(arm, data.gallery)
    assert shown is arm and searched is data.gallery and publish._which(arm) == ""


def test_permutations_are_none_of_regdbs_business(regdb):
    with pytest.raises(ValueError, match="ce2l.permutations is x.mat, but regdb_1 draws no"):
        modalities.tests(regdb[2], "x.mat", multi_shot=False)


def test_sets_without_infrared_images_are_refused(regdb):
    data = regdb[2]
    with pytest.raises(ValueError, match="market1501, whose cameras all see visible .* regdb_1"):
        modalities.require_layout("market1501")
    for kept, absent in ((VISIBLE, "infrared"), (INFRARED, "visible")):
        lonely = data.train.take((data.train.pids != 2) | (data.train.modalities == kept))
        with pytest.raises(ValueError, match=rf"1 of 3 training people have no {absent} image .2."):
            modalities.require(lonely)


def test_the_converter_is_told_modalities_and_nobodys_name(sysu):
    styles = modalities.styles(sysu[1]).train
    np.testing.assert_array_equal(styles.cameras, np.isin(sysu[1].train.cameras, (2, 5)))
    assert set(styles.pids.tolist()) == {-1}


def test_every_training_image_is_converted_and_no_other(regdb, tmp_path):
    data = regdb[2]
    made = generate.converted(tmp_path, data.train, modalities.grey(data)).split
    assert made.sources == data.train.names  # in the order of the split
    np.testing.assert_array_equal(made.pids, data.train.pids)
    np.testing.assert_array_equal(made.cameras, data.train.cameras)
    np.testing.assert_array_equal(made.styles, 1 - data.train.modalities)
    assert not {*made.pids.tolist()} & {*data.query.pids.tolist(), *data.gallery.pids.tolist()}
    suffixes = np.array(["_v2t.png", "_t2v.png"])[data.train.modalities]
    assert all(name.endswith(end) for name, end in zip(made.names, suffixes, strict=True))
    visible, infrared = (np.flatnonzero(data.train.modalities == m) for m in (0, 1))
    luma = np.round(data.train.images(visible) @ modalities.LUMA)
    np.testing.assert_array_equal(made.images(visible), np.repeat(luma[..., None], 3, -1))
    np.testing.assert_array_equal(made.images(infrared), data.train.images(infrared))


def test_features_of_other_origin_are_an_arm(regdb, tmp_path):
    data = regdb[2]

    def mean_colour(split):
        return split.images(np.arange(len(split))).mean((1, 2))

    found = scoring.score(Features("colour", tmp_path, mean_colour, "1"), data, protocol=REGDB)
    assert found.name == "colour" and 0 < found.scores.mean_ap <= 1


def test_layouts_with_infrared_cameras_are_those_that_are_tested():
    infrared = {name for name, layout in LAYOUTS.items() if layout.infrared}
    assert infrared == {"sysu_mm01", "sysu_mm01_noval", *(f"regdb_{k}" for k in range(1, 11))}
    assert replace(SYSU_INDOOR, draw=None) == replace(SYSU_ALL, draw=None)
