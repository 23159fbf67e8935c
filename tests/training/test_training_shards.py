"""Batches in shards: what ``parallel='pmap'`` computes, by hand and on other numbers of devices."""

import json
import os
import subprocess
import sys
import textwrap
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxreid import losses
from jaxreid.training import Aux, Interlude, Phase, alternate, create, parallel, run_once, shards
from jaxreid.training.mesh import turns
from jaxreid.training.pool import empty_pool, exchange
from jaxreid.training.workdir import WorkdirError


class Net(nn.Module):
    """Batch statistics and an embedding: what depends on the company that an image keeps."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.BatchNorm(use_running_average=False, momentum=0.9)(nn.Dense(6)(x)))
        return nn.Dense(3)(x)


NET, RATE, ROWS, SHARDS = Net(), 0.5, 12, 3


def loss(nets, batch, memo, key):
    variables = {"params": nets["n"].params, "batch_stats": nets["n"].stats}
    x = batch["x"] + 0.1 * jax.random.normal(key, batch["x"].shape)
    embedded, new = NET.apply(variables, x, mutable=["batch_stats"])
    value = losses.triplet(embedded, batch["label"], margin=0.3).mean()
    seen = {"embedded": embedded, "level": memo["level"] + embedded.mean()}
    return value, Aux({"triplet": value}, seen, {"n": new["batch_stats"]})


def setting():
    rng = np.random.default_rng(0)
    batch = {
        "x": jnp.asarray(rng.normal(size=(ROWS, 5)), jnp.float32),
        "label": jnp.repeat(jnp.arange(ROWS // 2), 2),
    }
    tx = {"n": optax.sgd(RATE)}
    nets = {"n": NET.init(jax.random.key(1), batch["x"])}
    return create(jax.random.key(7), nets, tx, {"level": jnp.zeros(())}), batch, tx


def test_a_sharded_step_is_what_devices_with_averaged_gradients_do():
    state, batch, tx = setting()
    key = jax.random.fold_in(jax.random.fold_in(state.key, 0), 0)
    shown = []

    def alone(params, part, key):
        nets = {"n": state.nets["n"].replace(params=params)}
        return loss(nets, part, {"level": jnp.zeros(())}, key)

    for s in range(SHARDS):  # one device after another
        rows = slice(s * ROWS // SHARDS, (s + 1) * ROWS // SHARDS)
        part = {name: x[rows] for name, x in batch.items()}

        given = part, jax.random.fold_in(key, s)
        shown.append(jax.value_and_grad(alone, has_aux=True)(state.nets["n"].params, *given))

    def mean(pick):
        return jax.tree.map(lambda *parts: np.mean(parts, 0), *map(pick, shown))

    after, metrics = alternate([Phase(("n",), loss)], tx).sharded(SHARDS).map(jax.jit)(state, batch)
    params = jax.tree.map(lambda p, g: p - RATE * g, state.nets["n"].params, mean(lambda x: x[1]))
    expected = params, mean(lambda x: x[0][1].stats["n"]), mean(lambda x: x[0][1].memo["level"])
    found = after.nets["n"].params, after.nets["n"].stats, after.extra["level"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected)
    np.testing.assert_allclose(metrics["triplet"], mean(lambda x: x[0][0]), rtol=1e-6)
    whole, _ = alternate([Phase(("n",), loss)], tx).map(jax.jit)(state, batch)
    differs = jax.tree.map(lambda a, b: np.abs(a - b).max(), after.nets["n"], whole.nets["n"])
    assert max(map(float, jax.tree.leaves(differs))) > 1e-2  # it matters


@pytest.mark.parametrize("number", [2, 3, 6])
def test_shards_in_turns_are_the_same_shards(number):
    state, batch, tx = setting()
    step = alternate([Phase(("n",), loss)], tx)
    at_once, in_turns = (step.sharded(6, each).map(jax.jit)(state, batch) for each in (1, number))
    check = partial(np.testing.assert_allclose, atol=1e-6)
    jax.tree.map(check, in_turns[0].nets, at_once[0].nets)
    jax.tree.map(check, in_turns[0].extra, at_once[0].extra)
    jax.tree.map(check, in_turns[1], at_once[1])


def test_turns_need_the_memory_of_one():
    def deep(nets, batch, memo, key):
        x = batch["x"]
        for _ in range(8):
            x = jnp.tanh(x @ nets["n"].params["w"])
        return x.mean(), Aux({"mean": x.mean()})

    tx = {"n": optax.sgd(RATE)}
    state = create(jax.random.key(0), {"n": {"params": {"w": jnp.eye(32)}}}, tx)
    batch = {"x": jnp.ones((4096, 32))}
    needed = {}
    for number in (1, 8):
        program = alternate([Phase(("n",), deep)], tx).sharded(8, number).programs[0]
        compiled = jax.jit(program).lower(state, batch).compile()
        needed[number] = compiled.memory_analysis().temp_size_in_bytes
    assert needed[8] < needed[1] / 3, needed


def test_turns_that_do_not_share_the_shards_are_refused():
    with pytest.raises(ValueError, match="6 shards cannot be computed in 4 equal turns"):
        alternate([Phase(("n",), loss)], setting()[2]).sharded(6, 4)


def test_one_shard_is_the_whole_batch():
    state, batch, tx = setting()
    step = alternate([Phase(("n",), loss)], tx)
    runs = [each.map(jax.jit)(state, batch)[0] for each in (step, step.sharded(1))]
    jax.tree.map(np.testing.assert_array_equal, *(run.nets["n"].params for run in runs))


def test_rows_of_the_memo_stay_in_order_and_an_interlude_sees_all_of_them():
    state, batch, tx = setting()
    state = state.replace(extra=state.extra | {"pool": empty_pool(20, (3,))})

    def keep(nets, batch, memo, key):
        pool, _ = exchange(memo["pool"], key, memo["embedded"])
        return {"pool": pool, "doubled": 2 * memo["embedded"]}

    def check(nets, batch, memo, key):
        gap = jnp.abs(memo["doubled"] - 2 * memo["embedded"]).max()
        rows = jnp.float32(len(memo["doubled"]))
        filled = jnp.float32(memo["pool"].filled)
        return 0.0 * nets["n"].params["Dense_0"]["bias"].sum(), Aux(
            {"gap": gap, "rows": rows, "filled": filled}
        )

    phases = [Phase(("n",), loss), Interlude(keep), Phase(("n",), check)]
    after, metrics = alternate(phases, tx).sharded(SHARDS).map(jax.jit)(state, batch)
    assert float(metrics["gap"]) == 0.0 and float(metrics["rows"]) == ROWS / SHARDS
    assert float(metrics["filled"]) == ROWS  # every shard sees the whole pool
    pool = after.extra["pool"]
    assert int(pool.filled) == ROWS and pool.images.shape == (20, 3)
    assert np.abs(pool.images[:ROWS]).min(axis=1).max() > 0 and not pool.images[ROWS:].any()


def test_a_batch_that_shards_cannot_share_is_refused():
    state, batch, tx = setting()
    with pytest.raises(ValueError, match="12 rows cannot be split into 5 shards"):
        alternate([Phase(("n",), loss)], tx).sharded(5)(state, batch)


def test_modes():
    assert shards() == 1
    with parallel("pmap", 4 * jax.device_count()):
        assert shards() == 4 * jax.device_count()
        with parallel("jit"):
            assert shards() == 1
    with parallel("pmap"):
        assert (shards(), turns()) == (jax.device_count(), 1)
    with parallel("accumulate", 4 * jax.device_count()):
        assert (shards(), turns()) == (4 * jax.device_count(), 4)
    assert shards() == 1


@pytest.mark.parametrize(
    ("mode", "number", "message"),
    [
        ("vmap", 0, "config.parallel is 'vmap'; choose one of jit, pmap, accumulate"),
        ("accumulate", 1, "config.shards is 1: config.parallel 'accumulate' needs two or more"),
        ("jit", 2, "config.shards is 2, but config.parallel 'jit' has no shards"),
        ("pmap", -1, "config.shards is -1"),
    ],
)
def test_modes_that_cannot_be_are_refused(mode, number, message):
    with pytest.raises(ValueError, match=message), parallel(mode, number):
        pass


def test_a_stage_knows_how_many_shards_it_was_trained_in(tmp_path):
    for _ in range(2):
        run_once(tmp_path / "a", {"x": 1}, lambda: None)
    with (
        parallel("pmap", 2 * jax.device_count()),
        pytest.raises(WorkdirError, match="shards: absent there, 2 now"),
    ):
        run_once(tmp_path / "a", {"x": 1}, lambda: None)


def test_shards_are_the_same_on_any_number_of_devices(tmp_path):
    """Eight shards on 1 device, in turns on 2, at once on 8, where they gather nothing."""
    code = textwrap.dedent("""
        import json, pathlib, re, sys, jax, numpy as np
        sys.path.insert(0, "tests/training")
        import test_training_shards as t
        from jaxreid.training import Every, Phase, alternate, fit, parallel
        from jaxreid.training.mesh import make_mesh, placement
        devices, directory = int(sys.argv[1]), pathlib.Path(sys.argv[2])
        assert jax.device_count() == devices
        t.ROWS = 32
        state, batch, tx = t.setting()
        step = alternate([Phase(("n",), t.loss)], tx)
        host = {name: np.asarray(x) for name, x in batch.items()}
        with parallel("accumulate" if devices == 2 else "pmap", 8):
            after = fit(lambda: state, step, lambda a, b: ((s, host) for s in range(a, b)),
                        steps=2, directory=directory, every=Every(1, 9, 9))
        np.savez(directory / "after.npz", *map(np.asarray, jax.tree.leaves(after.nets)))
        kept, split = placement(make_mesh(), host, None)
        def like(x, where):
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where)
        shapes = jax.tree.map(lambda x: like(x, kept), state)
        rows = {n: like(x, split) for n, x in host.items()}
        for name, made in (("whole", step), ("shards", step.sharded(8))):
            program = jax.jit(made.programs[0], out_shardings=(kept, None))
            text = program.lower(shapes, rows).compile().as_text()
            calls = [x for x in text.splitlines() if re.search(r" all-(gather|to-all)\\S*\\(", x)]
            print(name, len(calls))
    """)
    found, said = [], ""
    for devices in (1, 2, 8):
        env = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices)}
        env.pop("JAX_DISABLE_MOST_OPTIMIZATIONS")
        out = tmp_path / str(devices)
        command = [sys.executable, "-c", code, str(devices), str(out)]
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        said = done.stdout
        with np.load(out / "after.npz") as file:
            found.append([file[name] for name in file.files])
    for other in found[1:]:
        for one, many in zip(found[0], other, strict=True):
            np.testing.assert_allclose(many, one, atol=2e-6)
    lines = [(tmp_path / str(n) / "metrics.jsonl").read_text().splitlines() for n in (1, 2, 8)]
    rows = [[json.loads(line)["triplet"] for line in text] for text in lines]
    np.testing.assert_allclose(rows[1:], [rows[0]] * 2, rtol=1e-5)
    # Mining looks across the whole batch, or else nothing has to be gathered.
    gathered = dict(
        line.split() for line in said.splitlines() if line.split()[0] in ("whole", "shards")
    )
    assert int(gathered["whole"]) > 0 and int(gathered["shards"]) == 0


def test_images_outside_training_are_divided_where_devices_can_share_them():
    code = textwrap.dedent("""
        import jax, numpy as np
        from jaxreid.training import divided
        images = np.arange(8 * 6, dtype=np.float32).reshape(8, 6)
        net, weights = jax.jit(lambda w, x: x @ w), np.ones((6, 2), np.float32)
        found = net(weights, divided(images))
        assert [x.data.shape for x in found.addressable_shards] == [(2, 2)] * 4
        np.testing.assert_array_equal(found, images @ weights)
        assert isinstance(divided(images[:6]), np.ndarray)
        np.testing.assert_array_equal(net(weights, divided(images[:6])), np.asarray(found)[:6])
    """)
    env = os.environ | {"JAX_NUM_CPU_DEVICES": "4"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
