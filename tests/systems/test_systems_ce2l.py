"""CE2L: its loss by the golden values, what learns from what, and whole tiny runs."""

import json
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from configs.ce2l import get_config
from jaxreid import data
from jaxreid.evaluation import REGDB
from jaxreid.nets.pooling import unit
from jaxreid.nets.streams import VARIANTS
from jaxreid.stages import modal, modalities
from jaxreid.stages.modal_rivals import Contrast, tone_loss
from jaxreid.stages.modal_turn import Settings, Side, phase
from jaxreid.stages.scoring import Features
from jaxreid.systems import ce2l
from jaxreid.systems.ce2l import Losses, ce2l_loss
from jaxreid.training import WorkdirError, alternate, create

pytestmark = pytest.mark.usefixtures("quick_compiler")
SETTINGS = Settings(**get_config("tiny").modal.to_dict())
LOSSES = Losses(**get_config("paper").losses.to_dict())
V3 = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.2]]
T3 = [[1.0, 0.2], [0.2, 1.0], [0.3, 1.0]]
V4 = [[1.0, 0.0], [1.0, 0.3], [0.0, 1.0], [0.4, 1.0]]
T4 = [[1.0, 0.2], [0.6, 1.0], [0.22, 1.0], [0.68, 1.0]]


def side(vectors, labels, converted=None, logits=None):
    labels = jnp.asarray(labels)
    converted = jnp.zeros(len(labels), bool) if converted is None else jnp.asarray(converted)
    logits = jnp.zeros((len(labels), 4)) if logits is None else jnp.asarray(logits)
    return Side(logits, unit(jnp.asarray(vectors)), labels, converted)


def terms(visible, thermal, **options):
    found, further = ce2l_loss(visible, thermal, replace(LOSSES, **options))
    return {name: float(value) for name, value in (found | further).items()}


def test_golden_values_of_one_image_each(proof):
    found = terms(side(V3, range(3)), side(T3, range(3)))
    errors = [
        found["cross"] - (0.2716567784 + 0.2821108263),
        found["intra"] - 0.1 * 0.0039822913,
        found["cross"] + found["intra"] - 0.5541658338,
        found["ranked_right"] - 0.833333,
    ]
    proof("CE2L's ranking terms", "specification's values", np.abs(errors).max(), 1e-6)
    assert found["lsr"] == 0


def test_golden_gradient():
    def ranking(visible):
        found, _ = ce2l_loss(side(visible, range(3)), side(T3, range(3)), LOSSES)
        return found["cross"] + found["intra"]

    gradient = jax.jit(jax.grad(ranking))(jnp.array(V3))
    np.testing.assert_allclose(gradient[0], [0, -0.33171108], atol=1e-6)
    np.testing.assert_allclose(gradient[2], [0.1580288, -0.13169064], atol=1e-6)


def test_golden_values_of_two_images_each():
    labels = [0, 0, 1, 1]
    found = terms(side(V4, labels), side(T4, labels))
    assert found["cross"] == pytest.approx(0.5534926416 + 0.4362461428, abs=1e-6)
    assert found["cross"] + found["intra"] == pytest.approx(0.9940638304, abs=1e-6)
    every = terms(side(V4, labels), side(T4, labels), positives="all")
    # Sums over the positives of a row; the specification prints means over the 8 pairs.
    assert every["cross"] == pytest.approx(2 * (0.3625325672 + 0.3568374385), abs=1e-6)
    nearest = terms(side(T4, labels), side(T4, labels), anchored=False)
    assert nearest["intra"] == pytest.approx(0.1 * 2 * (0.04325046 * 2 / 4), abs=1e-7)


def share_right(v, t, v_labels, t_labels):
    """By loops: how often the farthest positive is nearer than the nearest negative."""
    v, t = (np.array(x) / np.linalg.norm(x, axis=1, keepdims=True) for x in (v, t))
    right = []
    for sides in ((v, v_labels, t, t_labels), (t, t_labels, v, v_labels)):
        for x, label in zip(*sides[:2], strict=True):
            d, same = np.linalg.norm(sides[2] - x, axis=1), np.array(sides[3]) == label
            if same.any() and not same.all():
                right.append(d[same].max() < d[~same].min())
    return np.mean(right)


