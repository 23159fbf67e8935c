"""TAUDL: its losses by hand, its labels and batches, whom a run may know, whole tiny runs."""

import json
import shutil
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from configs import common
from configs import taudl as config
from jaxreid.stages import crossing, domains, reid, sets, tracklet_turn, tracklets
from jaxreid.stages.tracklet_turn import ccta, loss_terms, pctd
from jaxreid.systems import taudl

pytestmark = pytest.mark.usefixtures("quick_compiler")
SETTINGS = tracklets.Settings(**common.tracklets("tiny").to_dict())
POINTS, CAMERAS = np.array([[0.0, 0], [2, 0], [0, 1], [3, 0]], np.float32), np.array([0, 0, 1, 1])


def rows(points, cameras, k, sigma=2.0, include_self=False):
    """CCTA of every tracklet, in loops and double precision."""
    found = []
    for i, here in enumerate(np.float64(points)):
        weights = [np.exp(-np.sum((here - there) ** 2) / (2 * sigma**2)) for there in points]
        others = sorted(weights[j] for j in range(len(points)) if cameras[j] != cameras[i])
        total = sum(w for j, w in enumerate(weights) if include_self or j != i)
        found.append(-np.log(sum(others[-k:]) / total) if others else 0.0)
    return np.array(found)


@pytest.mark.parametrize(
    ("k", "include_self", "expected"),
    [(1, False, 1.0986123), (1, True, 1.3862944), (2, False, 0.4054651), (2, True, 0.6931472)],
)
def test_association_of_equal_tracklets_is_golden(k, include_self, expected):
    options = {"neighbours": k, "include_self": include_self}
    assert float(ccta(np.ones((4, 3)), CAMERAS, **options)) == pytest.approx(expected, abs=1e-6)


def test_association_of_four_points_is_golden():
    golden = {
        1: [0.7203579, 0.8302185, 0.6581328, 0.5262256],
        2: [0.4070963, 0.3561415, 0.1840559, 0.2129639],
    }
    for k, expected in golden.items():
        np.testing.assert_allclose(rows(POINTS, CAMERAS, k), expected, atol=1e-7)
    means = {
        (1, False): 0.6837337,
        (2, False): 0.2900641,
        (1, True): 1.1374370,
        (2, True): 0.743767,
    }
    for (k, include_self), mean in means.items():
        found = ccta(POINTS, CAMERAS, neighbours=k, include_self=include_self)
        assert float(found) == pytest.approx(mean, abs=1e-6)


def test_association_agrees_with_loops_whatever_the_order(proof):
    rng = np.random.default_rng(0)
    for cameras, k in ((3, 1), (4, 2), (2, 8), (1, 2)):
        points, owners = rng.normal(size=(9, 5)), rng.integers(cameras, size=9)
        expected = rows(points, owners, k, sigma=1.5).mean()
        loss = jax.jit(partial(ccta, neighbours=k, sigma=1.5))
        for order in (np.arange(9), rng.permutation(9)):
            found = loss(points[order], owners[order])
            error = abs(float(found) - expected)
            proof("TAUDL, cross-camera association", "loops in NumPy", error, 2e-6)


def test_a_step_down_brings_tracklets_of_two_cameras_together():
    """Through the numerator, too: the released code has the denominator alone and parts them."""
    loss = jax.value_and_grad(lambda s: ccta(s, CAMERAS, neighbours=1))
    value, gradient = loss(jnp.array(POINTS))
    assert gradient[2, 1] > 0  # of (0, 1), whose neighbour is (0, 0)
    nearer, _ = loss(jnp.array(POINTS).at[2, 1].set(0.9))
    assert nearer < value
    step = 1e-2
    up, down = (ccta(POINTS + d, CAMERAS, neighbours=1) for d in _moves(step))
    assert float(gradient[1, 0]) == pytest.approx(float(up - down) / (2 * step), abs=1e-4)


def _moves(step):
    move = np.zeros_like(POINTS)
    move[1, 0] = step
    return move, -move


