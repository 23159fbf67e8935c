import dataclasses
import json

import evaluation_oracle as oracle
import numpy as np
import pytest

from jaxreid.evaluation import Embedded, Protocol, average, evaluate, query_scores
from jaxreid.evaluation.scores import score_ranks

# Cases are full of ties, of which users are told.
pytestmark = pytest.mark.filterwarnings("ignore:.*which win ties")


def scores_of(distances, query_pids, query_cameras, pids, cameras, protocol):
    q, g = oracle.placed(distances)
    query, gallery = Embedded(q, query_pids, query_cameras), Embedded(g, pids, cameras)
    return evaluate(query, gallery, protocol), query_scores(query, gallery, protocol)


def assert_same(scores, expected):
    valid, (cmc, ap, area, inp) = expected
    assert scores.valid_queries == valid
    np.testing.assert_allclose(scores.cmc, cmc, rtol=0, atol=1e-12)
    got = [scores.mean_ap, scores.mean_ap_trapezoid, scores.mean_inp]
    np.testing.assert_allclose(got, [ap, area, inp], rtol=0, atol=1e-12)


# --- golden numbers ---------------------------------------------------------------------------

MATCH_VECTORS = [
    ([1, 0, 1, 0], 0.7916667, 0.8333333, 0.6666667),
    ([0, 1], 0.25, 0.5, 0.5),
    ([0, 0, 1, 1, 0], 0.2916667, 0.4166667, 0.5),
    ([1, 1, 0, 0, 1], 0.85, 0.8666667, 0.6),
    ([1, 0, 1, 0, 0, 1], 0.6777778, 0.7222222, 0.5),
    ([0, 1, 0, 1], 1 / 3, 0.5, 0.5),
    ([0, 0, 1], 1 / 6, 1 / 3, 1 / 3),
    ([1], 1, 1, 1),
    ([1, 1, 1], 1, 1, 1),
]


@pytest.mark.parametrize("vector, area, step, inp", MATCH_VECTORS)
def test_match_vectors(vector, area, step, inp):
    ranks = np.flatnonzero(vector)[None] + 1
    scores = score_ranks(ranks, np.array([ranks.shape[1]]))
    got = [scores.ap_trapezoid[0], scores.ap[0], scores.inp[0]]
    np.testing.assert_allclose(got, [area, step, inp], atol=1e-7)


MARKET = dict(
    distances=[
        [0.1, 0.5, 0.3, 0.05, 0.4, 0.6, 0.7, 0.8, 0.2],
        [0.9, 0.3, 0.1, 0.2, 0.5, 0.6, 0.4, 0.7, 0.8],
        [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.05, 0.8],
    ],
    query_pids=[1, 2, 3],
    query_cameras=[1, 2, 2],
    pids=[1, 1, 2, -1, 0, 1, 2, 3, 1],
    cameras=[1, 2, 2, 1, 3, 3, 1, 2, 2],
)


@pytest.mark.parametrize(
    "empty_query, expected",
    [("drop", [0.6, 0.4527778, 0.55, 0.5]), ("zero", [0.4, 0.3018519, 0.3666667, 1 / 3])],
)
def test_market_golden(empty_query, expected):
    scores, each = scores_of(**MARKET, protocol=Protocol(empty_query=empty_query))
    got = [scores.mean_ap, scores.mean_ap_trapezoid, scores.mean_inp, scores.rank(1)]
    np.testing.assert_allclose(got, expected, atol=1e-7)
    assert (scores.queries, scores.valid_queries, scores.gallery_size) == (3, 2, 8)
    np.testing.assert_allclose(each.ap, [0.7, 0.5, np.nan], atol=1e-7)
    np.testing.assert_allclose(each.ap_trapezoid, [0.6555556, 0.25, np.nan], atol=1e-7)
    np.testing.assert_allclose(each.inp, [0.6, 0.5, np.nan], atol=1e-7)
    assert each.positives.tolist() == [3, 1, 0]
    assert np.argmax(each.cmc[:2] > 0, axis=1).tolist() == [0, 1]


