"""Means over pairs: which pairs, standard errors, batches."""

import itertools

import numpy as np
import pytest

from jaxreid.evaluation import chosen_rows, paired, random_pairs, spread
from jaxreid.evaluation.pairs import estimate

rng = np.random.default_rng(0)
FIRST, SECOND = rng.uniform(-1, 1, (2, 23, 4, 2, 3))


def measure(x, y):
    assert x.shape == y.shape == (8, 4, 2, 3)
    return np.abs(x - y).mean((1, 2, 3))


def test_a_mean_and_its_error_by_hand():
    # Deviations -1.5, -0.5, 0.5, 1.5 have variance 5/3, the mean of four 5/12.
    found = estimate([1, 2, 3, 4])
    assert found == pytest.approx((2.5, (5 / 12) ** 0.5, 4))


def test_the_error_is_that_of_the_mean():
    draws = np.random.default_rng(1).normal(3, 2, (2000, 25))
    found = [estimate(draw) for draw in draws]
    errors = np.mean([each.error**2 for each in found]) ** 0.5
    assert errors == pytest.approx(np.std([each.mean for each in found]), rel=0.06)


@pytest.mark.parametrize("values", [[1.0], [[1.0, 2.0]], [1.0, np.nan], []])
def test_values_without_an_error_are_refused(values):
    with pytest.raises(ValueError, match="two or more finite values"):
        estimate(values)


@pytest.mark.parametrize("count", [2, 8, 9, 23])
def test_pairs_of_the_given_rows(count):
    r, s = rng.permutation(23)[:count], rng.permutation(23)[:count]
    each = [np.abs(FIRST[i] - SECOND[j]).mean() for i, j in zip(r, s, strict=True)]
    found = paired(measure, FIRST.__getitem__, SECOND.__getitem__, (r, s), batch=8)
    assert found == pytest.approx((np.mean(each), np.std(each, ddof=1) / count**0.5, count))


def test_spread_is_the_mean_over_pairs_of_guides_and_then_over_sources():
    outputs = rng.uniform(-1, 1, (4, 23, 4, 2, 3))  # by guide
    rows = np.array([5, 0, 22, 7, 7, 1, 2, 3, 4])
    each = [
        np.mean([np.abs(a[row] - b[row]).mean() for a, b in itertools.combinations(outputs, 2)])
        for row in rows
    ]
    found = spread(measure, lambda at, k: outputs[k, at], rows, 4, batch=8)
    assert found == pytest.approx((np.mean(each), np.std(each, ddof=1) / 3, 9))


def test_a_translator_without_guides_has_no_spread():
    found = spread(measure, lambda at, k: FIRST[at], np.arange(23), 3, batch=8)
    assert found == (0, 0, 23)


def test_random_pairs_are_independent_and_never_repeat_a_row():
    first, second = random_pairs(30, 50)
    assert sorted(first) == list(range(30)) and len(set(second)) == 30
    assert second.max() > 40 and (first != second).any()
    np.testing.assert_array_equal(random_pairs(30, 50), (first, second))
    assert (np.array(random_pairs(30, 50, seed=1)) != (first, second)).any()
    assert [len(rows) for rows in random_pairs(5000, 9000)] == [2000, 2000]
    # Means of pairs estimate the mean over all pairs, not over neighbours.
    x, y = np.arange(60.0), np.arange(60.0)
    found = [
        np.abs(x[r] - y[s]).mean() for r, s in (random_pairs(60, 60, seed=k) for k in range(200))
    ]
    everything = np.abs(x[:, None] - y).mean()
    assert abs(np.mean(found) - everything) < 4 * np.std(found) / 200**0.5


def test_chosen_rows():
    np.testing.assert_array_equal(chosen_rows(2000), np.arange(2000))
    some = chosen_rows(5000)
    assert len(set(some)) == 2000 and (np.diff(some) > 0).all() and some.max() > 4900
    assert (chosen_rows(5000, seed=1) != some).any() and len(chosen_rows(9, limit=4)) == 4


def test_bad_pairs_are_refused():
    with pytest.raises(ValueError, match="as many rows of either set, not 3 and 2"):
        paired(measure, FIRST.__getitem__, SECOND.__getitem__, (np.arange(3), np.arange(2)))
    with pytest.raises(ValueError, match="two or more guides, not 1"):
        spread(measure, lambda at, k: FIRST[at], np.arange(4), 1)