@pytest.mark.parametrize("cameras", [[0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]])
def test_association_stays_finite_far_apart_and_without_other_cameras(cameras):
    far = 1e3 * np.arange(4.0)[:, None] * np.ones(3)
    value, gradient = jax.value_and_grad(lambda s: ccta(s, np.array(cameras), neighbours=2))(far)
    assert np.isfinite(value) and np.all(np.isfinite(gradient))
    if len(set(cameras)) == 1:
        assert value == 0 and not np.any(gradient)


def tracked(values, owners):
    """Logits whose cross-entropies within each camera are ``values``, and labels."""
    logits = np.full((len(values), 4), 7.0)  # of a camera's two tracklets the first is the label
    labels = np.array([0, 2])[np.array(owners)]
    for row, (value, label) in enumerate(zip(values, labels, strict=True)):
        logits[row, label : label + 2] = 0, np.log(np.exp(value) - 1)
    return logits, labels


@pytest.mark.parametrize(("reduction", "expected"), [("mean", 1.48), ("camera_sum", 2.2)])
def test_discrimination_is_golden_in_both_reductions(reduction, expected):
    logits, labels = tracked([1, 3, 2, 2, 5], [0, 0, 1, 1, 1])
    found = float(pctd(logits, labels, np.array([0, 0, 1, 1]), reduction=reduction))
    assert 0.3 * found + 0.7 * 1.0 == pytest.approx(expected, abs=1e-6)
    gradient = jax.grad(lambda z: pctd(z, labels, np.array([0, 0, 1, 1])))(jnp.array(logits))
    assert not np.any(gradient[:2, 2:]) and not np.any(gradient[2:, :2])  # other cameras'
    assert np.all(gradient[:2, :2] != 0)


def test_a_batch_may_come_in_any_order():
    rng = np.random.default_rng(1)
    owners = np.array([0, 0, 1, 1, 2])
    labels = np.repeat([1, 0, 3, 4], 2)
    x, logits = rng.normal(size=(8, 6)), rng.normal(size=(8, 5))
    terms = jax.jit(lambda *batch: loss_terms(*batch, owners, SETTINGS))
    expected = terms(x, logits, labels)
    for _ in range(3):
        order = rng.permutation(8)
        found = terms(x[order], logits[order], labels[order])
        for name, value in expected.items():
            assert float(found[name]) == pytest.approx(float(value), abs=1e-6)
    means = x.reshape(4, 2, 6).mean(1)
    by_hand = rows(means, owners[labels[::2]], 1).mean()  # half of three cameras is one neighbour
    assert float(expected["ccta"]) == pytest.approx(0.7 * by_hand, abs=1e-6)
    wide = loss_terms(x, logits, labels, owners, replace(SETTINGS, neighbours=3))
    all_near = rows(means, owners[labels[::2]], 3).mean()
    assert float(wide["ccta"]) == pytest.approx(0.7 * all_near, abs=1e-6)


def test_the_rate_is_the_printed_one():
    settings = tracklets.Settings(**common.tracklets("paper").to_dict())
    golden = {0: 3.5e-4, 100: 3.5e-4, 101: 3.0483726e-4, 125: 1.1067972e-5, 150: 3.5e-7}
    for epoch, expected in (golden | {199: 4.0185375e-10}).items():
        assert float(tracklet_turn.rate(settings, epoch)) == pytest.approx(expected, rel=1e-5)
    tx = tracklet_turn.optimiser(replace(settings, weight_decay=0.1), epoch=2)
    params = {"w": jnp.float32(3.0)}
    state = tx.init(params)
    for step in range(204):  # no gradient: Adam makes of the decay alone a step as long as the rate
        updates, state = tx.update({"w": jnp.float32(0.0)}, state, params)
        if step in (0, 202):
            expected = golden[101 if step else 0]
            assert float(updates["w"]) == pytest.approx(-expected, rel=1e-3)