@pytest.mark.parametrize("first", [0, 1])
def test_sysu_golden(first):
    """Cameras counted from 0, as in splits, or from 1, as its authors do."""
    distances = [
        [0.5, 0.1, 0.2, 0.15, 0.3, 0.4, 0.6, 0.05],
        [0.1, 0.3, 0.6, 0.25, 0.2, 0.4, 0.7, 0.8],
        [0.1, 0.2, 0.3, 0.4, 0.25, 0.5, 0.35, 0.6],
        [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.05],
    ]
    probes, gallery = np.array([2, 5, 2, 2]), np.array([0, 1, 0, 1, 3, 4, 4, 1])
    people = [1, 2, 3, 4], probes + first, [1, 1, 2, 2, 3, 3, 1, 4], gallery + first
    scores, each = scores_of(distances, *people, Protocol(mask="sysu", cmc="identity"))
    np.testing.assert_allclose(scores.cmc[:4], [0, 1 / 3, 1, 1])
    np.testing.assert_allclose([scores.mean_ap, scores.mean_inp], [0.3694444, 0.3777778], atol=1e-7)
    np.testing.assert_allclose(each.ap, [0.325, 1 / 3, 0.45, np.nan])
    np.testing.assert_allclose(each.inp, [0.4, 1 / 3, 0.4, np.nan])
    _, by_image = scores_of(distances, *people, Protocol(mask="sysu"))
    assert (np.argmax(by_image.cmc[:3] > 0, axis=1) + 1).tolist() == [4, 3, 2]


@pytest.mark.parametrize(
    "mask, expected",
    [
        ("same_camera", [0.125, 0.625, 1]),
        ("same_id_same_camera", [0.2291667, 0.6041667, 1]),
    ],
)
def test_single_shot_golden(mask, expected):
    distances = [[0.3, 0.6, 0.2, 0.5, 0.1, 0.4, 0.25], [0.5, 0.35, 0.3, 0.4, 0.05, 0.2, 0.6]]
    people = [1, 2], [1, 1], [1, 1, 2, 2, 2, 3, 3], [2, 2, 2, 2, 1, 2, 1]
    scores, _ = scores_of(distances, *people, Protocol(mask=mask, cmc="single_shot"))
    np.testing.assert_allclose(scores.cmc[:3], expected, atol=1e-7)


def test_open_reid_golden():
    rows = [[0, 1, 2, 3, 4], [1, 0, 2, 3, 4], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [1, 2, 3, 4, 0]]
    people = np.arange(5), np.zeros(5, int), np.arange(5), np.ones(5, int)
    scores, _ = scores_of(rows, *people, Protocol())
    np.testing.assert_allclose(scores.cmc[:5], [0.6, 0.6, 0.8, 1, 1])


# --- against the oracle -----------------------------------------------------------------------


@pytest.mark.parametrize("cmc, gallery", [("image", 25), ("identity", 25), ("single_shot", 11)])
def test_equals_oracle_on_random_problems(cmc, gallery):
    """Every mask, junk, distractors, people without a match, truncation, and ties everywhere."""
    rng = np.random.default_rng(sum(map(ord, cmc)))
    scored = 0
    for _ in range(1000):
        problem = oracle.random_problem(rng, gallery=gallery)
        protocol = oracle.random_protocol(rng, cmc=cmc)
        expected = oracle.score_all(*problem, protocol)
        if not expected[0]:
            with pytest.raises(ValueError):
                evaluate(*problem, protocol)
            continue
        assert_same(evaluate(*problem, protocol), expected)
        scored += 1
    assert scored > 600


def assert_equal_scores(scores, expected):
    """Equal but for the order of additions."""
    assert dataclasses.replace(scores, cmc=(), mean_ap=0, mean_ap_trapezoid=0, mean_inp=0) == (
        dataclasses.replace(expected, cmc=(), mean_ap=0, mean_ap_trapezoid=0, mean_inp=0)
    )
    for field in ("cmc", "mean_ap", "mean_ap_trapezoid", "mean_inp"):
        np.testing.assert_allclose(getattr(scores, field), getattr(expected, field), rtol=1e-12)


