"""Improved precision and recall: by hand, against a slow oracle, and at the hard places."""

import numpy as np
import pytest

from jaxreid.evaluation import (
    FeatureNet,
    manifold,
    precision_recall,
    precision_recall_between,
)


def oracle(generated, real, k):
    """The definition, one distance at a time."""

    def apart(a, b):
        return np.sqrt(sum((float(p) - float(q)) ** 2 for p, q in zip(a, b, strict=True)))

    def inside(y, xs):
        for i, x in enumerate(xs):
            radius = sorted(apart(x, other) for j, other in enumerate(xs) if j != i)[k - 1]
            if apart(y, x) <= radius:
                return True
        return False

    precision = np.mean([inside(g, real) for g in generated])
    return precision, np.mean([inside(r, generated) for r in real])


@pytest.mark.parametrize(("k", "shift", "scale"), [(1, 0, 1), (3, 0.5, 1), (3, 0, 0.3), (5, 1, 2)])
def test_the_oracle_agrees(k, shift, scale, monkeypatch, proof):
    rng = np.random.default_rng(k)
    real, generated = rng.normal(size=(40, 3)), shift + scale * rng.normal(size=(33, 3))
    expected = oracle(generated, real, k)
    assert any(0 < value < 1 for value in expected)
    for rows in (1024, 7):
        monkeypatch.setattr(manifold, "ROWS", rows)
        found = precision_recall(generated, real, neighbours=k)
        error = np.abs(np.subtract(found, expected)).max()
        proof("improved precision and recall", "one distance at a time", error, 0.0)


def test_by_hand():
    # On a line, k = 1: the balls of 0, 1 and 5 reach 1, 1 and 4, the balls of -1, 2 reach 3 each.
    real, generated = [[0.0], [1.0], [5.0]], [[-1.0], [2.0], [9.0], [9.5]]
    found = precision_recall(generated, real, neighbours=1)
    # -1 and 2 touch a ball, and so does 9, at 4 from 5; 0 and 1 lie in that of -1, 5 touches 2's.
    assert found == (pytest.approx(3 / 4), 1.0)
    assert precision_recall([[20.0], [21.0]], real, neighbours=1) == (0.0, 0.0)


def test_a_set_of_one_kind_is_precise_and_recalls_little():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(400, 8))
    same = rng.normal(size=(400, 8))
    collapsed = 0.05 * rng.normal(size=(400, 8))
    far = 30 + same
    both = precision_recall(same, real)
    assert min(both) > 0.6
    assert precision_recall(collapsed, real) == (1.0, pytest.approx(0, abs=0.02))
    assert precision_recall(far, real) == (0.0, 0.0)
    assert precision_recall(real, same) == both[::-1]
    order = rng.permutation(400)
    assert precision_recall(same[order], real[order[::-1]]) == both


def test_equal_rows_lie_on_one_another_wherever_they_are():
    rng = np.random.default_rng(1)
    real = 1e3 + rng.normal(size=(50, 64))
    assert precision_recall(real.copy(), real) == (1.0, 1.0)
    copies = np.repeat(real[:10], 5, axis=0)  # balls of radius 0
    assert precision_recall(copies, copies) == (1.0, 1.0)
    assert precision_recall(copies + 1e-3, copies) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("generated", "real", "k", "said"),
    [
        (np.zeros((3, 2)), np.zeros((9, 2)), 3, "generated"),
        (np.zeros((9, 2)), np.zeros((3, 2)), 3, "real"),
        (np.zeros((9, 2)), np.zeros((9, 3)), 3, "use the same network"),
        (np.full((9, 2), np.nan), np.zeros((9, 2)), 3, "generated"),
        (np.zeros((9, 2)), np.zeros((9, 2)), 0, "one or more neighbours, not 0"),
    ],
)
def test_what_has_no_value_is_refused(generated, real, k, said):
    with pytest.raises(ValueError, match=said):
        precision_recall(generated, real, neighbours=k)


def test_names_say_network_and_layer_for_fid_s_network_too():
    def named(net, layer, dim):
        features = np.random.default_rng(0).normal(size=(2, 9, dim))
        return precision_recall_between(FeatureNet(net, layer, dim, len, "pytorch"), *features)

    precision, recall = named("small", "pool", 3)
    assert precision.key == "precision/small_pool" and recall.key == "recall/small_pool"
    assert recall.title == "recall(small.pool, d=3, N=9/9)"
    assert named("inception_2015", "pool", 2048)[0].key == "precision/inception_2015_pool"
