"""Re-ID training: whom a batch holds, what accompanies it, how rates fall."""

import importlib
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import common
from jaxreid import losses, systems
from jaxreid.stages import crossing, generate, reid, reid_seeds, scoring, sets
from jaxreid.stages.arms import score, train
from jaxreid.training import Every, grouping, parallel

pytestmark = pytest.mark.usefixtures("quick_compiler")
EVERY = Every(log=1, save=100, sample=100)
SETTINGS = reid.Settings(**common.reid("tiny").to_dict() | {"epochs": 1})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    settings = sets.Settings(**common.data("tiny").to_dict())
    return sets.prepare(tmp_path_factory.mktemp("data"), settings)


@pytest.fixture(scope="module")
def fakes(data, tmp_path_factory):
    return generate.every_camera(tmp_path_factory.mktemp("fakes"), data, data.truth)


def observing(forward, stats, batch, key):
    """Cross-entropy, and constants that tell what the batch held."""
    outputs, stats = forward(stats, batch["image"], key)
    targets = losses.smooth_labels(batch["label"], outputs["logits"].shape[-1])
    seen = {
        "images": len(batch["image"]),
        "people": (jnp.diff(jnp.sort(batch["label"])) > 0).sum() + 1,
        "classes": outputs["logits"].shape[-1],
        "epoch": batch["epoch"],
        "height": batch["image"].shape[1],
    }
    if "generated_label" in batch:
        tiled = jnp.resize(batch["label"], batch["generated_label"].shape)
        seen["same"] = (tiled == batch["generated_label"]).mean()
    terms = {"identity": losses.cross_entropy(outputs["logits"], targets).mean()}
    return terms | {name: jnp.float32(value) for name, value in seen.items()}, stats


def observed(directory, data, settings, **given):
    reid_seeds.train(
        directory, reid.training(data.train, settings, loss=observing, **given), [0], EVERY
    )
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_the_style_of_a_fake_does_not_depend_on_which_image_was_drawn():
    """One random stream for both draws would decide them together."""
    people, each = 60, 2
    pids = np.repeat(np.arange(people), each)
    names = [f"{i}" for i in range(len(pids))]
    made = SimpleNamespace(
        sources=tuple(name for name in names for _ in range(2)), styles=np.tile([0, 1], len(pids))
    )
    settings = replace(SETTINGS, batch=8, images_per_identity=2, generated_batch=8)
    plan = reid._plan(SimpleNamespace(pids=pids), settings, seed=0)
    groups = ((0, 1),)
    beside = reid._beside(plan, SimpleNamespace(names=names), made, settings, groups, 3000, 0)
    images = np.stack([plan(step) for step in range(3000)]) % each  # first or second of a person
    styles = np.stack([made.styles[beside(step)] for step in range(3000)])
    for slot in range(8):
        first, second = (styles[images[:, slot] == i, slot].mean() for i in (0, 1))
        assert abs(first - 0.5) < 0.07 and abs(second - 0.5) < 0.07  # five deviations


def test_a_batch_of_people_has_as_many_images_of_each(tmp_path, data):
    lines = observed(tmp_path, data, replace(SETTINGS, images_per_identity=4, epochs=2))
    assert {line["people"] for line in lines} == {2.0} and {line["images"] for line in lines} == {
        8.0
    }
    assert [line["epoch"] for line in lines] == sorted(4 * [0.0] + 4 * [1.0])


def test_companions_come_from_the_real_images_of_the_step(tmp_path, data, fakes):
    settings = replace(SETTINGS, generated_batch=16)
    cameras = tuple(sorted(set(data.train.cameras.tolist())))
    beside = {"generated": fakes.split, "extras": reid.Extras(companions=(cameras,))}
    assert {line["same"] for line in observed(tmp_path / "a", data, settings, **beside)} == {1.0}
    apart = observed(tmp_path / "b", data, settings, generated=fakes.split)
    assert np.mean([line["same"] for line in apart]) < 0.6
    with pytest.raises(ValueError, match=r"generated_batch is 3, reid.batch 8"):
        observed(tmp_path / "c", data, replace(SETTINGS, generated_batch=3), **beside)


def test_more_logits_and_larger_images_when_asked_for(tmp_path, data):
    settings = replace(SETTINGS, crop="larger", pad=4)
    lines = observed(tmp_path, data, settings, extras=reid.Extras(classes=2))
    identities = len(np.unique(data.train.pids))
    assert lines[0]["classes"] == identities + 2 and lines[0]["height"] == data.train.size[0]


def test_adam_is_coupled_with_weight_decay():
    settings = replace(
        SETTINGS,
        optimiser="adam",
        rate=1e-3,
        head_rate=1e-2,
        weight_decay=0.1,
        epochs=4,
        decay_every=2,
    )
    tx = reid.optimiser(settings, steps_per_epoch=1)
    params = {"backbone": {"w": jnp.float32(3.0)}, "head": {"w": jnp.float32(-2.0)}}
    state, sizes = tx.init(params), []
    for _ in range(4):
        # No gradient: the decay alone is what Adam normalises, so steps are one rate long.
        updates, state = tx.update(jax.tree.map(jnp.zeros_like, params), state, params)
        params = optax.apply_updates(params, updates)
        sizes.append([float(updates[part]["w"]) for part in ("backbone", "head")])
    expected = [[-1e-3, 1e-2]] * 2 + [[-1e-4, 1e-3]] * 2
    np.testing.assert_allclose(sizes, expected, rtol=1e-3)


