"""Pseudo-identities: k-means and merging against slow oracles, the published rules by hand."""

import numpy as np
import pytest

from jaxreid.stages import clustering
from jaxreid.stages.clustering import Clusters


def oracle_lloyd(points, centroids):
    """Lloyd's algorithm, one distance at a time."""
    centroids, labels = [list(c) for c in centroids], None
    while True:
        found = []
        for p in points:
            gaps = [sum((a - b) ** 2 for a, b in zip(p, c, strict=True)) for c in centroids]
            found.append(gaps.index(min(gaps)))
        if found == labels:
            return np.array(labels), np.array(centroids)
        labels = found
        for k in range(len(centroids)):
            own = [p for p, label in zip(points, labels, strict=True) if label == k]
            if own:
                centroids[k] = [sum(column) / len(own) for column in zip(*own, strict=True)]


@pytest.mark.parametrize("seed", range(4))
def test_k_means_is_lloyd_s_from_its_start(seed, proof):
    points = np.random.default_rng(seed).normal(size=(60, 3)) + 50  # far from 0, as pools of ReLU
    start = clustering.spread(points, 7, (seed, 1))
    found = clustering.kmeans(points.astype(np.float32), 7, (seed, 1))
    labels, centroids = oracle_lloyd(points.tolist(), start.tolist())
    np.testing.assert_array_equal(found.labels, labels)
    error = np.abs(found.centroids - centroids).max()
    proof("k-means: centroids", "one distance at a time", error, 1e-5)


def test_k_means_finds_blobs_whatever_the_order_and_the_seed():
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(5), 20)
    points = 100 * rng.normal(size=(5, 8))[truth] + rng.normal(size=(100, 8))
    for seed in range(10):
        order = rng.permutation(100)
        found = clustering.kmeans(points[order], 5, (seed,))
        pairs = set(zip(truth[order].tolist(), found.labels.tolist(), strict=True))
        assert len(pairs) == 5
        again = clustering.kmeans(points[order], 5, (seed,))
        np.testing.assert_array_equal(again.labels, found.labels)


def test_the_start_has_distinct_points_and_says_when_there_are_too_few():
    points = np.repeat(np.arange(4.0)[:, None], 25, axis=0)
    assert sorted(clustering.spread(points, 4, (0,)).ravel()) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="5 clusters .* of 100 embeddings only 4 are distinct"):
        clustering.spread(points, 5, (0,))


def test_far_points_begin_clusters_more_often():
    """k-means++ draws by squared distance: from 0, the point at 3 nine times as often as 1."""
    points, drawn = np.array([[0.0], [1.0], [3.0]]), []
    for seed in range(3000):
        first, second = clustering.spread(points, 2, (seed,)).ravel()
        drawn += [second] if first == 0 else []
    assert len(drawn) == pytest.approx(1000, abs=120)
    assert np.mean(np.array(drawn) == 3) == pytest.approx(0.9, abs=0.04)


def test_a_cluster_that_loses_all_points_keeps_its_centroid():
    found = clustering.lloyd(np.array([[0.0], [1.0]]), np.array([[0.5], [9.0]]))
    np.testing.assert_array_equal(found.labels, [0, 0])
    np.testing.assert_array_equal(found.centroids, [[0.5], [9.0]])


def test_reliable_images_are_near_any_centre_or_near_their_own():
    """The golden case: 0.9 to a foreign centre and 0.5 to its own."""
    own = np.array([1.0, 0.0, 0.0])
    foreign = np.array([0.45, (1 - 0.45**2) ** 0.5, 0.0])
    sample = np.array([0.5, (0.9 - 0.225) / foreign[1], 0.0])
    sample[2] = (1 - sample @ sample) ** 0.5
    cosines = sample @ own, sample @ foreign
    assert cosines == pytest.approx((0.5, 0.9), abs=1e-6)
    points = np.stack([own, foreign, 3 * sample])  # lengths do not matter
    found = Clusters(np.array([0, 1, 0]), np.stack([own, foreign]))
    kept = {
        rule: clustering.reliable(points, found, threshold=0.85, own_centre=rule).tolist()
        for rule in (False, True)
    }
    assert kept == {False: [True, True, True], True: [True, True, False]}