def test_the_published_network_has_as_many_parameters_as_its_code():
    trunk = reid.Settings(**common.reid("paper").to_dict())
    settings = tracklets.Settings(**common.tracklets("paper").to_dict())
    net, _, _ = tracklet_turn.program(trunk, settings, (0, 0, 1), 1)
    image = jnp.zeros((1, 256, 128, 3))
    outputs, shapes = jax.eval_shape(net.init_with_output, jax.random.key(0), image)
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
    assert count - (2048 + 1) * 3 == 27_708_480
    assert outputs["test"].shape == (1, 2048) and outputs["logits"].shape == (1, 3)


def test_batch_norm_may_see_one_camera_at_a_time():
    trunk = reid.Settings(**common.reid("tiny").to_dict())
    net, _, _ = tracklet_turn.program(trunk, SETTINGS, (0, 0, 1, 1), 1)
    forward = jax.jit(partial(tracklet_turn.forward, net), static_argnums=2)
    cameras = jax.random.normal(jax.random.key(0), (2, 8, 32, 16, 3))
    cameras *= jnp.array([0.2, 1.0]).reshape(2, 1, 1, 1, 1)
    variables = reid.initial(net, jax.random.key(1), (32, 16))
    apart, stats = forward(variables, cameras.reshape(16, 32, 16, 3), 2)
    together, _ = forward(variables, cameras.reshape(16, 32, 16, 3), 1)
    (first, moved), (second, also) = (forward(variables, images, 1) for images in cameras)
    expected = jnp.concatenate([first["test"], second["test"]])
    # Norms amplify rounding by up to 300 each: what is compared is far from what would be wrong.
    np.testing.assert_allclose(apart["test"], expected, atol=0.02)
    assert np.abs(together["test"] - expected).max() > 1
    mean = jax.tree.map(lambda a, b: (a + b) / 2, moved, also)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), stats, mean)


class Labels:
    """A split as far as labels go."""

    def __init__(self, pids, cameras):
        self.pids, self.cameras = np.asarray(pids), np.asarray(cameras)

    def __len__(self):
        return len(self.pids)


def test_labels_group_a_camera_s_people_and_say_nothing_across_cameras():
    people, count = 300, 3
    pids = np.repeat(np.arange(people), 2 * count)
    cameras = np.tile(np.repeat([0, 4], count), people)
    labels = domains.tracklets(Labels(pids, cameras), seed=0)
    for camera in (0, 4):
        own = labels[cameras == camera].reshape(people, count)
        assert np.all(own == own[:, :1]) and sorted(own[:, 0]) == list(range(people))
    first, second = (labels[cameras == camera][::count] for camera in (0, 4))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.2  # 3.5 deviations of unrelated orders
    assert abs(np.corrcoef(first, np.arange(people))[0, 1]) < 0.2 and (first == second).sum() < 7
    rng = np.random.default_rng(0)  # people get other numbers in every camera
    renamed = np.where(cameras == 0, rng.permutation(people)[pids], rng.permutation(900)[pids])
    np.testing.assert_array_equal(domains.tracklets(Labels(renamed, cameras), seed=0), labels)
    junk = np.where(np.arange(len(pids)) < 5, -1, pids)
    assert set(domains.tracklets(Labels(junk, cameras), seed=0)[:5]) == {-1}


def tracked_rows(per_camera, images):
    owners = np.repeat(np.arange(len(per_camera)), per_camera)
    numbers = np.repeat(np.arange(len(owners)), images)
    return tracklets.Tracklets(np.random.default_rng(0).permutation(numbers), owners)