@pytest.mark.parametrize("positives", ["hardest", "all"])
def test_ranked_right_is_counted_by_distances(positives):
    labels = [0, 0, 1, 1]
    found = terms(side(V4, labels), side(T4, labels), positives=positives)
    assert found["ranked_right"] == share_right(V4, T4, labels, labels) == 3 / 8
    # A person in one modality alone has no positive there, and counts neither way.
    lonely = terms(side(V4, [0, 0, 1, 2]), side(T4, labels), positives=positives)
    expected = share_right(V4, T4, [0, 0, 1, 2], labels)
    assert lonely["ranked_right"] == pytest.approx(expected, abs=1e-6)
    alone = terms(side(V4, [0] * 4), side(T4, [0] * 4), positives=positives)
    assert alone["ranked_right"] == 0  # nobody else is there


def test_far_positives_ranked_right_stay_right_in_sums():
    """Two positives of half a margin each: their sum is a margin, yet both are nearer."""
    turns = np.array([0.0, 0.3, -0.3, 0.55, np.pi])
    points = np.stack([np.cos(turns), np.sin(turns)], 1)
    visible = side(points[:1], [0])
    thermal = side(points[1:], [0, 0, 1, 1])
    every = terms(visible, thermal, positives="all")
    assert every["ranked_right"] == terms(visible, thermal)["ranked_right"]
    assert share_right(points[:1], points[1:], [0], [0, 0, 1, 1]) == every["ranked_right"] == 1
    assert every["cross"] > LOSSES.cross_margin


def test_the_order_of_people_changes_nothing():
    order = [2, 0, 1]
    first = terms(side(V3, range(3)), side(T3, range(3)))
    second = terms(side(np.array(V3)[order], order), side(np.array(T3)[order], order))
    assert first == pytest.approx(second, abs=1e-6)


LOGITS = [[2.0, 1.0, 0.0, -1.0]] * 2
LABELS = ([0, 0], [False, True])


@pytest.mark.parametrize(
    ("options", "real", "converted"),
    [
        ({}, 0.4401896986, 0.5901896986),
        ({"lsr_on_converted": False}, 0.4401896986, 0.4401896986),
        ({"lsr_on_real": True}, 0.5901896986, 0.5901896986),
        ({"identity": 2.0, "lsr": 0.5}, 2 * 0.4401896986, 0.5901896986 / 2),
    ],
)
def test_golden_labels(options, real, converted):
    given = side([[1.0, 0.0]] * 2, *LABELS, LOGITS)
    found = terms(given, given, **options)
    assert found["identity"] == pytest.approx(real, abs=1e-6)
    assert found["lsr"] == pytest.approx(converted, abs=1e-6)


def test_converted_images_may_stay_out_of_the_ranking():
    labels, made = [0, 1, 2, 0, 1, 2], [False] * 3 + [True] * 3
    rng = np.random.default_rng(0)
    far = rng.normal(size=(2, 3, 2))
    visible = side(np.concatenate([V3, far[0]]), labels, made)
    thermal = side(np.concatenate([T3, far[1]]), labels, made)
    alone = terms(side(V3, range(3)), side(T3, range(3)))
    out = terms(visible, thermal, converted_in_rank_loss=False)
    within = terms(visible, thermal)
    for name in ("cross", "intra", "ranked_right"):
        assert out[name] == pytest.approx(alone[name], abs=1e-6)
    assert within["cross"] > alone["cross"]


def test_equal_images_keep_a_finite_gradient():
    def loss(vectors):
        return ce2l_loss(side(vectors, range(3)), side(vectors, range(3)), LOSSES)[0]["cross"]

    for vectors in (jnp.ones((3, 2)), jnp.zeros((3, 2))):
        assert jnp.isfinite(jax.grad(loss)(vectors)).all()


def batch(seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (2, 6, 32, 16, 3), np.uint8)
    converted = np.repeat([False, True], 3)
    arrays = {}
    for name, each in zip(("visible", "thermal"), images, strict=True):
        arrays |= {f"{name}_image": each, f"{name}_converted": converted}
        arrays[f"{name}_label"] = np.tile(np.arange(3, dtype=np.int32), 2)
    return arrays


def first_state(net, tx):
    variables = modal._fresh(net, SETTINGS.size, jax.random.key(0))
    return create(jax.random.key(1), {"reid": variables}, tx)