def test_rates_rise_before_they_fall():
    changes = {"weight_decay": 0.1, "optimiser": "adam", "rate": 1.0, "head_rate": 1.0}
    settings = replace(SETTINGS, **changes, warmup=2, decay_every=3, epochs=4)
    tx = reid.optimiser(settings, steps_per_epoch=2)
    params = {"backbone": {"w": jnp.float32(9.0)}, "head": {"w": jnp.float32(9.0)}}
    state, sizes = tx.init(params), []
    for _ in range(8):
        updates, state = tx.update(jax.tree.map(jnp.zeros_like, params), state, params)
        sizes.append(-float(updates["head"]["w"]))
    np.testing.assert_allclose(sizes, [0.25, 0.5, 0.75, 1, 1, 1, 0.1, 0.1], rtol=1e-3)


def test_one_network_is_scored_on_several_views(tmp_path, data):
    trained = train(tmp_path, data, "net", SETTINGS, seed=0, every=EVERY)
    plain = score(trained, data)
    swapped = data._replace(query=data.gallery, gallery=data.query, made_by="swapped")
    other = score(trained, swapped, "swapped")
    assert (plain.name, other.name) == ("net", "net_swapped")
    np.testing.assert_array_equal(plain.query.embeddings, other.gallery.embeddings)
    np.testing.assert_array_equal(plain.gallery.embeddings, other.query.embeddings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images_per_identity": 3}, "reid.batch is 8, no multiple of reid.images_per_identity"),
        ({"optimiser": "lamb"}, "reid.optimiser is 'lamb'; choose one of"),
        ({"crop": "middle"}, "reid.crop is 'middle'"),
    ],
)
def test_settings_without_meaning_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **changes)


def test_more_people_than_there_are_are_refused(data):
    settings = replace(SETTINGS, batch=32, images_per_identity=1)
    with pytest.raises(ValueError, match=r"is 32, but the training split has 8 identities"):
        reid.require(settings, data)


@pytest.mark.parametrize("number", [1, 2])
def test_networks_trained_as_one_program_are_those_trained_one_by_one(tmp_path, data, number):
    """In shards, too, which stay within a network."""
    settings = replace(SETTINGS, rate=1e-3, head_rate=1e-3)
    of = reid.training(data.train, settings)
    with parallel("pmap" if number > 1 else "jit", number if number > 1 else 0):
        together = reid_seeds.train(tmp_path / "all", of, [5, 6, 7], EVERY)
        alone = [reid_seeds.train(tmp_path / str(k), of, [k], EVERY)[0] for k in (5, 6, 7)]
    losses_of = [
        [json.loads(line)["identity"] for line in (each / "metrics.jsonl").read_text().splitlines()]
        for each in (tmp_path / name for name in ("all", "5", "6", "7"))
    ]
    np.testing.assert_allclose(losses_of[0], np.mean(losses_of[1:], axis=0), rtol=1e-3)
    for one, other in zip(together, alone, strict=True):
        assert jax.tree.structure(one.variables) == jax.tree.structure(other.variables)
        for a, b in zip(*map(jax.tree.leaves, (one.variables, other.variables)), strict=True):
            np.testing.assert_allclose(a, b, atol=2e-3)
    first, second = (jax.tree.leaves(model.variables) for model in alone[:2])
    assert max(np.abs(a - b).max() for a, b in zip(first, second, strict=True)) > 0.1


@pytest.mark.parametrize(
    ("filled_up", "expected"),
    [
        ([[0, 1], [2, 0]], [[4, 5], [6]]),
        ([[0, 1, 2, 0]], [[4, 5, 6]]),
        ([[0, 1, 2, 0], [1, 2, 0, 1]], [[4, 5, 6]]),
    ],
)
def test_groups_that_were_filled_up_have_each_seed_once(monkeypatch, filled_up, expected):
    def grouped(directory, seeds, task):
        return [[seeds[i] for i in group] for group in filled_up]

    monkeypatch.setattr(reid_seeds, "grouped", grouped)
    assert reid_seeds.groups(None, None, [4, 5, 6]) == expected


def test_how_many_fit_is_found_out_with_networks_that_are_read_for_it(tmp_path, data, monkeypatch):
    """On an accelerator; a network that another one begins with may have to be trained first."""
    monkeypatch.setattr(grouping, "_room", lambda: 1 << 40)
    of = reid.training(data.train, SETTINGS)

    def start():
        return reid_seeds.train(tmp_path / "first", of, [0], EVERY)[0]

    frozen = reid.Joined(
        lambda seed: lambda step: {}, "", lambda: {"first": {"params": start().variables["params"]}}
    )
    for given in ({"start": start}, {"joined": frozen}):
        shutil.rmtree(tmp_path / "first", ignore_errors=True)
        (tmp_path / "groups.json").unlink(missing_ok=True)
        of_it = reid.training(data.train, SETTINGS, **given)
        assert reid_seeds.groups(tmp_path, of_it, [1, 2, 3]) == [[1, 2, 3]]


