"""Two sets in a run: what is refused before training, and terms that a user must have read."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxreid.data import LAYOUTS, Split, layouts
from jaxreid.evaluation import MARKET, Embedded, evaluate
from jaxreid.stages import domains, generate, publish, sets
from jaxreid.stages.arms import Arm

NAMES = {
    "bounding_box_train": ["0001_c2_f0046182.jpg", "0005_c8_f0046302.jpg"],
    "query": ["0030_c1_f0000001.jpg", "0033_c5_f0000002.jpg"],
    "bounding_box_test": ["0030_c4_f0000004.jpg", "0033_c1_f0000005.jpg"],
}
NOTICE = LAYOUTS["dukemtmc_reid"].notice


@pytest.fixture
def duke(tmp_path):
    """A folder in DukeMTMC-reID's form, of grey pictures."""
    for folder, names in NAMES.items():
        (tmp_path / "duke" / folder).mkdir(parents=True)
        for i, name in enumerate(names):
            Image.new("RGB", (4, 8), (40 * i,) * 3).save(tmp_path / "duke" / folder / name)
    layouts.announce.cache_clear()
    return sets.Settings("dukemtmc_reid", str(tmp_path / "duke"), 8, 4, {})


def test_every_run_says_once_that_duke_was_withdrawn(duke, tmp_path, capsys):
    for _ in range(2):  # the second time all records are there
        layouts.announce.cache_clear()
        sets.prepare(tmp_path / "run", duke)
        sets.prepare(tmp_path / "run", duke)
        assert capsys.readouterr().out.count(f"note: {NOTICE}") == 1
    assert "withdrawn by its authors in 2019" in NOTICE


def test_results_and_report_carry_the_notice(duke, tmp_path):
    data = sets.prepare(tmp_path / "run", duke)
    query, gallery = (
        Embedded(np.eye(2, dtype=np.float32), split.pids, split.cameras)
        for split in (data.query, data.gallery)
    )
    arm = Arm("baseline", tmp_path, evaluate(query, gallery, MARKET), query, gallery)
    block = {"name": "world"}
    config = {
        "system": "baseline",
        "seed": 0,
        "rerank": False,
        "data": {"source": block, "target": vars(duke)},
    }
    found = publish.publish(tmp_path / "run", config, data, [arm])
    assert found["notices"] == json.loads((tmp_path / "run/results.json").read_text())["notices"]
    assert found["notices"] == [NOTICE]
    assert "withdrawn by its authors in 2019" in (tmp_path / "run/report.html").read_text()
    plain = publish.publish(tmp_path / "run", config | {"data": block}, data, [arm])
    assert "notices" not in plain
    assert "withdrawn" not in (tmp_path / "run/report.html").read_text()


def target(*cameras):
    """A target of these cameras; nothing else of it is read."""
    n, nothing = len(cameras), np.full(len(cameras), -1)
    names = tuple(f"{i}.jpg" for i in range(n))
    train = Split(nothing, np.array(cameras), names, nothing, names, (8, 4), np.arange(n), None)
    return domains.Domains(None, sets.Sets(train, train, train, None, ""), None, "")


@pytest.mark.parametrize(
    ("cameras", "said"),
    [
        ((0, -1, 1, -1), "2 of 4 have none .'camera' is -1., the first is '1.jpg'"),
        ((2, 2, 2), "all 3 are of camera 3"),
    ],
)
def test_methods_that_need_the_target_s_cameras_stop_without_them(cameras, said):
    with pytest.raises(ValueError, match=f"data.target: .*two or more cameras; {said}.*spgan"):
        domains.require_cameras(target(*cameras))


def test_two_cameras_are_enough():
    domains.require_cameras(target(4, 0, 4))


def crossed(duke, workdir, **of_target):
    """From ``duke`` to another set, at its size."""
    keys = ("name", "root", "world", "masks")
    source = {key: getattr(duke, key) for key in keys}
    both = domains.Settings(8, 4, source, {"world": {}, "masks": "", **of_target})
    return domains.prepare(workdir, both, seed=0)


@pytest.fixture
def prid(tmp_path):
    """A folder in PRID-2011's form, whose two views have equal file names."""
    for view, people in {"cam_a": (1, 2, 3, 4, 201, 202), "cam_b": (1, 2, 3, 4, 201)}.items():
        folder = tmp_path / "prid_2011" / "single_shot" / view
        folder.mkdir(parents=True)
        for pid in people:
            colour = (pid, 50, ord(view[-1]))
            Image.new("RGB", (4, 8), colour).save(folder / f"person_{pid:04d}.png")
    return str(tmp_path / "prid_2011")


def test_prid_is_a_target_with_two_cameras(duke, prid, tmp_path):
    both = crossed(duke, tmp_path / "run", name="prid2011", root=prid, masks="centre_ellipse")
    domains.require_cameras(both)
    train = both.target.train
    assert train.pids.tolist() == [-1] * 4 and train.cameras.tolist() == [0, 0, 1, 1]
    assert train.masks(np.arange(4)).shape == (4, 8, 4, 1)
    assert both.target.query.pids.tolist() == [2, 4]
    assert both.target.gallery.pids.tolist() == [2, 4, 201]


def test_official_prid_trains_on_one_view_which_some_methods_refuse(duke, prid, tmp_path):
    both = crossed(duke, tmp_path / "run", name="prid2011_official", root=prid)
    assert len(both.target.train) == 2
    with pytest.raises(ValueError, match="all 2 are of camera 1.*folders .cam_a, cam_b.*spgan"):
        domains.require_cameras(both)


def test_the_real_video_is_a_target_whose_cameras_are_passages(duke, tmp_path):
    root, tested = tmp_path / "vtest", ["0002_c12s1_000100_08.png", "0003_c15s1_000040_02.png"]
    tested += ["0002_c16s1_000300_16.png", "0003_c17s1_000200_25.png"]
    trained = ["0001_c1s1_000000_00.png", "0001_c4s1_000600_43.png", "0004_c35s1_000700_50.png"]
    names = {"bounding_box_train": trained, "query": tested, "bounding_box_test": tested}
    for folder, files in names.items():
        for below, mode in ((folder, "RGB"), (f"masks/{folder}", "L")):
            (root / below).mkdir(parents=True)
            for name in files:
                Image.new(mode, (4, 8), (40 * int(name[:4]),) * len(mode)).save(root / below / name)
    both = crossed(duke, tmp_path / "run", name="vtest", root=str(root), masks="root")
    domains.require_cameras(both)
    train = both.target.train
    assert train.pids.tolist() == [-1] * 3 and train.cameras.tolist() == [0, 3, 34]
    np.testing.assert_array_equal(train.masks(np.arange(3))[:, 0, 0, 0], [40, 40, 160])
    assert both.target.query.pids.tolist() == both.target.gallery.pids.tolist() == [2, 2, 3, 3]


def test_pictures_generated_of_equal_file_names_keep_names_of_their_own(prid, tmp_path):
    real = sets.prepare(tmp_path / "run", sets.Settings("prid2011", prid, 8, 4, {})).train
    copied = sets.Translators({(sets.SOURCE, sets.TARGET): Split.images}, "copies")
    made = generate.to_target(tmp_path / "made", real, copied).split
    assert made.names[::2] == (
        "cam_a/person_0001_fake_target.png",
        "cam_b/person_0001_fake_target.png",
    )
    assert made.sources == real.names