def float_pictures(rng, n, people, cameras=4, dimensions=17):
    embeddings = rng.normal(size=(n, dimensions))
    return Embedded(embeddings, rng.integers(0, people, n), rng.integers(0, cameras, n))


@pytest.mark.parametrize("normalize", [True, False])
def test_equals_oracle_on_real_vectors(normalize):
    """Several blocks of queries, several tiles of gallery, some queries with over 64 matches."""
    rng = np.random.default_rng(5)
    query = float_pictures(rng, 150, people=9)
    gallery = float_pictures(rng, 2100, people=40)
    gallery.pids[rng.random(2100) < 0.05] = 3
    protocol = Protocol(normalize=normalize)
    each = query_scores(query, gallery, protocol)
    assert each.positives.max() > 64
    for i in range(0, 150, 5):
        positives, cmc, *rest = oracle.score_query(query, i, gallery, protocol)
        assert each.positives[i] == positives
        np.testing.assert_array_equal(each.cmc[i], cmc)
        np.testing.assert_allclose([each.ap[i], each.ap_trapezoid[i], each.inp[i]], rest)


def test_equal_embeddings_tie_exactly_wherever_they_stand():
    """A match wins against copies of itself under other names in other blocks and tiles."""
    rng = np.random.default_rng(6)
    people = rng.normal(size=(40, 33))
    query = Embedded(people, np.arange(40), np.zeros(40, int))
    order = rng.permutation(40 * 50)
    copies = np.repeat(people, 50, axis=0)[order]
    pids = np.where(np.arange(2000) % 50 == 0, np.arange(2000) // 50, 99)[order]
    scores = evaluate(query, Embedded(copies, pids, np.ones(2000, int)))
    assert scores.cmc[0] == scores.mean_ap == scores.mean_ap_trapezoid == scores.mean_inp == 1


# --- invariances ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(7)
    return float_pictures(rng, 130, people=20), float_pictures(rng, 1500, people=30)


@pytest.mark.parametrize("cmc", ["image", "identity", "single_shot"])
def test_gallery_order_and_junk_change_nothing(problem, cmc):
    query, gallery = problem
    protocol = Protocol(cmc=cmc)
    expected = evaluate(query, gallery, protocol)
    shuffled = gallery.take(np.random.default_rng(8).permutation(len(gallery)))
    assert_equal_scores(evaluate(query, shuffled, protocol), expected)
    junk = Embedded(
        np.concatenate([query.embeddings, gallery.embeddings]),
        np.concatenate([np.full(len(query), -1), gallery.pids]),
        np.concatenate([query.cameras, gallery.cameras]),
    )
    assert_equal_scores(evaluate(query, junk, protocol), expected)


def test_scale_changes_nothing_when_normalized(problem):
    query, gallery = problem
    longer = dataclasses.replace(gallery, embeddings=gallery.embeddings * 4)
    assert evaluate(query, longer) == evaluate(query, gallery)
    raw = Protocol(normalize=False)
    assert evaluate(query, longer, raw) != evaluate(query, gallery, raw)


def test_queries_do_not_depend_on_their_company(problem):
    """Blocks of queries are cut elsewhere when some queries are left out."""
    query, gallery = problem
    everyone = query_scores(query, gallery)
    rows = np.random.default_rng(9).permutation(len(query))[:77]
    some = query_scores(query.take(rows), gallery)
    for field in dataclasses.fields(some):
        expected = getattr(everyone, field.name)[rows]
        np.testing.assert_array_equal(getattr(some, field.name), expected)


def test_bounds(problem):
    each = query_scores(*problem)
    assert (each.ap_trapezoid <= each.ap).all() and (each.ap <= 1).all()
    assert (np.diff(each.cmc, axis=1) >= 0).all()


def test_perfect_ranking(problem):
    query, gallery = problem
    telling = [dataclasses.replace(p, embeddings=np.eye(30)[p.pids]) for p in (query, gallery)]
    scores = evaluate(*telling)
    assert set(scores.cmc) == {1.0}
    assert scores.mean_ap == scores.mean_ap_trapezoid == scores.mean_inp == 1


# --- trials, results, errors ------------------------------------------------------------------


def test_trials_are_averaged(problem):
    query, gallery = problem
    rng = np.random.default_rng(10)
    trials = [np.arange(0, 900), rng.random(1500) < 0.5]
    each = [evaluate(query, gallery.take(rows)) for rows in trials]
    both = evaluate(query, gallery, trials=trials)
    assert both.trials == 2
    assert both.mean_ap == pytest.approx((each[0].mean_ap + each[1].mean_ap) / 2)
    assert both.rank(5) == pytest.approx((each[0].rank(5) + each[1].rank(5)) / 2)
    assert both.gallery_size == min(900, trials[1].sum())
    assert average([both, evaluate(query, gallery)]).trials == 3


def test_average_refuses_unlike_trials(problem):
    with pytest.raises(ValueError, match="at least one"):
        average([])
    with pytest.raises(ValueError, match="different protocols"):
        average([evaluate(*problem), evaluate(*problem, Protocol(mask="none"))])


def test_scores_become_plain_json():
    scores, _ = scores_of(**MARKET, protocol=Protocol())
    written = json.loads(json.dumps(scores.to_dict(), allow_nan=False))
    assert written["rank-1"] == 0.5 and written["rank-20"] == 1.0
    assert written["mAP"] == pytest.approx(0.6)
    assert written["mAP_trapezoid"] == pytest.approx(0.4527778)
    assert written["mINP"] == pytest.approx(0.55)
    assert len(written["cmc"]) == 50
    assert written["protocol"]["junk_pids"] == [-1]
    assert Protocol(**written["protocol"]) == scores.protocol
    with pytest.raises(ValueError, match="1 to 50"):
        scores.rank(0)


def pictures(pids, cameras, embeddings=None):
    n = len(pids)
    return Embedded(np.eye(max(n, 4))[:n, :4] if embeddings is None else embeddings, pids, cameras)


@pytest.mark.parametrize(
    "query, gallery, protocol, message",
    [
        (pictures([1, 2], [0, 0]), pictures([1, 2], [0, 0]), {}, "one camera id \\(0\\)"),
        (pictures([1], [0]), pictures([2], [1]), {}, "share no person identity"),
        (pictures([1], [0]), pictures([-1, 2], [1, 1]), {}, "share no person identity"),
        (pictures([1], [0]), pictures([1, 2], [0, 1]), {}, "hides them all"),
        (pictures([1], [0]), pictures([-1, -1], [1, 1]), {}, "gallery is empty: 2 pictures, all"),
        (pictures([1], [0]), pictures([], []), {}, "gallery is empty: 0 pictures"),
        (pictures([], []), pictures([1], [0]), {}, "query set is empty"),
        (pictures([1], [0]), pictures([1, 2], [1, 1], np.eye(2)), {}, "4 numbers, .* 2"),
        (pictures([1], [0]), pictures([1, 2], [1, 1], np.ones((2, 4))), {}, "collapsed"),
    ],
)
def test_clear_errors(query, gallery, protocol, message):
    with pytest.raises(ValueError, match=message):
        evaluate(query, gallery, Protocol(**protocol))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_bad_embeddings_are_counted(value):
    embeddings = np.eye(4)
    embeddings[[1, 3], 2] = value
    gallery = pictures([1, 2, 3, 4], [1, 1, 1, 1], embeddings)
    with pytest.raises(ValueError, match="2 of 4 gallery embeddings .* row 1"):
        evaluate(pictures([1], [0]), gallery)


def test_zero_embeddings_are_ranked():
    gallery = pictures([1, 2], [1, 1], [[0, 0, 0, 0], [1, 0, 0, 0]])
    assert evaluate(pictures([1], [0]), gallery).rank(1) == 0