def test_an_epoch_goes_round_the_cameras_and_takes_no_tracklet_twice():
    found = tracked_rows([7, 5, 9], images=3)
    plan = tracklets.rounds(found, tracklets=4, images=2, seed=0)
    assert plan.steps_per_epoch == 15 // 4
    for epoch in range(3):
        drawn = [plan(epoch * 3 + step) for step in range(3)]
        numbers = found.numbers[np.stack(drawn)].reshape(-1, 2)
        assert np.all(numbers[:, 0] == numbers[:, 1])  # two images of a tracklet side by side
        assert len(set(numbers[:, 0])) == 12
        assert np.bincount(found.owners[numbers[:, 0]]).tolist() == [4, 4, 4]
        for step, rows in enumerate(drawn):
            assert len(set(rows)) == len(rows)  # three images are enough for two
            assert np.all(np.diff(found.owners[found.numbers[rows]]) >= 0)
            np.testing.assert_array_equal(rows, plan(epoch * 3 + step))
    assert not np.array_equal(plan(0), plan(3)) and not np.array_equal(plan(0), plan(6))
    used = {int(n) for step in range(60) for n in found.numbers[plan(step)]}
    assert used == set(range(21))  # over epochs every tracklet has its turn
    few = tracklets.rounds(tracked_rows([5, 5], images=1), tracklets=4, images=3, seed=0)
    assert [len(set(few(0)[i : i + 3])) for i in range(0, 12, 3)] == [1] * 4


@pytest.mark.parametrize(
    ("cameras", "changes", "message"),
    [
        ([0, 1, 2], {"tracklets": 7}, "tracklets.tracklets is 7: choose 1 to 6.* only 2"),
        ([0, 0, 0], {}, "tracklets of 1 camera"),
        ([0, 1, -1], {}, "4 training images of data.target have no camera"),
        ([0, 1, 2], {"per_camera_norm": True, "tracklets": 4}, "a multiple of 3"),
    ],
)
def test_a_target_that_cannot_be_learned_from_is_refused(cameras, changes, message):
    split = Labels(np.tile([0, 0, 1, 1], 3), np.repeat(cameras, 4))
    found = SimpleNamespace(
        target=SimpleNamespace(train=split), tracklets=domains.tracklets(split, 0)
    )
    run = SimpleNamespace(data=found, config={"system": "taudl"}, reid=SimpleNamespace(seeds=1))
    with pytest.raises(ValueError, match=message):
        tracklets.require(run, replace(SETTINGS, **changes))


@pytest.mark.parametrize(
    "changes", [{"sigma": 0.0}, {"association": 1.1}, {"reduction": "sum"}, {"neighbours": -1}]
)
def test_settings_without_meaning_are_refused(changes):
    (name,) = changes
    with pytest.raises(ValueError, match=f"tracklets.{name} is"):
        replace(SETTINGS, **changes)


@pytest.fixture(scope="module")
def finished(place):
    workdir = place("taudl")
    done = tiny.launch("taudl", workdir)
    assert done.returncode == 0, done.stderr[-2000:]
    return workdir, done.stdout


def test_a_run_ends_with_its_scores_and_says_what_it_knew(finished):
    workdir, said = finished
    results = json.loads((workdir / "results.json").read_text())
    arms = ("baseline", "cut_and_paste", "jitter", "oracle", "taudl")
    assert sorted(results["arms"]) == sorted(f"{a}{view}" for a in arms for view in ("", "_lmp"))
    assert results["arms"]["taudl"]["protocol"]["normalize"] is False
    assert results["arms"]["baseline"]["protocol"]["normalize"] is True
    assert results["notes"] == {"taudl": tracklets.NOTE}
    assert "taudl: per-camera identities used" in said
    assert "taudl: per-camera identities used" in (workdir / "report.html").read_text()
    tested = np.load(workdir / "reid_taudl" / "test" / "query.npy")
    assert tested.shape[1] == SETTINGS.embedding and tested.min() == 0  # after the ReLU
    tiny.check_idle("taudl", workdir)


