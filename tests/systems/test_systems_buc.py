"""BUC: loss and memory by hand, the head, the schedule; whole runs: test_systems_unlabelled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import buc as settings_of
from jaxreid.stages import reid, repelled
from jaxreid.systems import buc

pytestmark = pytest.mark.usefixtures("quick_compiler")
CONFIG = settings_of.get_config("tiny").to_dict()


@pytest.mark.parametrize(("clusters", "value"), [(4, 1.3862944), (12_936, 9.4677694)])
def test_an_empty_memory_costs_log_c(clusters, value):
    v, labels = jnp.eye(2), jnp.array([0, 3])
    found = repelled.repelled_loss(v, jnp.zeros((clusters, 2)), labels)
    np.testing.assert_allclose(found, value, rtol=1e-6)
    padded = repelled.repelled_loss(v, jnp.zeros((clusters + 9, 2)), labels, jnp.int32(clusters))
    np.testing.assert_allclose(padded, value, rtol=1e-6)


def test_the_memory_and_the_loss_are_the_golden_ones():
    v, y = jnp.array([[0.6, 0.8], [1.0, 0.0]]), jnp.array([1, 1])
    first = repelled.remember(jnp.zeros((3, 2)), v[:1], y[:1])
    np.testing.assert_allclose(first, [[0, 0], [0.6, 0.8], [0, 0]], atol=1e-6)
    second = repelled.remember(first, v[1:], y[1:])
    np.testing.assert_allclose(second[1], [0.8944272, 0.4472136], atol=1e-6)
    np.testing.assert_array_equal(second, repelled.remember(jnp.zeros((3, 2)), v, y))
    assert float(repelled.SHARPNESS * v[1] @ second[1]) == pytest.approx(8.9442719, abs=1e-5)
    loss = repelled.repelled_loss(v[1:], second, y[1:])
    assert float(loss[0]) == pytest.approx(2.609308e-4, abs=2e-7)


def test_the_memory_is_updated_sample_by_sample(proof):
    rng = np.random.default_rng(0)
    memory, v = rng.normal(size=(4, 6)), rng.normal(size=(9, 6))
    labels = np.array([2, 0, 2, 2, 1, 0, 2, 1, 1])
    expected = memory.copy()
    for embedding, label in zip(v, labels, strict=True):
        mixed = (expected[label] + embedding) / 2
        expected[label] = mixed / np.linalg.norm(mixed)
    found = repelled.remember(jnp.float32(memory), jnp.float32(v), labels)
    proof("BUC: memory", "sample by sample", np.abs(found - expected).max(), 1e-6)
    np.testing.assert_array_equal(found[3], np.float32(memory[3]))
    shuffled = repelled.remember(jnp.float32(memory), jnp.float32(v[::-1]), labels[::-1])
    assert np.abs(shuffled - found).max() > 0.1  # the order of visits counts


def test_dropout_comes_after_the_length_is_one():
    maps = jax.random.normal(jax.random.key(0), (64, 1, 2, 16))
    head = repelled.Repelled()
    variables = head.init(jax.random.key(1), maps)
    rest = {"mutable": ["batch_stats"], "rngs": {"dropout": jax.random.key(2)}}
    trained = head.apply(variables, maps, train=True, **rest)[0]["metric"]
    whole = repelled.Repelled(dropout=0.0).apply(variables, maps, train=True, **rest)[0]
    np.testing.assert_allclose(np.linalg.norm(whole["metric"], axis=1), 1, rtol=1e-5)
    kept = np.asarray(trained != 0)
    assert 0.4 < kept.mean() < 0.6
    np.testing.assert_allclose(trained[kept], 2 * whole["metric"][kept], rtol=1e-5)
    pooled = np.asarray(maps).mean((1, 2))
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    np.testing.assert_allclose(whole["test"], pooled, atol=1e-6)
    assert whole["logits"].shape == (64, 0)
    assert not jnp.any(variables["params"]["feat"]["bias"])


def test_rates_are_those_of_the_code():
    paper = settings_of.get_config("paper").to_dict()
    net, options = reid.Settings(**paper["reid"]), paper["buc"]
    first, later = (buc.schedule(net, options, k) for k in (0, 1))
    assert (first.epochs, first.decay_every, first.rate, first.head_rate) == (20, 16, 0.01, 0.1)
    assert (later.epochs, later.rate, later.head_rate) == pytest.approx((2, 0.001, 0.01))
    assert later.decay_every >= later.epochs and later.batch == first.batch == 16
    assert (first.weight_decay, first.crop, first.optimiser) == (5e-4, "resized", "sgd")
    assert (options["share"], options["size_weight"], options["merges"]) == (0.05, 0.003, 15)
    assert [int(options["share"] * n) for n in (12_936, 16_522)] == [646, 826]
    buc._require_images(options | {"merges": 19}, 12_936)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"merges": -1}, "buc.merges is -1"),
        ({"later_epochs": 0}, "buc.later_epochs is 0"),
        ({"batch": 99}, "buc.batch is 99, but there are 32 training images"),
        ({"share": 0.02}, "buc.share is 0.02: each of 2 .* takes 0 of 32 clusters"),
        ({"share": 0.5}, "takes 16 of 32 clusters away, .* must leave 2"),
    ],
)
def test_steps_that_cannot_be_taken_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        buc._require(CONFIG["buc"] | option)
        buc._require_images(CONFIG["buc"] | option, 32)
