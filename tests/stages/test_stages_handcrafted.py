"""Features without a network as arms: made once, at their own size, ranked by any protocol."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxreid.evaluation import MARKET, REGDB
from jaxreid.features import hcml, hog, lomo, project, xqda
from jaxreid.stages import handcrafted, sets
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
    found = handcrafted.embed(tmp_path / kind, data, kind)
    for name in ("query", "gallery"):
        split = getattr(data, name)
        images = split.resized(size).images(np.arange(len(split)))
        np.testing.assert_array_equal(getattr(found, name), make(images))
    assert not len(found.train)

    def fails(*_):
        raise AssertionError("made twice")

    monkeypatch.setattr(handcrafted, "_write", fails)
    again = handcrafted.embed(tmp_path / kind, data, kind)
    np.testing.assert_array_equal(again.gallery, found.gallery)
    assert again.made_by == found.made_by
    with pytest.raises(WorkdirError, match="data"):
        handcrafted.embed(tmp_path / kind, data._replace(made_by="others"), kind)


def test_any_protocol_ranks_them_by_the_plain_distance_both_ways(data, tmp_path):
    found = handcrafted.embed(tmp_path / "hog", data, "hog")
    arm = handcrafted.score("hog", data, found, REGDB)
    assert arm.name == "hog" and arm.scores.cmc[0] == 1.0  # stripes have the same edges in both
    assert not arm.scores.protocol.normalize and arm.scores.protocol.mask == REGDB.mask
    scaled = found._replace(gallery=np.array(found.gallery) * [[1], [100], [1]])
    assert handcrafted.score("hog", data, scaled, REGDB).scores.cmc[0] < 1
    turned = data._replace(query=data.gallery, gallery=data.query)
    back = found._replace(query=found.gallery, gallery=found.query)
    assert handcrafted.score("hog", turned, back, REGDB).query.cameras[0] == data.gallery.cameras[0]
    market = handcrafted.score("hog", data, found, MARKET)
    assert market.scores.cmc[0] == 1.0


@pytest.mark.parametrize("settings", [xqda.Settings(), hcml.Settings(rounds=3)])
def test_a_metric_is_learned_from_training_images_once(settings, data, tmp_path, monkeypatch):
    found = handcrafted.embed(tmp_path / "hog", data, "hog", train=True)
    learned = handcrafted.learned(tmp_path / "metric", data, found, settings)
    module = {xqda.Settings: xqda, hcml.Settings: hcml}[type(settings)]
    side = data.train.modalities
    assert sorted(side) == [0] * 5 + [1] * 5

    def unit(x):
        x = np.asarray(x, np.float64)
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    x, pids = unit(found.train), data.train.pids
    expected = module.learn(x[side == 0], pids[side == 0], x[side == 1], pids[side == 1], settings)
    for name in ("query", "gallery"):
        rows = project(expected, unit(getattr(found, name)), getattr(data, name).modalities)
        np.testing.assert_allclose(getattr(learned, name), rows, atol=1e-5 * np.abs(rows).max())
    assert handcrafted.score("metric", data, learned, REGDB).scores.cmc[0] == 1.0
    monkeypatch.setattr(module, "learn", None)  # a second call reads what the first one wrote
    again = handcrafted.learned(tmp_path / "metric", data, found, settings)
    np.testing.assert_array_equal(again.query, learned.query)
    other = xqda.Settings(ridge=0.5) if module is xqda else hcml.Settings(rounds=4)
    with pytest.raises(WorkdirError, match=module.__name__.rpartition(".")[2]):
        handcrafted.learned(tmp_path / "metric", data, found, other)


def test_unknown_features_are_refused_by_name(data, tmp_path):
    with pytest.raises(ValueError, match="no features 'mlbp'; choose one of hog, lomo"):
        handcrafted.embed(tmp_path, data, "mlbp")
