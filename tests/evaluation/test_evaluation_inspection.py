import json

import evaluation_oracle as oracle
import numpy as np
import pytest

from jaxreid.evaluation import Embedded, Protocol, camera_pairs, query_scores, top_ranked


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(1)
    return oracle.random_pictures(rng, 70), oracle.random_pictures(rng, 150)


@pytest.mark.parametrize("mask", ["same_id_same_camera", "sysu", "none"])
def test_camera_pairs_equal_the_oracle(problem, mask):
    query, gallery = problem
    protocol = Protocol(mask=mask, normalize=False)
    pairs = camera_pairs(query, gallery, protocol)
    assert pairs.query_cameras.tolist() == pairs.gallery_cameras.tolist() == [1, 2, 3, 4]
    for a, query_camera in enumerate(pairs.query_cameras):
        for b, gallery_camera in enumerate(pairs.gallery_cameras):
            pair = query.take(query.cameras == query_camera)
            part = gallery.take(gallery.cameras == gallery_camera)
            valid, means = oracle.score_all(pair, part, protocol)
            expected = [means[0][0], means[1]] if valid else [np.nan, np.nan]
            got = [pairs.rank1[a, b], pairs.mean_ap[a, b]]
            np.testing.assert_allclose(got, expected, atol=1e-12)
    if mask == "same_id_same_camera":
        assert np.isnan(np.diag(pairs.rank1)).all()


def test_camera_pairs_become_plain_json(problem):
    written = json.loads(json.dumps(camera_pairs(*problem).to_dict(), allow_nan=False))
    assert written["query_cameras"] == [1, 2, 3, 4]
    assert written["rank-1"][0][0] is None
    assert 0 <= written["mAP"][0][1] <= 1


@pytest.mark.parametrize("k", [1, 5, 200])
def test_top_ranked_equals_a_full_sort(problem, k):
    query, gallery = problem
    protocol = Protocol(normalize=False)
    rows = [3, 0, 3, len(query) - 1]
    ranked = top_ranked(query, gallery, rows, k, protocol)
    for i, row in enumerate(rows):
        expected = oracle.ranked_rows(query, row, gallery, protocol)[:k]
        n = len(expected)
        assert ranked.rows[i].tolist() == expected + [-1] * (k - n)
        d = np.sqrt(oracle.distances_to(query, row, gallery, normalize=False)[expected])
        np.testing.assert_allclose(ranked.distances[i, :n], d, rtol=1e-6)
        assert np.isinf(ranked.distances[i, n:]).all()
        assert (ranked.right[i, :n] == (gallery.pids[expected] == query.pids[row])).all()
        assert not ranked.right[i, n:].any()


def test_top_ranked_tells_the_same_story_as_the_scores():
    """Unit vectors, more queries than a block: the first picture is right where rank-1 is 1."""
    rng = np.random.default_rng(2)
    centres = rng.normal(size=(20, 16))

    def pictures(n):
        pids = rng.integers(0, 20, n)
        noisy = centres[pids] + rng.normal(size=(n, 16))
        return Embedded(noisy, pids, rng.integers(0, 3, n))

    query, gallery = pictures(100), pictures(400)
    ranked = top_ranked(query, gallery, np.arange(100), 1)
    first = query_scores(query, gallery).cmc[:, 0]
    assert 20 < first.sum() < 95
    np.testing.assert_array_equal(ranked.right[:, 0], first == 1)
    assert (ranked.distances <= 2).all()


def test_top_ranked_refuses_an_empty_list(problem):
    with pytest.raises(ValueError, match="k is 0"):
        top_ranked(*problem, rows=[0], k=0)
