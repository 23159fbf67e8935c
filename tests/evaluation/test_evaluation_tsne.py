"""t-SNE: affinities and gradient against slow oracles, and maps that keep what belongs together."""

import numpy as np
import pytest

from jaxreid.evaluation import tsne
from jaxreid.evaluation.tsne import affinities, gradient


def divergence(p, y):
    """KL(P || Q), pair by pair."""
    n = len(y)
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    q = {pair: 1 / (1 + sum((y[pair[0]] - y[pair[1]]) ** 2)) for pair in pairs}
    total = sum(q.values())
    return sum(p[pair] * np.log(p[pair] / (q[pair] / total)) for pair in pairs if p[pair] > 0)


def blobs(centres, each, seed=0):
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(centres)), each)
    return np.asarray(centres)[truth] + rng.normal(size=(len(truth), len(centres[0]))), truth


def test_affinities_have_the_perplexity_that_was_asked_for(proof):
    # On a ring all points are alike, so that the symmetric row is the conditional one over n.
    angle = 2 * np.pi * np.arange(60) / 60
    p = affinities(np.column_stack([np.cos(angle), np.sin(angle)]) + 50, 9.0)
    rows = p * 60
    entropy = -sum(np.where(rows > 0, rows * np.log(np.maximum(rows, 1e-300)), 0).T)
    proof("t-SNE: perplexity", "entropy of a ring's rows", np.abs(np.exp(entropy) - 9).max(), 1e-6)
    assert p.sum() == pytest.approx(1) and (np.diag(p) == 0).all()
    np.testing.assert_allclose(p, p.T, atol=1e-12)


def test_the_gradient_is_that_of_the_divergence(proof):
    rng = np.random.default_rng(1)
    p, y = affinities(rng.normal(size=(9, 4)), 2.5), rng.normal(size=(9, 2))
    slow, h = np.zeros_like(y), 1e-5
    for place in np.ndindex(*y.shape):
        step = np.zeros_like(y)
        step[place] = h
        slow[place] = (divergence(p, y + step) - divergence(p, y - step)) / (2 * h)
    proof("t-SNE: gradient", "differences of KL", np.abs(gradient(p, y) - slow).max(), 1e-7)


def test_clusters_stay_together_and_nothing_is_random():
    points, truth = blobs(12 * np.eye(3, 10), 30)
    found = tsne(points, rounds=400)
    assert found.shape == (90, 2) and np.abs(found.mean(0)).max() < 1e-6
    gaps = np.square(found[:, None] - found).sum(-1) + 1e9 * np.eye(90)
    assert (truth[gaps.argmin(1)] == truth).all()
    middles = np.array([found[truth == k].mean(0) for k in range(3)])
    spread = max(np.linalg.norm(found[truth == k] - middles[k], axis=1).max() for k in range(3))
    apart = min(np.linalg.norm(middles[a] - middles[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    assert apart > 1.5 * spread
    np.testing.assert_array_equal(tsne(points, rounds=400), found)


def test_equal_points_and_few_of_them_have_finite_maps():
    points = np.repeat(np.eye(3), 4, axis=0)
    assert np.isfinite(tsne(points, rounds=300)).all()
    assert np.isfinite(tsne(np.ones((5, 1)), rounds=300)).all()
    with pytest.raises(ValueError, match="points"):
        tsne(np.ones((3, 2)))
