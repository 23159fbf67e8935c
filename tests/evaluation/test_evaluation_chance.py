import itertools

import evaluation_oracle as oracle
import numpy as np
import pytest

from jaxreid.evaluation import MARKET, SYSU_ALL, Embedded, Protocol, by_chance, evaluate

PROTOCOLS = {
    "market": MARKET,
    "camera": Protocol(mask="same_camera", cmc="single_shot"),
    "sysu": Protocol(mask="sysu", cmc="identity"),
    "none": Protocol(mask="none"),
    "truncated": Protocol(rank_truncate=3),
    "zero": Protocol(empty_query="zero"),
}


def pictures(pids, cameras):
    return Embedded(np.zeros((len(pids), 1)), np.array(pids), np.array(cameras))


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_chance_is_the_mean_over_all_orders(protocol):
    query = pictures([1, 2, 2, 7, 3], [2, 0, 1, 1, 3])
    gallery = pictures([1, 2, 2, 3, -1, 1, 3], [1, 1, 2, 2, 0, 0, 0])
    orders = np.array([*itertools.permutations(range(len(gallery)))], float)
    each = []
    for i in range(len(query)):
        given = {"distances": [None] * len(query)}
        for order in orders:
            given["distances"][i] = order
            scores = oracle.score_query(query, i, gallery, protocol, **given)
            if scores is not None:
                each.append((scores[1][0], scores[2]))
            elif protocol.empty_query == "zero":
                each.append((0.0, 0.0))
    assert each
    np.testing.assert_allclose(by_chance(query, gallery, protocol), np.mean(each, 0), atol=1e-12)


def test_nobody_to_be_found_is_an_error():
    with pytest.raises(ValueError, match="share no person identity"):
        by_chance(pictures([1, 2], [0, 0]), pictures([3, 4], [1, 1]), MARKET)


def test_random_embeddings_score_what_chance_says():
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(20), 12)
    cameras = np.tile(np.repeat([0, 1, 3, 4, 2, 5], 2), 20)

    def random(rows):
        return Embedded(rng.normal(size=(rows.sum(), 8)), people[rows], cameras[rows])

    infrared = np.isin(cameras, [2, 5])
    found = [evaluate(random(infrared), random(~infrared), SYSU_ALL) for _ in range(20)]
    means = np.mean([(s.rank(1), s.mean_ap) for s in found], axis=0)
    assert found[0].chance == pytest.approx(tuple(means), rel=0.1)
    said = found[0].to_dict()["chance"]
    assert said == {"rank-1": found[0].chance.rank1, "mAP": found[0].chance.mean_ap}
