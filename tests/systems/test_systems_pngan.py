"""PN-GAN: pairs, both turns by hand, fusion, and a whole tiny run."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from configs import common
from configs.pngan import get_config
from jaxreid import data
from jaxreid.data import augment, poses
from jaxreid.evaluation import Embedded, Protocol, evaluate
from jaxreid.stages import fusion, posing
from jaxreid.stages.posing_turns import Settings, networks, phases
from jaxreid.training import alternate, computing, create

pytestmark = pytest.mark.usefixtures("quick_compiler")
SETTINGS = Settings(**get_config("tiny").posing.to_dict())
SIZE = (32, 16)


def test_features_of_unit_length_are_fused_as_in_the_specification():
    features = np.array([[[3.0, 4.0], [1.0, 0.0]]])
    np.testing.assert_allclose(fusion.fuse(features, "max"), [[1.0, 0.8]], atol=1e-12)
    np.testing.assert_allclose(fusion.fuse(features, "mean"), [[0.8, 0.4]], atol=1e-12)
    np.testing.assert_allclose(fusion.fuse(features, "concat"), [[0.6, 0.8, 1, 0]], atol=1e-12)
    length = np.hypot(1, 0.8)
    renormed = fusion.fuse(features, "max", renorm=True)
    np.testing.assert_allclose(renormed, [[1 / length, 0.8 / length]], atol=1e-12)
    assert np.isfinite(fusion.fuse(np.zeros((1, 2, 3)), "max", renorm=True)).all()


def test_rates_fall_as_in_the_released_code():
    rate = replace(SETTINGS, rate=1.0, epochs=10, decay_epochs=10).schedule(7)
    golden = {1: 1.0, 10: 1.0, 11: 0.9, 15: 0.5, 19: 0.1, 20: 0.0}
    for epoch, expected in golden.items():
        for step in (7 * (epoch - 1), 7 * epoch - 1):
            assert float(rate(step)) == pytest.approx(expected, abs=1e-6)


class People:
    """Images of a few people; the last one of each person but the first shows no pose."""

    def __init__(self, counts):
        self.pids = np.repeat(np.arange(len(counts)), counts)
        self.joints = np.ones((len(self.pids), 18, 3), np.float32)

    def __len__(self):
        return len(self.pids)

    def keypoints(self, rows):
        return self.joints[rows]


def test_all_ordered_pairs_of_a_person_that_show_a_pose():
    people = People([3, 2])
    assert len(posing.pairs(people)) == 8  # as in the specification
    people.joints[4, :, 2] = 0
    found = posing.pairs(people)
    assert sorted(map(tuple, found.tolist())) == [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]


def test_too_few_pairs_are_refused():
    people = People([1, 1, 2])
    with pytest.raises(ValueError, match="posing.batch is 4, but there are 2 ordered pairs"):
        posing.require(SETTINGS, SimpleNamespace(train=people), "affine")


def test_pairs_are_drawn_evenly_over_people_or_all_in_turn():
    people = People([6, 2])  # 30 pairs and 2
    every = posing.drawn(people, replace(SETTINGS, pairs_per_epoch=0, batch=4), seed=0)
    assert every.steps_per_epoch == 8
    epoch = np.concatenate([every(step) for step in range(8)])
    assert len(np.unique(epoch, axis=0)) == 32
    some = posing.drawn(people, replace(SETTINGS, pairs_per_epoch=40, batch=4), seed=0)
    assert some.steps_per_epoch == 10
    rows = np.concatenate([some(step) for step in range(100)])
    assert (people.pids[rows[:, 0]] == people.pids[rows[:, 1]]).all()
    assert (rows[:, 0] != rows[:, 1]).all()
    assert 0.4 < (people.pids[rows[:, 0]] == 1).mean() < 0.6
    np.testing.assert_array_equal(some(3), some(3))


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 4, *SIZE, 3), np.uint8)
    pose = rng.uniform(0, 16, (4, 18, 3)).astype(np.float32)
    return {"source": images[0], "target": images[1], "pose": pose}


@pytest.mark.parametrize("adversarial, real", [("lsgan", "source"), ("bce", "target")])
def test_both_turns_are_what_the_code_and_the_paper_print(batch, adversarial, real):
    settings = replace(SETTINGS, adversarial=adversarial, real=real)
    tx = {name: optax.sgd(0.1) for name in "GD"}
    state = create(jax.random.key(1), posing._fresh(settings, SIZE, jax.random.key(0)), tx)
    after, metrics = alternate(phases(settings, SIZE), tx).map(jax.jit)(state, batch)

    nets = networks(settings)
    params = {name: state.nets[name].params for name in "GD"}
    source, target = (augment.to_float(jnp.asarray(batch[name])) for name in ("source", "target"))
    fake = nets["G"].apply({"params": params["G"]}, source, poses.draw(batch["pose"], SIZE))
    judged = {
        name: np.asarray(nets["D"].apply({"params": params["D"]}, images), np.float64)
        for name, images in (("fake", fake), ("real", {"source": source, "target": target}[real]))
    }
    if adversarial == "lsgan":
        expected = {
            "g_adversarial": ((judged["fake"] - 1) ** 2).mean(),
            "d": (judged["fake"] ** 2).mean() + ((judged["real"] - 1) ** 2).mean(),
        }
    else:
        share = {name: 1 / (1 + np.exp(-logits)) for name, logits in judged.items()}
        expected = {
            "g_adversarial": -np.log(share["fake"]).mean(),
            "d": -np.log(1 - share["fake"]).mean() - np.log(share["real"]).mean(),
        }
    expected["g_l1"] = 10 * float(jnp.abs(fake - target).mean())
    for name, value in expected.items():
        assert float(metrics[name]) == pytest.approx(value, rel=2e-4), name
    for name in "GD":
        both = zip(*map(jax.tree.leaves, (after.nets[name].params, params[name])), strict=True)
        assert any((a != b).any() for a, b in both)


def test_poses_may_be_shown_as_heat_maps(batch):
    settings = replace(SETTINGS, pose_input="heat_maps")
    params = posing._fresh(settings, SIZE, jax.random.key(0))["G"]["params"]
    images, pose = jnp.asarray(batch["source"]), batch["pose"]
    found = posing.posed(networks(settings)["G"], settings, "affine", params, images, pose)
    maps = poses.heat_maps(pose, SIZE)
    made = networks(settings)["G"].apply({"params": params}, augment.to_float(images), maps)
    np.testing.assert_allclose(found, augment.to_uint8(made), atol=1)
    one = posing.posed(networks(settings)["G"], settings, "affine", params, images, pose[2])
    np.testing.assert_allclose(one[2], found[2], atol=1)
    assert (found[0] != one[0]).any()
    with pytest.raises(ValueError, match="posing.pose_input is 'photo'; choose one of .*heat_maps"):
        replace(SETTINGS, pose_input="photo")


def test_a_type_of_numbers_chosen_later_counts(batch):
    settings = replace(SETTINGS, width=16)
    params = posing._fresh(settings, SIZE, jax.random.key(0))["G"]["params"]

    def made():
        net = networks(settings)["G"]
        return np.asarray(posing.posed(net, settings, "affine", params, *given))

    given = jnp.asarray(batch["source"]), batch["pose"]
    exact = made()
    with computing("bfloat16"):
        rough = made()
    assert 0 < np.mean(exact != rough) and np.abs(exact - rough.astype(float)).max() < 20


def test_poses_may_be_drawn_smooth(batch):
    settings = replace(SETTINGS, pose_input="smooth_drawing")
    params = posing._fresh(settings, SIZE, jax.random.key(0))["G"]["params"]
    images, pose = jnp.asarray(batch["source"]), batch["pose"]
    found = posing.posed(networks(settings)["G"], settings, "affine", params, images, pose)
    drawn = poses.draw(pose, SIZE, antialiased=True)
    made = networks(settings)["G"].apply({"params": params}, augment.to_float(images), drawn)
    np.testing.assert_allclose(found, augment.to_uint8(made), atol=1)


def test_images_become_bytes_by_one_map_or_each_by_its_own():
    images = jnp.array([[[[-0.5, 0.0, 0.5]]], [[[0.0, 0.5, 1.0]]]])
    affine = np.asarray(posing.to_bytes(images, "affine"))
    np.testing.assert_array_equal(affine, np.asarray(augment.to_uint8(images)))
    stretched = np.asarray(posing.to_bytes(images, "minmax"))
    assert stretched[0].ravel().tolist() == stretched[1].ravel().tolist()
    assert stretched.min() == 0 and stretched.max() == 255


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("pngan")
    done = tiny.launch("pngan", workdir)
    assert done.returncode == 0, done.stderr[-2000:]
    return workdir


def test_it_goes_from_images_to_report(finished):
    results = json.loads((finished / "results.json").read_text())
    arms = {"baseline", "jitter", "two_nets", "normalised", "pngan", "oracle"}
    assert results["arms"].keys() == arms
    size = (common.data("tiny").height, common.data("tiny").width)
    real = data.load(finished / "records/tfds", size)
    for k in (1, 2):
        made = data.load(finished / f"redrawn_pngan/pose_{k}/records", size)["train"]
        assert made.sources == real["train"].names
        np.testing.assert_array_equal(made.pids, real["train"].pids)
        assert set(made.styles.tolist()) == {k - 1}
    page = (finished / "report.html").read_text()
    for shown in ("Everybody in the canonical poses", "Canonical poses", "map by t-SNE"):
        assert shown in page
    assert results["notes"].keys() <= arms
    features = np.load(finished / "reid_pngan/poses/query.npy")
    assert features.shape[:2] == (len(real["query"]), 2)
    fused = {}
    for name in ("query", "gallery"):
        own = np.load(finished / f"reid_baseline/test/{name}.npy")[:, None]
        both = np.concatenate([own, np.load(finished / f"reid_pngan/poses/{name}.npy")], axis=1)
        both /= np.linalg.norm(both, axis=-1, keepdims=True)
        fused[name] = Embedded(both.max(1), real[name].pids, real[name].cameras)
    plain = evaluate(fused["query"], fused["gallery"], Protocol(normalize=False))
    assert results["arms"]["pngan"]["mAP"] == pytest.approx(plain.mean_ap, abs=1e-9)
    assert results["arms"]["pngan"]["rank-1"] == pytest.approx(plain.rank(1))
    tiny.check_idle("pngan", finished)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("pngan.fusion=sum", "pngan.fusion is 'sum'"),
        ("pngan.save_norm=none", "pngan.save_norm is 'none'"),
        ("posing.real=fake", "posing.real is 'fake'"),
        ("reid.generated_batch=12", "reid.generated_batch is 12, reid.batch 8"),
        ("posing.batch=0", "posing.batch is 0: choose 1 or more"),
        ("posing.halvings=-1", "posing.halvings is -1: choose 0 or more"),
        ("posing.batch=4000", "posing.pairs_per_epoch is 8"),
        ("data.keypoints=", "training pictures have no keypoints"),
    ],
)
def test_settings_that_cannot_be_trained_stop_before_training(finished, tmp_path, option, message):
    if "keypoints" not in option:
        for part in ("world", "records"):
            shutil.copytree(finished / part, tmp_path / part)
    done = tiny.launch("pngan", tmp_path, f"--config.{option}")
    assert done.returncode == 1 and message in done.stderr, done.stderr
    assert "steps/s" not in done.stdout
