"""CR-GAN: what its turns train, what a re-ID step renders, whole tiny runs."""

import json
import shutil
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
from test_systems_crossing import config

from configs.crgan import renderer
from jaxreid import data, losses
from jaxreid.stages import crossing, domains, reid, rendering
from jaxreid.stages.rendering_turns import (
    MASK_MODES,
    Settings,
    background,
    deployed,
    extras,
    generator_net,
    modules,
    phases,
)
from jaxreid.systems import crgan
from jaxreid.training import alternate, create

pytestmark = pytest.mark.usefixtures("quick_compiler")
SETTINGS = Settings(**renderer("tiny").to_dict())
SIZE = (32, 16)


def test_mask_modes_are_the_golden_ones():
    source, target = jnp.zeros((1, 2, 2, 1)), jnp.ones((1, 2, 2, 1))
    made = jnp.array([[0.1, 0.8], [0.6, 0.4]])[None, :, :, None]
    person = jnp.array([[1.0, 0], [1, 0]])[None, :, :, None]
    other = jnp.array([[0.0, 0], [1, 1]])[None, :, :, None]
    golden = {
        "target_background": (0.2125, 0.9219544457),
        "not_source_person": (0.1, 0.6324555320),
        "intersection": (0.01, 0.2),
    }
    assert golden.keys() == set(MASK_MODES)
    for mode, expected in golden.items():
        behind = background(mode, person, other)
        for norm, value in zip(("mean_square", "l2"), expected, strict=True):
            kept, taken = losses.context(made, source, target, person, behind, norm=norm)
            assert float(taken[0]) == pytest.approx(value, abs=1e-6)
            assert float(kept[0]) == pytest.approx({"l2": 0.6082762530}.get(norm, 0.0925), abs=1e-6)


class Judge:
    """C_id in the place of a network: linear in the mean colour, with statistics of its own."""

    def apply(self, variables, images):
        return {"logits": images.mean((1, 2)) @ variables["params"] + variables["batch_stats"]}


@pytest.fixture(scope="module")
def stepped():
    """A state, and ``step(batch)`` by whether the generator follows anybody but D."""
    nets = modules(SETTINGS, cameras=3)
    tx = {name: optax.adam(1e-2) for name in nets}
    fresh = rendering._fresh(nets, SIZE, jax.random.key(0))
    judge = {"params": jnp.eye(3, 5), "batch_stats": jnp.arange(5.0)}
    state = create(jax.random.key(1), fresh | {"Cid": judge}, tx)
    none = dict.fromkeys(("identity_weight", "camera_weight", "context_weight"), 0.0)
    made = {
        name: alternate(phases(replace(SETTINGS, **weights), nets, Judge(), SIZE), tx)
        for name, weights in {"alone": none, "followed": {}}.items()
    }
    return state, {name: partial(step.map(jax.jit), state) for name, step in made.items()}


def a_batch():
    rng = np.random.default_rng(0)
    return {
        "source": rng.integers(0, 256, (2, 36, 18, 4), np.uint8),
        "label": np.arange(2, dtype=np.int32),
        "target": rng.integers(0, 256, (2, 36, 18, 4), np.uint8),
        "camera": np.array([2, 0], np.int32),
    }


def equal(a, b):
    return jax.tree.all(jax.tree.map(lambda x, y: bool(jnp.array_equal(x, y)), a, b))


def close(a, b):
    return jax.tree.all(jax.tree.map(lambda x, y: bool(jnp.allclose(x, y, atol=1e-6)), a, b))


def test_identity_camera_and_context_losses_move_the_generator_alone(stepped):
    state, step = stepped
    (alone, _), (followed, metrics) = (step[name](a_batch()) for name in ("alone", "followed"))
    for name in ("D", "Ccam"):
        assert equal(followed.nets[name], alone.nets[name])
        assert not equal(followed.nets[name].params, state.nets[name].params)
    assert equal(followed.nets["Cid"], state.nets["Cid"])
    assert not equal(followed.nets["G"].params, alone.nets["G"].params)
    assert 0 < float(metrics["share_inside"]) < 1
    assert all(float(metrics[f"g_{name}"]) > 0 for name in ("identity", "camera", "background"))


