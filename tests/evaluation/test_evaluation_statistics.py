"""Intervals over seeds: tabled quantiles, values worked out by hand, a search over all ratios."""

import math

import numpy as np
import pytest

from jaxreid.evaluation.statistics import gap_closed, paired_difference, t_quantile


@pytest.mark.parametrize(
    "freedom,tabled",
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (9, 2.262), (30, 2.042)],
)
def test_quantiles_are_the_tabled_ones(freedom, tabled):
    assert t_quantile(0.95, freedom) == pytest.approx(tabled, abs=5e-4)


def test_quantiles_in_closed_form_and_at_another_level():
    for level in (0.5, 0.9, 0.99):
        assert t_quantile(level, 1) == pytest.approx(math.tan(math.pi / 2 * level), rel=1e-12)
        assert t_quantile(level, 2) == pytest.approx(level * math.sqrt(2 / (1 - level**2)))
    assert t_quantile(0.99, 4) == pytest.approx(4.6041, abs=5e-5)


def test_the_paired_difference_by_hand():
    # Differences 0.1, 0.2, 0.3: mean 0.2, deviation 0.1, half width 4.30265 * 0.1 / sqrt(3).
    found = paired_difference([0.5, 0.7, 0.4], [0.4, 0.5, 0.1])
    np.testing.assert_allclose(found, [0.2, 0.2 - 0.248414, 0.2 + 0.248414], atol=1e-6)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    draws = rng.normal(0.3, 1.0, (4000, 5))
    found = [paired_difference(draw, np.zeros(5)) for draw in draws]
    covered = np.mean([low < 0.3 < high for _, low, high in found])
    assert covered == pytest.approx(0.95, abs=0.012)  # three and a half standard errors


def test_the_part_of_the_gap_is_what_a_search_over_all_ratios_finds():
    rng = np.random.default_rng(1)
    reference = rng.normal(0.4, 0.05, 6)
    values, bound = (reference + gain + rng.normal(0, 0.03, 6) for gain in (0.1, 0.3))
    ratios = np.linspace(-1, 2, 300_001)
    d, g = values - reference, bound - reference
    left = d[:, None] - ratios * g[:, None]
    t = left.mean(0) / (left.std(0, ddof=1) / math.sqrt(6))
    kept = ratios[np.abs(t) <= 2.570582]
    found = gap_closed(values, reference, bound)
    np.testing.assert_allclose(found, [d.mean() / g.mean(), kept[0], kept[-1]], atol=2e-5)
    assert found.low < found.estimate < found.high


def test_a_gap_known_exactly_leaves_the_interval_of_the_difference():
    reference, values = np.array([0.1, 0.2, 0.4]), np.array([0.3, 0.3, 0.6])
    found = gap_closed(values, reference, reference + 0.5)
    np.testing.assert_allclose(found, np.array(paired_difference(values, reference)) / 0.5)


def test_no_part_of_a_gap_that_is_not_shown_or_the_wrong_way_round():
    reference = np.zeros(3)
    assert gap_closed([0.1, 0.2, 0.3], reference, [0.3, -0.1, 0.2]) is None
    assert gap_closed([0.1, 0.2, 0.3], reference, [-0.5, -0.6, -0.5]) is None


@pytest.mark.parametrize("values", [[0.1], [0.1, 0.2, 0.3], [[0.1, 0.2]]])
def test_scores_that_are_not_pairs_are_refused(values):
    with pytest.raises(ValueError, match="same seeds.*two or more"):
        paired_difference(values, [0.1] if len(values) == 1 else [0.1, 0.2])
