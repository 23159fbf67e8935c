"""Re-ranking against the published description, written down slowly and densely."""

import dataclasses
import json
import tracemalloc
from pathlib import Path

import evaluation_oracle as oracle
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreid.evaluation import Embedded, Protocol, Reranking, evaluate, reranker, top_ranked
from jaxreid.evaluation.counting import BLOCK, Shards, own_devices
from jaxreid.evaluation.neighbours import _nearest, nearest, place
from jaxreid.evaluation.reranking import expanded

AUTHORS = Path(__file__).parents[1] / "golden" / "evaluation_reranking.json"
RAW = Protocol(normalize=False)

# Cases are full of ties, of which users are told.
pytestmark = pytest.mark.filterwarnings("ignore:.*which win ties")


def by(protocol=RAW, **fields):
    return dataclasses.replace(protocol, reranking=Reranking(**fields))


def distances(query, gallery, protocol):
    return reranker(query, gallery, protocol)(np.arange(len(query)))


GOLDEN = {  # k1, k2, weight; two queries, six gallery pictures
    (3, 2, 0.3): [
        [0.004039, 0.162964, 0.183725, 0.715213, 0.753122, 1.000000],
        [0.823838, 0.956279, 0.685733, 0.008807, 0.067312, 0.748612],
    ],
    (3, 1, 0.3): [
        [0.019324, 0.279648, 0.314479, 0.665666, 0.796844, 1.000000],
        [0.867560, 1.000000, 0.683473, 0.275341, 0.097456, 0.981945],
    ],
    (4, 2, 0.3): [
        [0.004039, 0.124324, 0.144570, 0.649509, 0.687419, 0.966599],
        [0.758135, 0.931069, 0.622389, 0.008807, 0.143509, 0.732971],
    ],
    (3, 2, 0.0): [
        [0.000000, 0.222163, 0.237017, 0.937541, 0.937541, 1.000000],
        [0.937541, 0.937541, 0.863550, 0.000000, 0.045047, 0.666667],
    ],
}