def test_c_cam_learns_from_real_images_of_the_target_alone(stepped):
    batch, step = a_batch(), stepped[1]["followed"]
    first, second = (step(each)[0] for each in (batch, batch | {"source": batch["source"][::-1]}))
    assert equal(first.nets["Ccam"], second.nets["Ccam"])
    assert not equal(first.nets["D"].params, second.nets["D"].params)


def test_average_follows_the_generator_and_the_pool_shows_old_renderings(stepped):
    settings = replace(SETTINGS, ema=0.75, pool=2)
    state, plain = stepped
    state = state.replace(extra=extras(settings, state.nets["G"].params, SIZE))
    tx = {name: optax.adam(1e-2) for name in ("G", "D", "Ccam")}
    nets = modules(SETTINGS, cameras=3)
    step = alternate(phases(settings, nets, Judge(), SIZE), tx).map(jax.jit)
    first, _ = step(state, a_batch())
    # The pool is filled in the first step, which trains as if there were none.
    assert close(first.nets["D"].params, plain["followed"](a_batch())[0].nets["D"].params)
    assert equal(first.extra["average"], state.nets["G"].params)
    second, _ = step(first, a_batch())
    expected = jax.tree.map(
        lambda old, new: 0.75 * old + 0.25 * new, first.extra["average"], first.nets["G"].params
    )
    assert close(second.extra["average"], expected)
    assert deployed(settings, second) is second.extra["average"]
    assert deployed(SETTINGS, second) is second.nets["G"].params
    # From then on an old rendering is shown and replaced half of the time.
    old = first.extra["pool"].images
    others = (step(first.replace(key=jax.random.key(k)), a_batch())[0] for k in range(16))
    assert {bool(jnp.array_equal(other.extra["pool"].images, old)) for other in others} == {
        True,
        False,
    }


@pytest.fixture(scope="module")
def finished(place):
    workdir = place("crgan")
    done = tiny.launch("crgan", workdir)
    assert done.returncode == 0, done.stderr[-2000:]
    return workdir


def test_it_goes_from_two_cities_to_report(finished):
    results = json.loads((finished / "results.json").read_text())
    arms = ("baseline", "jitter", "crgan", "cut_and_paste", "oracle")
    assert results["arms"].keys() == {f"{arm}{view}" for arm in arms for view in ("", "_lmp")}
    assert "crgan" in results["distances"]
    assert list((finished / "translator/samples").glob("*.png"))
    source = data.load(finished / "source/records/tfds", SIZE)["train"]
    fakes = data.load(finished / "generated/records", SIZE)["train"]
    assert fakes.sources == source.names
    np.testing.assert_array_equal(fakes.pids, source.pids)
    tiny.check_idle("crgan", finished)


