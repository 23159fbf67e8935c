"""The step builder: order, routing, frozen nets, memo, phases that rest."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxreid.training import Aux, Every, Phase, alternate, create, fit, initialiser
from jaxreid.training.pool import Pool, empty_pool, exchange


def scalar(value):
    return {"params": {"w": jnp.float32(value)}}


def make(phases, names=("a", "b", "frozen"), rate=0.5, extra=None):
    tx = {n: optax.sgd(rate) for n in names if n != "frozen"}
    state = create(jax.random.key(0), {n: scalar(i + 1.0) for i, n in enumerate(names)}, tx, extra)
    return state, alternate(phases, tx).map(jax.jit)


def product(*names):
    def loss(nets, batch, memo, key):
        value = batch["x"]
        for name in names:
            value = value * nets[name].params["w"]
        return value, Aux({"+".join(names): value})

    return loss


def weights(state):
    return {name: float(net.params["w"]) for name, net in state.nets.items()}


def test_phases_see_the_updates_of_phases_before():
    # a = 1, b = 2, frozen = 3. First turn: a -= 0.5 * x * b = 1 - 1 = 0.
    # Second: b -= 0.5 * x * a(new) = 2 - 0 = 2.
    state, step = make([Phase(("a",), product("a", "b")), Phase(("b",), product("a", "b"))])
    state, metrics = step(state, {"x": jnp.float32(1.0)})
    assert weights(state) == {"a": 0.0, "b": 2.0, "frozen": 3.0}
    assert int(state.step) == 1 and float(metrics["a+b"]) == 0.0


def test_a_joint_phase_updates_simultaneously():
    state, step = make([Phase(("a", "b"), product("a", "b"))])
    state, _ = step(state, {"x": jnp.float32(1.0)})
    assert weights(state) == {"a": 0.0, "b": 1.5, "frozen": 3.0}


def test_gradients_do_not_reach_nets_outside_the_phase():
    state, step = make([Phase(("a",), product("a", "b", "frozen"))])
    before = state.nets["frozen"].params["w"], state.nets["b"].params["w"]
    for _ in range(3):
        state, _ = step(state, {"x": jnp.float32(0.1)})
    assert np.array_equal(before, (state.nets["frozen"].params["w"], state.nets["b"].params["w"]))
    assert weights(state)["a"] != 1.0


@pytest.mark.parametrize("every", [1, 2, 3])
def test_every_counts_the_turns(every):
    def add_one(nets, batch, memo, key):
        return -nets["a"].params["w"], Aux({"n": memo["n"]}, {"n": memo["n"] + 1})

    state, step = make([Phase(("a",), add_one, every)], rate=1.0, extra={"n": jnp.zeros(())})
    for _ in range(6):
        state, _ = step(state, {})
    turns = len(range(0, 6, every))
    assert weights(state)["a"] == 1.0 + turns and float(state.extra["n"]) == turns


def test_a_resting_phase_leaves_the_step_to_the_others():
    phases = [Phase(("a",), product("a")), Phase(("b",), product("b"), every=3)]
    state, step = make(phases)
    assert len(step.programs) == 3 and step.programs[1] is step.programs[2]
    seen = []
    for _ in range(4):
        before = state.nets["b"].params["w"]
        state, metrics = step(state, {"x": jnp.float32(0.1)})
        seen.append((sorted(metrics), bool(before != state.nets["b"].params["w"])))
    both, alone = (["a", "b"], True), (["a"], False)
    assert seen == [both, alone, alone, both]


def test_phases_know_the_number_of_the_step():
    def count(nets, batch, memo, key):
        return 0.0 * nets["a"].params["w"], Aux({"step": memo["step"]})

    state, step = make([Phase(("a",), count)])
    numbers = []
    for _ in range(3):
        state, metrics = step(state, {})
        numbers.append(int(metrics["step"]))
    assert numbers == [0, 1, 2] and not state.extra


def test_memo_reaches_later_phases_without_gradient_and_only_extra_survives():
    def first(nets, batch, memo, key):
        return nets["a"].params["w"] * 0, Aux(
            {}, {"fake": nets["a"].params["w"], "kept": memo["kept"] + 1}
        )

    def second(nets, batch, memo, key):
        return memo["fake"] * nets["b"].params["w"], Aux({"seen": memo["fake"]})

    state, step = make([Phase(("a",), first), Phase(("b",), second)], extra={"kept": jnp.zeros(())})
    state, metrics = step(state, {})
    assert float(metrics["seen"]) == 1.0 and weights(state)["b"] == 1.5
    assert set(state.extra) == {"kept"} and float(state.extra["kept"]) == 1.0


def test_keys_differ_between_steps_and_phases_but_not_between_runs():
    def draw(nets, batch, memo, key):
        return nets["a"].params["w"] * 0, Aux(
            {f"u{len(memo)}": jax.random.uniform(key)}, {str(len(memo)): 0.0}
        )

    def run():
        state, step = make([Phase(("a",), draw), Phase(("a",), draw)])
        drawn = []
        for _ in range(3):
            state, metrics = step(state, {})
            drawn += [float(v) for v in metrics.values()]
        return drawn

    assert len(set(run())) == 6 and run() == run()


def test_pool_returns_the_first_images_then_about_half_old_ones():
    images = jnp.arange(400.0).reshape(400, 1, 1, 1)
    pool, out = exchange(empty_pool(50, (1, 1, 1)), jax.random.key(1), images)
    out, inside = np.ravel(out), set(np.ravel(pool.images).tolist())
    assert np.array_equal(out[:50], np.arange(50)) and int(pool.filled) == 50
    old = out[50:] != np.arange(50, 400)
    assert 0.4 < old.mean() < 0.6
    # An image that came back after the filling has left its slot for good.
    assert not inside & set(out[50:][old].tolist())
    assert isinstance(pool, Pool) and len(inside) == 50


def test_a_state_owns_its_arrays():
    """What a step that overwrites its state was begun with can still be read."""
    given = {"params": {"w": jnp.ones(3)}, "batch_stats": {"mean": jnp.zeros(3)}}
    state = create(
        jax.random.key(0), {"trained": given, "frozen": given}, {"trained": optax.sgd(1.0)}
    )
    jax.jit(lambda s: jax.tree.map(lambda x: x, s), donate_argnums=0)(state)
    assert all(not leaf.is_deleted() for leaf in jax.tree.leaves(given))
    np.testing.assert_array_equal(given["params"]["w"], 1.0)


def test_equal_steps_are_traced_once(tmp_path):
    """Also where they are mapped over models, and in another training."""
    traced = []

    def noting(nets, batch, memo, key):
        traced.append(len(traced))
        value = jnp.square(nets["n"].params["w"] * batch["x"]).mean()
        return value, Aux({"error": value})

    tx = {"n": optax.sgd(0.1)}
    step = alternate([Phase(("n",), noting)], tx)
    stacked = step.map(jax.vmap)

    def init():
        return create(jax.random.key(0), {"n": {"params": {"w": jnp.ones(3)}}}, tx)

    def train(name, step, models):
        leading = (2,) if models else ()

        def begin():
            return jax.tree.map(lambda x: jnp.stack([x, x]), init()) if models else init()

        def batches(start, stop):
            for index in range(start, stop):
                yield index, {"x": np.full((*leading, 4, 3), index, np.float32)}

        given = {"steps": 2, "directory": tmp_path / name, "every": Every(9, 9, 9)}
        fit(begin, step, batches, models=models, **given)
        return len(traced)

    assert [train(f"one_{k}", step, None) for k in range(3)] == [1, 1, 1]
    assert [train(f"two_{k}", stacked, 2) for k in range(3)] == [2, 2, 2]


def test_initial_weights_are_the_same_however_compiled():
    net = nn.Sequential([nn.Conv(8, (3, 3)), nn.BatchNorm(True), nn.Dense(5)])

    def init(key, channels):
        return net.init(key, jnp.zeros((1, 4, 4, channels)))

    plain, quick = (each(init, static_argnums=(1,)) for each in (jax.jit, initialiser))
    for seed in range(3):
        expected, found = (each(jax.random.key(seed), 3) for each in (plain, quick))
        jax.tree.map(np.testing.assert_array_equal, found, expected)
        assert np.ptp(found["params"]["layers_0"]["kernel"]) > 0
    shapes = jax.eval_shape(lambda key: quick(key, 3), jax.random.key(0))
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, shapes)