@pytest.mark.parametrize("k1, k2, weight", GOLDEN)
def test_distances_of_the_specification(k1, k2, weight, proof):
    query = Embedded([(0, 0), (5, 0)], [0, 1], [0, 0])
    points = [(1.1, 0.1), (0, 1.5), (2.3, 0.3), (4.2, 0.4), (5.1, 1.8), (9, 3.1)]
    gallery = Embedded(points, np.arange(6), np.ones(6, int))
    protocol, expected = by(k1=k1, k2=k2, weight=weight), GOLDEN[k1, k2, weight]
    for form, found in (
        ("sparse", distances(query, gallery, protocol)),
        ("dense, the oracle of the tests", oracle.reranked(query, gallery, protocol)),
    ):
        error = np.abs(found - expected).max()
        proof(f"re-ranked distances, {form}", "golden values of the specification", error, 1e-6)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 2**32),
    k1=st.sampled_from([1, 2, 3, 4, 7, 20]),
    k2=st.sampled_from([1, 2, 6]),
    weight=st.sampled_from([0.0, 0.3, 1.0]),
    include_junk=st.booleans(),
)
def test_equals_the_dense_form(seed, **fields):
    """Whole numbers: distances are exact, many are equal, many pictures are copies of others."""
    problem = oracle.random_problem(np.random.default_rng(seed), dimensions=2)
    protocol = by(**fields)
    expected = oracle.reranked(*problem, protocol)
    np.testing.assert_allclose(distances(*problem, protocol), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("cmc", ["image", "identity", "single_shot"])
def test_scores_are_those_of_the_reranked_distances(cmc):
    rng, scored = np.random.default_rng(6), 0
    for _ in range(20):
        query, gallery = oracle.random_problem(rng, gallery=11)
        protocol = by(oracle.random_protocol(rng, cmc=cmc, mask="same_id_same_camera"), k1=2, k2=2)
        found = distances(query, gallery, protocol)
        valid, expected = oracle.score_all(query, gallery, protocol, found)
        if valid:
            scores = evaluate(query, gallery, protocol)
            got = [*scores.cmc, scores.mean_ap, scores.mean_ap_trapezoid, scores.mean_inp]
            np.testing.assert_allclose(got, np.hstack(expected), rtol=0, atol=1e-12)
        scored += valid > 0
    assert scored > 8


def test_distances_of_the_authors_code(proof):
    golden = json.loads(AUTHORS.read_text())
    query, gallery = oracle.peer_problem(**golden["inputs"])
    sums = [
        [float(p.embeddings.sum()), int(p.pids.sum()), int(p.cameras.sum())]
        for p in (query, gallery)
    ]
    assert sums == golden["sums"], "this NumPy draws other random numbers: make the file anew"
    for case in golden["cases"]:
        expected = np.array(case.pop("distances"))
        found = reranker(query, gallery, by(**case))(np.arange(len(expected)))
        error = np.abs(found[:, gallery.pids != -1] - expected).max()
        proof("re-ranked distances", "the authors' Python code, in float64", error, 1e-6)


def people(rng, n, *, normal=True):
    """Pictures of 30 people in 12 numbers; whole ones if not normal."""
    pids = rng.integers(0, 30, n)
    centres = np.random.default_rng(0).integers(-20, 21, (30, 12))
    noise = rng.normal(0, 12, (n, 12)) if normal else rng.integers(-20, 21, (n, 12))
    return Embedded(centres[pids] + noise, pids, rng.integers(0, 4, n))


@pytest.mark.parametrize("size, normal", [(150, True), (1100, False)])
def test_equals_the_dense_form_on_larger_sets(size, normal, proof):
    """Several blocks of queries, unit vectors; several tiles of gallery."""
    rng = np.random.default_rng(1)
    query, gallery = (people(rng, n, normal=normal) for n in (70, size))
    protocol = by(Protocol(normalize=normal))
    error = np.abs(
        distances(query, gallery, protocol) - oracle.reranked(query, gallery, protocol)
    ).max()
    proof("re-ranked distances, k1 20, k2 6, weight 0.3", "dense NumPy, set by set", error, 1e-6)


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(2)
    return people(rng, 80), people(rng, 500)


def test_reranking_helps_and_tells_its_settings(problem):
    plain, scores = (evaluate(*problem, protocol) for protocol in (Protocol(), by(Protocol())))
    assert scores.mean_ap > plain.mean_ap + 0.05
    assert scores.to_dict()["protocol"]["reranking"]["k1"] == 20
    assert dataclasses.replace(scores.protocol, reranking=None) == plain.protocol


def test_the_order_of_the_gallery_changes_nothing(problem):
    query, gallery = problem
    order = np.random.default_rng(3).permutation(len(gallery))
    shuffled = gallery.take(order)
    found, expected = (distances(query, g, by(Protocol())) for g in (shuffled, gallery))
    np.testing.assert_allclose(found, expected[:, order], rtol=0, atol=1e-7)
    found, expected = (evaluate(query, g, by(Protocol())) for g in (shuffled, gallery))
    assert found.mean_ap == pytest.approx(expected.mean_ap, abs=1e-9) and found.cmc == expected.cmc


def test_at_weight_1_the_order_is_the_plain_one():
    rng = np.random.default_rng(4)
    problem = people(rng, 70, normal=False), people(rng, 500, normal=False)
    expected = evaluate(*problem, RAW)
    protocol = by(weight=1.0)
    assert evaluate(*problem, protocol) == dataclasses.replace(expected, protocol=protocol)


def test_junk_is_no_neighbour_unless_asked_for(problem):
    query, gallery = problem
    junk = Embedded(query.embeddings + 1, np.full(len(query), -1), query.cameras)
    fields = [f.name for f in dataclasses.fields(Embedded)]
    both = Embedded(*(np.concatenate([getattr(p, f) for p in (junk, gallery)]) for f in fields))
    plain, default, asked = (
        evaluate(query, pictures, by(Protocol(), include_junk=include_junk))
        for pictures, include_junk in ((gallery, False), (both, False), (both, True))
    )
    assert default == plain
    assert asked.gallery_size == plain.gallery_size and asked.mean_ap != plain.mean_ap


def test_the_first_pictures_are_those_of_the_reranked_distances(problem):
    protocol = by(Protocol(mask="none"))
    listed = top_ranked(*problem, rows=[7, 3], k=9, protocol=protocol)
    expected = np.sort(reranker(*problem, protocol)([7, 3]), axis=1)[:, :9]
    np.testing.assert_array_equal(listed.distances, expected)


def test_a_picture_comes_before_its_copies():
    """With the earlier copies first, as argsort has them, its list would not hold it."""
    near = nearest(place(np.ones((40, 2), np.float32), own_devices()), 3)
    assert near.rows[5].tolist() == [5, 0, 1] and near.rows[0].tolist() == [0, 1, 2]
    assert near.farthest.tolist() == [0] * 40


def test_a_set_joins_only_if_it_is_a_reciprocal_neighbours():
    """The set of picture 4 lies within that of picture 0 to more than 2 / 3."""
    half = np.array(
        [[0, -1, -1, -1], [1, -1, -1, -1], [2, -1, -1, -1], [3, -1, -1, -1], [4, 1, 2, 3]]
    )
    alone = [[i, -1, -1, -1, -1] for i in range(1, 5)]
    for own, expected in (([0, 1, 2, 3, -1], [0, 1, 2, 3]), ([0, 1, 2, 4, -1], [0, 1, 2, 3, 4])):
        sets, members = expanded(np.array([0]), np.array([own, *alone]), half)
        assert members.tolist() == expected and not sets.any()


def test_a_protocol_without_reranking_is_refused(problem):
    with pytest.raises(ValueError, match="Protocol.reranking is None"):
        reranker(*problem, Protocol())


def test_queries_are_asked_for_by_their_rows():
    query, gallery = (
        Embedded(np.eye(3)[:2], [1, 2], [0, 0]),
        Embedded(np.eye(3), [1, 2, 3], [1] * 3),
    )
    rerank = reranker(query, gallery, by(k1=1, k2=1))
    assert rerank([]).shape == (0, 3)
    np.testing.assert_array_equal(rerank([-1]), rerank([1]))
    with pytest.raises(IndexError):  # a row of the gallery, where they stand together
        rerank([2])


# --- memory -----------------------------------------------------------------------------------


def test_devices_hold_a_block_of_distances_not_all():
    n, shape = 2**17, jax.ShapeDtypeStruct
    shards = Shards(*(shape((n, *more), "float32") for more in ((8,), (), (), ())))
    block = shape((BLOCK, 8), "float32"), shape((BLOCK,), "int32")
    compiled = _nearest.lower(*block, shards, k=21, mesh=own_devices()).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 10 * n * BLOCK * 4  # n x n: 16 GiB


def test_the_host_holds_lists_and_sparse_rows():
    rng = np.random.default_rng(5)
    query, gallery = people(rng, 100), people(rng, 5900)
    tracemalloc.start()
    reranker(query, gallery, by(Protocol()))(np.arange(2))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6000**2  # a byte per pair