def test_target_identities_change_nothing_and_disk_takes_as_many_steps(
    finished, tmp_path, monkeypatch
):
    """The finished run again, with shuffled identities, from disk: only its arm is trained."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "reid_crgan")
    tiny.shuffle_target(monkeypatch)
    given = config("crgan")
    crgan.run(given, tmp_path)  # on the fly again: equal bytes
    first, second = (json.loads((d / "results.json").read_text()) for d in (finished, tmp_path))
    assert first["arms"] == second["arms"]
    shutil.rmtree(tmp_path / "reid_crgan")
    given["crgan"] |= {"deploy": "disk", "pairs_per_image": 2}
    crgan.run(given, tmp_path)
    parts = [data.load(tmp_path / f"generated{n}/records", SIZE)["train"] for n in ("", "_2")]
    assert parts[0].sources == parts[1].sources
    rows = np.arange(len(parts[0]))
    assert (parts[0].images(rows) != parts[1].images(rows)).any()
    steps = json.loads((tmp_path / "reid_crgan/metrics.jsonl").read_text().splitlines()[-1])
    on_the_fly = json.loads((finished / "reid_crgan/metrics.jsonl").read_text().splitlines()[-1])
    assert steps["step"] == on_the_fly["step"]


def test_a_re_id_step_renders_as_the_renderer_does_and_leaves_it_alone(finished, monkeypatch):
    splits = [data.load(finished / d / "records/tfds", SIZE)["train"] for d in domains.NAMES]
    source, target = splits
    net = generator_net(SETTINGS)
    blank = jnp.zeros((1, *SIZE, 3))
    variables = net.init(jax.random.key(3), blank, blank, blank[..., :1])
    state = SimpleNamespace(nets={"G": SimpleNamespace(params=variables["params"])})
    renderer = rendering.Renderer(lambda: state, SETTINGS, target, "test")
    rows, guide = np.arange(8), np.arange(8)[::-1].copy()
    batch = {
        "image": source.images(rows),
        "label": rows,
        "context": target.masked(guide),
    }
    render = partial(crgan.render, net=net, real_ratio=0.0)
    made = render(state.nets, batch, jax.random.key(0))
    expected = renderer.render(source.images(rows), guide)
    np.testing.assert_allclose(made["image"], expected.image, atol=1e-5)
    assert made.keys() == {"image", "label"}
    half = crgan.render(state.nets, batch, jax.random.key(0), net=net, real_ratio=0.5)["image"]
    real = np.asarray(source.images(rows), np.float32) / 127.5 - 1
    stays = [bool(jnp.allclose(x, y, atol=1e-5)) for x, y in zip(half, real, strict=True)]
    assert 0 < sum(stays) < 8

    settings = reid.Settings(**config("crgan")["reid"] | {"epochs": 1})
    joined = reid.Joined(
        lambda seed: lambda step: {"context": target.masked(np.arange(settings.batch))},
        *("test", renderer.frozen, render),
    )
    _, _, step = reid.program(settings, 8, 4, reid.identity_loss, render)
    tx = {"reid": reid.optimiser(settings, 4)}
    fresh = reid.initial(reid.build(settings, 8), jax.random.key(0), SIZE)
    before = create(jax.random.key(0), {"reid": fresh, **joined.frozen()}, tx)
    given = {"image": source.images(rows), "label": rows, **joined.arrays(0)(0)}
    after, _ = step.map(jax.jit)(before, given)
    assert equal(after.nets["G"], before.nets["G"])
    assert not equal(after.nets["reid"].params, before.nets["reid"].params)

    monkeypatch.setattr(crossing, "train", lambda run, name, joined: joined)
    run = SimpleNamespace(config=config("crgan"), reid=settings)
    run.data = SimpleNamespace(target=SimpleNamespace(train=target))
    contexts = [crgan.on_the_fly(run, renderer).arrays(seed)(4)["context"] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(contexts[0], contexts[1])
    assert len(contexts[0]) == settings.batch and (contexts[0] != contexts[2]).any()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("crgan.deploy=cloud", "crgan.deploy is 'cloud'"),
        ("crgan.real_source_ratio=1.0", "crgan.real_source_ratio is 1.0"),
        ("renderer.mask_mode=none", "renderer.mask_mode is 'none'"),
        ("renderer.ema=1.0", "renderer.ema is 1.0"),
        ("renderer.batch=4000", "renderer.batch is 4000"),
        ("data.target.masks=", "target training pictures have no foreground masks"),
    ],
)
def test_settings_that_cannot_be_trained_stop_before_training(finished, tmp_path, option, message):
    for part in ("source", "target"):
        if part not in option:
            shutil.copytree(finished / part, tmp_path / part)
    done = tiny.launch("crgan", tmp_path, f"--config.{option}")
    assert done.returncode == 1 and message in done.stderr, done.stderr
    assert "steps/s" not in done.stdout