def of_visible(visible, thermal, options):
    """A loss of visible images alone."""
    del thermal
    return {"identity": jnp.square(visible.logits).mean()}, {}


def test_a_step_learns_and_moves_both_streams_or_one():
    net, tx = modal.build(SETTINGS, 3), {"reid": optax.sgd(0.1)}
    moved = {}
    for loss in (ce2l_loss, of_visible):
        step = alternate([phase(net, SETTINGS, loss, LOSSES)], tx).map(jax.jit)
        state = first_state(net, tx)
        before = jax.device_get(state.nets["reid"].params)
        after, metrics = step(state, batch())
        assert all(np.isfinite(value) for value in metrics.values())
        pairs = ((name, after.nets["reid"].params[name], tree) for name, tree in before.items())
        moved[loss] = {
            name: any(jax.tree.leaves(jax.tree.map(lambda a, b: (a != b).any(), new, old)))
            for name, new, old in pairs
        }
    assert all(moved[ce2l_loss].values())
    assert moved[of_visible] == {"visible": True, "thermal": False, "fc7": True, "fc8": True}


@pytest.mark.parametrize("name", ["baseline", "tone", "hcml", *VARIANTS])
def test_arms_are_ranked_by_the_distance_of_their_paper(name, tmp_path):
    """A long vector of the same direction: near at unit length, far by the plain distance."""
    query = SimpleNamespace(pids=np.array([1, 2]), cameras=np.zeros(2, int))
    gallery = SimpleNamespace(pids=np.array([1, 2]), cameras=np.ones(2, int))
    vectors = {id(query): [[1.0, 0.0], [0.0, 1.0]], id(gallery): [[9.0, 1.0], [0.5, 1.0]]}
    sets = SimpleNamespace(query=query, gallery=gallery, made_by="x")
    views = {"thermal_query": modalities.View(REGDB, exchanged=True)}
    how = modalities.Tests(REGDB, views)
    steps = [
        Features(each, tmp_path / each, lambda split: np.array(vectors[id(split)]), each)
        for each in (name, f"{name}_step_2")
    ]
    arms = ce2l.tested(steps, sets, how)
    names = [
        f"{each}{view}" for each in (name, f"{name}_step_2") for view in ("", "_thermal_query")
    ]
    assert [arm.name for arm in arms] == names
    plain = name in (*VARIANTS, "hcml")
    assert {arm.scores.protocol.normalize for arm in arms} == {not plain}
    assert arms[0].scores.rank(1) == (0.5 if plain else 1.0)


def test_tones_loss_is_its_two_terms():
    left = side(V3, [0, 1, 2], logits=[LOGITS[0]] * 3)
    right = side(T3, [0, 2, 1], logits=[LOGITS[0]] * 3)
    found, further = tone_loss(left, right, Contrast(weight=0.2, margin=0.5))
    angles = [
        np.dot(v, t) / np.linalg.norm(v) / np.linalg.norm(t) for v, t in zip(V3, T3, strict=True)
    ]
    d = np.sqrt(2 - 2 * np.array(angles))
    pairs = [d[0] ** 2, *(max(0, 0.5 - x) ** 2 for x in d[1:])]
    assert pairs[1] > 0  # two people, and near each other
    np.testing.assert_allclose(found["contrast"], 0.2 * 0.5 * np.mean(pairs), rtol=1e-5)
    # cross-entropy of labels 0, 1, 2 on either side, by hand
    plain = np.log(np.exp(LOGITS[0]).sum()) - np.array(LOGITS[0][:3])
    np.testing.assert_allclose(found["identity"], plain.mean(), rtol=1e-6)
    assert not further


def test_tone_begins_where_bdtr_does_if_it_is_such_a_network():
    given = replace(SETTINGS, net="alexnet", pretrained="a.npz")
    tone = {"net": "alexnet", "pretrained": ""}
    assert ce2l.same_start(tone, given)["pretrained"] == "a.npz"
    assert ce2l.same_start(tone | {"pretrained": "b.npz"}, given)["pretrained"] == "b.npz"
    assert ce2l.same_start(tone, replace(given, net="resnet"))["pretrained"] == ""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("ce2l")
    done = tiny.launch("ce2l", workdir)
    assert done.returncode == 0, done.stderr[-2000:]
    return workdir