def test_the_centre_is_the_image_nearest_to_the_centroid():
    points = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    found = Clusters(np.array([0, 0, 0]), points.mean(0, keepdims=True))
    kept = clustering.reliable(points, found, threshold=0.7, own_centre=True)
    np.testing.assert_array_equal(kept, [True, True, False])  # cosines 0.8, 1, 0.6


def test_dissimilarity_is_the_golden_one():
    x, y = np.array([[1.0, 0.0]]), np.array([[0.6, 0.8]])
    value = clustering.dissimilarity(x, y, np.array([2]), np.array([3]), 0.003)
    assert float(value[0, 0]) == pytest.approx(0.815, abs=1e-12)


def oracle_merge(points, labels, merges, weight):
    """All pairs sorted; every union renames the images of one cluster, as the published code."""
    labels, sizes = labels.tolist(), np.bincount(labels)
    pairs = []
    for i in range(len(points)):
        for j in range(i + 1, len(points)):
            if labels[i] != labels[j]:
                gap = ((points[i] - points[j]) ** 2).sum()
                pairs.append((gap + weight * (sizes[labels[i]] + sizes[labels[j]]), i, j))
    before = len(set(labels))
    for _, i, j in sorted(pairs):
        low, high = sorted((labels[i], labels[j]))
        labels = [low if label == high else label for label in labels]
        if before - len(set(labels)) == merges:
            break
    return np.unique(labels, return_inverse=True)[1]


@pytest.mark.parametrize("weight", [0.0, 0.05])
@pytest.mark.parametrize("tile", [7, 64])
def test_merging_is_brute_force_s_over_many_steps(weight, tile):
    rng = np.random.default_rng(3)
    points, labels = rng.normal(size=(60, 4)), np.arange(60)
    for _ in range(11):
        expected = oracle_merge(points, labels, 5, weight)
        labels = clustering.merge(points, labels, 5, size_weight=weight, tile=tile)
        np.testing.assert_array_equal(labels, expected)
    assert labels.max() == 60 - 55 - 1


def test_merging_walks_ties_by_row_and_lies_never_about_those_left_out():
    """A grid has hundreds of equal distances, many more than are kept at once."""
    points = np.stack(np.meshgrid(np.arange(8.0), np.arange(8.0)), -1).reshape(-1, 2)
    labels = np.arange(64)
    for merges in (1, 3, 20):
        expected = oracle_merge(points, labels, merges, 0.0)
        for tile in (5, 64):
            found = clustering.merge(points, labels, merges, size_weight=0.0, tile=tile)
            np.testing.assert_array_equal(found, expected)


def test_merging_does_not_know_the_order_of_images():
    rng = np.random.default_rng(5)
    points, order = rng.normal(size=(40, 3)), rng.permutation(40)
    first = clustering.merge(points, np.arange(40), 12, size_weight=0.003)
    second = clustering.merge(points[order], np.arange(40), 12, size_weight=0.003)
    together = first[order][:, None] == first[order]
    np.testing.assert_array_equal(together, second[:, None] == second)


def test_large_clusters_wait():
    """Two pairs equally far: without the size term the nearer, with it the smaller unite."""
    points = np.array([[0.0], [0.0], [0.0], [1.0], [10.0], [11.1]])
    labels = np.array([0, 0, 0, 1, 2, 3])
    plain = clustering.merge(points, labels, 1, size_weight=0.0)
    np.testing.assert_array_equal(plain, [0, 0, 0, 0, 1, 2])
    weighted = clustering.merge(points, labels, 1, size_weight=0.2)
    np.testing.assert_array_equal(weighted, [0, 0, 0, 1, 2, 2])
