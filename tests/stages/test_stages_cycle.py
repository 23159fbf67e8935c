"""CycleGAN's two turns, on networks that are worked out by hand."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import common
from jaxreid.stages import cycle, cycle_turns
from jaxreid.training.pool import empty_pool

SIZE = (4, 2)
SETTINGS = cycle.Settings(**common.cyclegan("paper").to_dict())


@pytest.fixture
def turns(monkeypatch):
    """G(x) = x + 0.1, F(x) = x / 2, DB(x) = 2 x, DA(x) = x; a = 0.2 and b = -0.6 everywhere."""

    def apply(variables, images, **given):
        scale, shift = variables["params"]
        return scale * images + shift

    network = SimpleNamespace(apply=apply)
    monkeypatch.setattr(cycle_turns, "networks", lambda settings: (network, network))
    params = {"G": (1.0, 0.1), "F": (0.5, 0.0), "DA": (1.0, 0.0), "DB": (2.0, 0.0)}
    nets = {name: SimpleNamespace(params=value) for name, value in params.items()}
    batch = {"a": np.full((1, 6, 4, 3), 153, np.uint8), "b": np.full((1, 6, 4, 3), 51, np.uint8)}
    generators, between, discriminators = cycle.phases(SETTINGS, SIZE)
    assert generators.trains == ("G", "F") and discriminators.trains == ("DA", "DB")
    return nets, batch, generators, between, discriminators


def test_generators_lower_the_objective_worked_out_by_hand(turns):
    nets, batch, generators, *_ = turns
    total, aux = generators.loss(nets, batch, {"step": 0}, jax.random.key(0))
    expected = {
        "g_adversarial": 0.4**2 + 1.3**2,
        "g_cycle": 10 * (0.05 + 0.4),
        "g_identity": 5 * (0.1 + 0.1),
    }
    assert {name: float(x) for name, x in aux.metrics.items()} == pytest.approx(expected, rel=1e-5)
    assert float(total) == pytest.approx(7.35, rel=1e-5)


def test_discriminators_judge_the_style_in_their_name(turns):
    nets, batch, generators, between, discriminators = turns
    memo = generators.loss(nets, batch, {"step": 0}, jax.random.key(0))[1].memo
    memo |= {f"pool_{style}": empty_pool(50, (*SIZE, 3)) for style in "ab"}
    kept = between.run(nets, batch, memo, jax.random.key(1))
    assert kept.keys() == {"pool_a", "pool_b", "pooled_a", "pooled_b"}
    _, aux = discriminators.loss(nets, batch, memo | kept, jax.random.key(2))
    found = {name: float(x) for name, x in aux.metrics.items()}
    assert found == pytest.approx({"d_a": 0.365, "d_b": 2.6}, rel=1e-5)


def test_generators_learn_from_every_term(turns):
    nets, batch, generators, *_ = turns

    def of(shift):
        moved = nets | {"G": SimpleNamespace(params=(1.0, shift))}
        return generators.loss(moved, batch, {"step": 0}, jax.random.key(0))[0]

    # DB sees 2 (0.2 + s), so 4 (2 (0.2 + s) - 1); |a - F(G(a))| falls by 1/2, |b - G(F(b))| rises.
    slope = 4 * (2 * 0.3 - 1) + 10 * (-0.5 + 1) + 5
    assert float(jax.grad(of)(jnp.float32(0.1))) == pytest.approx(slope, rel=1e-4)
