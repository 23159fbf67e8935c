"""Features without a network as arms: made once, at their own size, ranked by any protocol."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxreid.evaluation import REGDB
from jaxreid.features import hcml, hog, lomo, project, xqda
from jaxreid.stages import handcrafted, modalities, scoring, sets
from jaxreid.training import WorkdirError

PEOPLE = range(1, 9)


def named(root: Path, modality: str, pid: int) -> Path:
    return root / modality / str(pid) / f"male_back_{modality[0].lower()}_{pid:05d}_{pid}.bmp"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """RegDB with eight people in stripes of their own, paler in the thermal camera; one trial."""
    directory = tmp_path_factory.mktemp("sets")
    root, rng = directory / "RegDB", np.random.default_rng(0)
    (root / "idx").mkdir(parents=True)
    for pid in PEOPLE:
        stripes = np.kron(rng.integers(0, 256, (32, 16)), np.ones((4, 4)))[..., None]
        for modality, contrast in (("Visible", 1.0), ("Thermal", 0.5)):
            picture = 60 + contrast * stripes / 2 + rng.integers(0, 20, (128, 64, 3))
            path = named(root, modality, pid)
            path.parent.mkdir(parents=True)
            Image.fromarray(picture.astype(np.uint8)).save(path)
    for part, people in (("train", PEOPLE[:5]), ("test", PEOPLE[5:])):
        for modality in ("Visible", "Thermal"):
            files = [named(root, modality, pid).relative_to(root) for pid in people]
            text = "".join(f"{file} {label}\n" for label, file in enumerate(files))
            (root / "idx" / f"{part}_{modality.lower()}_1.txt").write_text(text)
    return sets.prepare(directory / "run", sets.Settings("regdb_1", str(root), 16, 8, {}))


@pytest.mark.parametrize(
    ("kind", "make", "size"), [("hog", hog, (128, 64)), ("lomo", lomo, (128, 48))]
)
def test_features_are_those_of_the_original_files(kind, make, size, data, tmp_path, monkeypatch):
    monkeypatch.setattr(handcrafted, "BATCH", 2)  # several batches, the last one smaller
    found = handcrafted.features(tmp_path, kind)
    images = data.query.resized(size).images(np.arange(len(data.query)))
    np.testing.assert_allclose(found.embed(data.query), make(images), atol=1e-6)
    assert found.learned is None


def test_any_protocol_ranks_them_by_the_plain_distance_both_ways(data, tmp_path):
    how = modalities.plain(modalities.tests(data, "", multi_shot=False))
    arms = modalities.score(handcrafted.features(tmp_path, "hog"), data, how)
    assert [arm.name for arm in arms] == ["hog", "hog_thermal_query"]
    assert all(arm.scores.cmc[0] == 1.0 for arm in arms)  # stripes have the same edges in both
    assert not any(arm.scores.protocol.normalize for arm in arms)
    assert arms[0].scores.protocol.mask == REGDB.mask
    assert arms[1].query.cameras[0] == data.gallery.cameras[0]


@pytest.mark.parametrize("settings", [xqda.Settings(), hcml.Settings(rounds=3)])
def test_a_metric_is_learned_from_training_images_once(settings, data, tmp_path, monkeypatch):
    base = handcrafted.features(tmp_path, "hog")
    learned = handcrafted.learned(tmp_path, data, "metric", base, settings)
    module = {xqda.Settings: xqda, hcml.Settings: hcml}[type(settings)]
    side, pids = data.train.modalities, data.train.pids
    assert sorted(side) == [0] * 5 + [1] * 5 and learned.learned is data.train

    def unit(x):
        x = np.asarray(x, np.float64)
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    x = unit(base.embed(data.train))
    expected = module.learn(x[side == 0], pids[side == 0], x[side == 1], pids[side == 1], settings)
    for split in (data.query, data.gallery):
        rows = project(expected, unit(base.embed(split)), split.modalities)
        np.testing.assert_allclose(learned.embed(split), rows, atol=1e-5 * np.abs(rows).max())
    assert scoring.score(learned, data, protocol=REGDB).scores.cmc[0] == 1.0
    monkeypatch.setattr(module, "learn", None)  # a second call reads what the first one wrote
    again = handcrafted.learned(tmp_path, data, "metric", base, settings)
    np.testing.assert_array_equal(again.embed(data.query), learned.embed(data.query))
    other = xqda.Settings(ridge=0.5) if module is xqda else hcml.Settings(rounds=4)
    with pytest.raises(WorkdirError, match=module.__name__.rpartition(".")[2]):
        handcrafted.learned(tmp_path, data, "metric", base, other)


def test_arms_have_names(data, tmp_path):
    found = handcrafted.arm(tmp_path, data, "hog_xqda")
    base = handcrafted.features(tmp_path, "hog")
    expected = handcrafted.learned(tmp_path, data, "hog_xqda", base, xqda.Settings())
    assert (found.name, found.made_by) == ("hog_xqda", expected.made_by)
    assert handcrafted.arm(tmp_path, data, "hog").made_by == base.made_by
    with pytest.raises(ValueError, match="^ce2l.features has 'mlbp'; choose among hog, hog_xqda"):
        handcrafted.require("ce2l.features", ("hog", "mlbp"))