def test_each_network_draws_what_joins_its_images(tmp_path, data):
    def arrays(seed):
        return lambda step: {"drawn": np.full(8, 100 * seed + step, np.float32)}

    def noting(forward, stats, batch, key):
        terms, stats = identity(forward, stats, batch, key)
        return terms | {"drawn": batch["drawn"].mean()}, stats

    identity = reid.identity_loss
    of = reid.training(data.train, SETTINGS, loss=noting, joined=reid.Joined(arrays, ""))
    reid_seeds.train(tmp_path, of, [2, 4], EVERY)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["drawn"] for line in lines] == [300 + step for step in range(len(lines))]


def test_the_number_of_networks_changes_in_a_workdir(tmp_path, data, monkeypatch, capsys):
    """However they were grouped: who was trained beside a network is no part of what it is."""
    networks = {}
    for room, seeds in ((1 << 40, 2), (None, 1), (1 << 40, 3), (None, 1), (None, 3)):
        monkeypatch.setattr(grouping, "_room", lambda room=room: room)
        settings = replace(SETTINGS, seeds=seeds)
        trained = train(tmp_path, data, "a", settings, seed=0, every=EVERY)
        arm = score(trained, data)
        assert len(arm.others) == seeds - 1
        for seed, each in enumerate([trained, *trained.others]):
            assert networks.setdefault(seed, each.made_by) == each.made_by
    assert len(set(networks.values())) == 3
    said = capsys.readouterr().out
    assert said.count("a: 2 models, 2 at a time") == said.count("a: 3 models, 3 at a time") == 1
    assert {path.name for path in (tmp_path / "reid_a").glob("seed_*")} == {
        "seed_0_1",
        "seed_0_1_2",
    }


def test_an_arm_of_several_networks_tells_their_mean_and_spread(tmp_path, data):
    """And each is the network that an arm of its own would have."""
    settings = replace(SETTINGS, seeds=2)
    several = score(train(tmp_path, data, "a", settings, seed=3, every=EVERY), data)
    each = [several, *several.others]
    assert [arm.directory.name for arm in each] == ["seed_3", "seed_4"]
    for seed, arm in zip((3, 4), each, strict=True):
        own = train(tmp_path, data, str(seed), SETTINGS, seed=seed, every=EVERY)
        assert own.others == ()
        alone = score(own, data)
        np.testing.assert_array_equal(alone.query.embeddings, arm.query.embeddings)
        assert alone.scores == arm.scores
    told = scoring.told(several, rerank=True)
    again = [scoring.reranked(arm).mean_ap for arm in each]
    for key, values in {
        "mAP": [arm.scores.mean_ap for arm in each],
        "rank-5": [arm.scores.rank(5) for arm in each],
        "mAP_reranked": again,
    }.items():
        assert [network[key] for network in told.networks] == values
        assert told.scores[key] == pytest.approx(np.mean(values))
        assert told.spread[key] == pytest.approx(np.std(values, ddof=1))
    assert told.scores["reranked"]["mAP"] == told.scores["mAP_reranked"]
    assert scoring.told(several._replace(others=()), rerank=False) == (
        several.scores.to_dict(),
        [{key: several.scores.to_dict()[key] for key in told.networks[0] if "_re" not in key}],
        {},
    )


def test_an_arm_has_a_network_or_more():
    with pytest.raises(ValueError, match="reid.seeds is 0: an arm needs one network or more"):
        replace(SETTINGS, seeds=0)


@pytest.mark.parametrize("system", ["taudl", "pul", "buc", "pngan"])
def test_systems_that_go_on_with_a_network_have_one(tmp_path, monkeypatch, system):
    config = importlib.import_module(f"configs.{system}").get_config("tiny").to_dict()
    config["reid"]["seeds"] = 2
    begun = SimpleNamespace(reid=reid.Settings(**config["reid"]), config=config)
    monkeypatch.setattr(crossing, "begin", lambda config, workdir: begun)
    with pytest.raises(ValueError, match=f"reid.seeds is 2, but {system} goes on with the one"):
        systems.run(config, tmp_path)


def test_a_batch_is_shared_evenly_or_refused():
    sets.require_batch("reid.batch", 8, 8)
    with pytest.raises(ValueError, match=r"reid.batch is 9, but there are 8 .*: choose 1 to 8"):
        sets.require_batch("reid.batch", 9, 8)
    with parallel("pmap", 3 * jax.device_count()):
        sets.require_batch("reid.batch", 12 * jax.device_count())
        with pytest.raises(ValueError, match=r"reid.batch is 8, which \d+ shards cannot share"):
            sets.require_batch("reid.batch", 8)