def test_spgan_with_taudl_begins_with_spgan_s_network(finished, tmp_path):
    others = shutil.ignore_patterns("measures*", "reid_taudl", "*.html")
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True, ignore=others)
    done = tiny.launch("spgan", tmp_path, "--config.spgan.taudl=True")
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads((tmp_path / "results.json").read_text())
    assert {"spgan", "spgan_taudl"} <= results["arms"].keys()
    assert results["notes"] == {"spgan_taudl": tracklets.NOTE}
    assert "reid_baseline " not in done.stdout  # shared with the other system
    settings = json.loads((tmp_path / "reid_spgan_taudl" / "settings.json").read_text())
    alone = json.loads((finished[0] / "reid_taudl" / "settings.json").read_text())
    assert settings["start"] != alone["start"] and settings["labels"] == alone["labels"]
    translator = json.loads((tmp_path / "translator" / "pair_1_2" / "settings.json").read_text())
    assert "taudl" not in json.dumps(translator)


def begun(workdir, finished, change=None, monkeypatch=None):
    """A run of the same pictures; ``change`` turns labels of the target into others."""
    for name in domains.NAMES:
        shutil.copytree(finished / name, workdir / name)
    honest = sets.prepare
    given = config.get_config("tiny").to_dict() | {"every": {"log": 1, "save": 3, "sample": 9}}
    if change is None:
        return crossing.begin(given, workdir)

    def other(directory, *args, **kwargs):
        found = honest(directory, *args, **kwargs)
        if directory.name != "target":
            return found
        pids = change(found.train.pids, found.train.cameras)
        assert (pids != found.train.pids).any()
        return found._replace(train=replace(found.train, pids=pids))

    with monkeypatch.context() as patch:
        patch.setattr(sets, "prepare", other)
        return crossing.begin(given, workdir)


def weights(run, name="taudl", start=None):
    return tracklets.associate(run, SETTINGS, start, name).model().variables


def equal(these, those):
    same = jax.tree.map(lambda a, b: bool(jnp.all(a == b)), these, those)
    return all(jax.tree.leaves(same))


def renamed(pids, cameras):
    """Every camera gives its people other numbers."""
    return np.stack([np.random.default_rng(c).permutation(9999) for c in range(9)])[cameras, pids]


def test_nothing_but_groups_within_cameras_is_learned_from(finished, tmp_path, monkeypatch):
    run = begun(tmp_path / "honest", finished[0])
    assert set(run.data.target.train.pids.tolist()) == {-1}
    learned = weights(run)
    other = begun(tmp_path / "renamed", finished[0], renamed, monkeypatch)
    assert equal(learned, weights(other))
    shuffled = begun(
        tmp_path / "shuffled",
        finished[0],
        lambda pids, cameras: np.random.default_rng(0).permutation(pids),
        monkeypatch,
    )
    assert not np.array_equal(shuffled.data.tracklets, run.data.tracklets)

    stage = tmp_path / "honest" / "reid_taudl"  # stopped after three of four steps, and continued
    shutil.rmtree(stage / "checkpoints" / "4")
    (stage / "done.json").unlink()
    assert equal(learned, weights(run))


def test_training_begins_with_the_backbone_of_another_network(finished, tmp_path, monkeypatch):
    run = begun(tmp_path, finished[0])
    first = SimpleNamespace(made_by="first", model=lambda: SimpleNamespace(variables=drawn))
    net = reid.build(run.reid, 2)
    drawn = jax.tree.map(lambda x: x + 1.0, reid.initial(net, jax.random.key(5), (32, 16)))
    monkeypatch.setattr(tracklets, "fit", lambda init, *args, **kwargs: init())
    begins, fresh = weights(run, "second", first), weights(run, "fresh")
    assert equal(begins["params"]["backbone"], drawn["params"]["backbone"])
    assert equal(begins["batch_stats"]["backbone"], drawn["batch_stats"]["backbone"])
    assert equal(begins["params"]["head"], fresh["params"]["head"])
    assert not equal(begins["params"]["backbone"], fresh["params"]["backbone"])


def test_a_start_that_is_none_is_refused_before_any_work(tmp_path):
    given = config.get_config("tiny").to_dict() | {"taudl": {"start": "imagenet"}}
    with pytest.raises(ValueError, match="taudl.start is 'imagenet'; choose one of"):
        taudl.run(given, tmp_path)
    assert not list(tmp_path.iterdir())