OWN = ("baseline", "jitter", "grey", "ce2l", "oracle")
RIVALS = ("zero_padding", "tone", "hcml")


def test_it_goes_from_images_to_report(finished):
    results = json.loads((finished / "results.json").read_text())
    views = ("", "_thermal_query")
    arms = {f"{arm}{view}" for arm in (*OWN, *RIVALS, "hog") for view in views}
    kept = {f"{arm}_step_2{view}" for arm in (*OWN, "tone") for view in views}
    assert results["arms"].keys() == arms | kept
    for arm in results["arms"].values():
        assert arm["queries"] == 10 and arm["gallery_size"] == 10 and 0 <= arm["mAP"] <= 1
    plain = {name for name, arm in results["arms"].items() if not arm["protocol"]["normalize"]}
    assert plain == {f"{arm}{view}" for arm in ("zero_padding", "hcml", "hog") for view in views}
    real = data.load(finished / "records/tfds", (32, 16))
    tested = {*real["query"].pids.tolist(), *real["gallery"].pids.tolist()}
    for name in ("ce2l", "grey", "oracle"):
        made = data.load(finished / f"converted_{name}/records", (32, 16))["train"]
        assert sorted(made.sources) == sorted(real["train"].names)
        assert not {*made.pids.tolist()} & tested
    assert "Every camera in the other modality" in (finished / "report.html").read_text()
    assert list((finished / "converter/pair_1_2/samples").glob("*.png"))
    tiny.check_idle("ce2l", finished)


def test_sysu_has_protocols_of_its_own(tmp_path):
    options = ["--config.data.world.layout=sysu_mm01"]
    options += ["--config.ce2l.rivals=()", "--config.ce2l.features=()"]
    options += [f"--config.data.world.{part}_identities=4" for part in ("train", "test")]
    options += ["--config.modal.kept=0", "--config.modal.form=pool"]
    order = tmp_path / "world/pictures/exp/rand_perm_cam.mat"
    done = tiny.launch("ce2l", tmp_path, *options)
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["arms"].keys() == {f"{arm}{view}" for arm in OWN for view in ("", "_indoor")}
    assert results["arms"]["ce2l"]["trials"] == 10
    assert results["arms"]["ce2l"]["protocol"]["mask"] == "sysu"
    assert "Python's generator" in results["notes"]["galleries"]
    again = tiny.launch("ce2l", tmp_path, *options, f"--config.ce2l.permutations={order}")
    assert again.returncode == 0 and "steps/s" not in again.stdout, again.stderr[-2000:]
    assert "notes" not in json.loads((tmp_path / "results.json").read_text())


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"data.world.layout": "market1501"}, "read as world, whose cameras all see visible light"),
        ({"data.trial": 11}, "data.trial is 11: RegDB has the trials 1 to 10"),
        ({"data.trial": 2}, "layout: regdb_1 there, regdb_2 now"),
        ({"modal.batch": 9}, "modal.batch is 9, but there are 8 training people"),
        ({"modal.form": "all"}, "modal.form is 'all'"),
        ({"rivals.batch": 9}, "rivals.batch is 9"),
        ({"losses.positives": "some"}, "losses.positives is 'some'"),
        ({"gan.candidates": 3}, "gan.candidates is 3, but nothing here chooses"),
        ({"gan.batch": 40}, "gan.batch is 40, but there are images"),
        ({"ce2l.permutations": "x.mat"}, "ce2l.permutations is x.mat, but regdb_1"),
        ({"ce2l.features": ("sift",)}, "ce2l.features has 'sift'; choose among hog"),
        ({"modal.form": ""}, "modal.form is empty"),
        ({"tone.batch": 9}, "tone.batch is 9"),
        ({"tone.crop_mode": "none"}, "tone.crop_mode is 'none'"),
        ({"ce2l.rivals": ("bdtr",)}, "ce2l.rivals has 'bdtr'; choose among one_stream"),
        ({"ce2l.rivals": ("hcml",)}, "ce2l.rivals has 'hcml', which learns from the features"),
    ],
)
def test_settings_that_cannot_be_trained_stop_before_training(finished, capsys, option, message):
    config = get_config("tiny")
    config.update_from_flattened_dict(option)
    with pytest.raises((ValueError, WorkdirError), match=message):
        ce2l.run(config.to_dict(), finished)
    assert "steps/s" not in capsys.readouterr().out
