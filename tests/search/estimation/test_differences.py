"""Differences of points: their errors, and which of them a test does not tell apart."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import binom

from bitfront.evaluators.tasks.quality import PairedComparison
from bitfront.search.estimation.differences import Differences, paired_error


def mid_p(lost: int, won: int) -> float:
    """Two-sided p-value of McNemar's mid-p test."""
    changed, fewer = lost + won, min(lost, won)
    return float(2 * binom.cdf(fewer, changed, 0.5) - binom.pmf(fewer, changed, 0.5)) if changed else 1.0


def test_pairs_are_told_apart_as_the_mid_p_test_does() -> None:
    differing = 0
    for changed in range(40):
        for won in range(changed + 1):
            lost, right = changed - won, np.ones((2, 400), dtype=bool)
            right[0, :lost] = right[1, lost:changed] = False
            alike = Differences.of_pairs(right).alike()[0, 1]
            p = mid_p(lost, won)
            differing += alike != (p > 0.05)
            assert alike == (p > 0.05) or abs(p - 0.05) < 0.015
    assert differing <= 8


def test_pairs_are_counted_one_by_one() -> None:
    rng = np.random.default_rng(0)
    right = rng.random((5, 300)) < np.array([0.7, 0.7, 0.72, 0.8, 0.95])[:, None]
    found = Differences.of_pairs(right)
    assert found.paired
    for one, other in itertools.permutations(range(5), 2):
        lost, won = int((right[other] & ~right[one]).sum()), int((right[one] & ~right[other]).sum())
        counted = PairedComparison(300, lost, won)
        assert found.values[one, other] == pytest.approx(counted.difference)
        assert found.errors[one, other] == pytest.approx(counted.difference_standard_error, rel=0.05)


def test_no_changed_image_is_no_certainty_and_unknown_counts_stay_unknown() -> None:
    errors = paired_error(100, np.array([0.0, np.nan]), np.array([0.0, 1.0]))
    assert errors == pytest.approx([100 / 102, np.nan], nan_ok=True)


def test_estimates_are_told_apart_by_the_errors_of_both() -> None:
    found = Differences.of_estimates(np.array([70.0, 71.0, 73.0]), np.array([0.6, 0.8, 0.0]))
    assert not found.paired
    assert found.between(1, 0) == (1.0, pytest.approx(1.0))
    assert found.between(2, 2) == (0.0, 0.0)
    assert found.alike().tolist() == [[True, True, False], [True, True, False], [False, False, True]]
    assert found.highest(2) == pytest.approx([-3 + 1.645 * 0.6, -2 + 1.645 * 0.8, 0.0], abs=1e-3)


def test_without_errors_all_but_equal_values_differ() -> None:
    found = Differences.of_estimates(np.array([70.0, 70.0, 70.1]), np.full(3, np.nan))
    assert found.alike().sum() == 5
    assert not found.known
    assert found.between(0, 2) == (pytest.approx(-0.1), None)


def test_estimates_of_paired_points_have_the_smaller_of_two_bounds() -> None:
    right = np.ones((2, 400), dtype=bool)
    right[1, :4] = False
    quality = np.array([70.0, 69.0])
    pairs = Differences.of_pairs(right, quality, np.array([2.0, 2.0]))
    assert pairs.between(1, 0) == (-1.0, pytest.approx(float(paired_error(400, 4, 0))))
    sure = Differences.of_pairs(right, quality, np.array([0.1, 0.1]))
    assert sure.between(1, 0) == (-1.0, pytest.approx(np.hypot(0.1, 0.1)))
    assert Differences.of_pairs(right, quality).between(1, 0) == pairs.between(1, 0)
