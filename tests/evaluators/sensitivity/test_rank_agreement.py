"""Rank correlations and their intervals, against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from bitfront.evaluators.sensitivity.rank_agreement import rank_agreement


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    first = rng.normal(size=40)
    return first, np.round(first + rng.normal(size=40), 1)  # with equals


def test_figures_are_those_of_scipy(pair: tuple[np.ndarray, np.ndarray]) -> None:
    found = rank_agreement(*pair)
    assert found.spearman.value == pytest.approx(float(spearmanr(*pair)[0]))
    assert found.kendall.value == pytest.approx(float(kendalltau(*pair)[0]))


def test_intervals_are_those_of_resampled_genes(pair: tuple[np.ndarray, np.ndarray]) -> None:
    found, rng = rank_agreement(*pair), np.random.default_rng(9)
    first, second = pair
    rows = rng.integers(40, size=(1500, 40))
    for estimate, measure in ((found.spearman, spearmanr), (found.kendall, kendalltau)):
        values = [float(measure(first[row], second[row])[0]) for row in rows[:500]]
        assert estimate.low < estimate.value < estimate.high
        assert np.percentile(values, [2.5, 97.5]) == pytest.approx([estimate.low, estimate.high], abs=0.07)


def test_the_same_ranks_agree_whatever_is_drawn() -> None:
    found = rank_agreement(np.arange(8.0), np.arange(8.0) ** 3).to_json()
    assert found["spearman"] == pytest.approx({"value": 1.0, "low": 1.0, "high": 1.0})
    assert found["kendall"] == pytest.approx({"value": 1.0, "low": 1.0, "high": 1.0})


def test_equal_ranks_have_no_correlation() -> None:
    found = rank_agreement(np.zeros(5), np.arange(5.0))
    for estimate in (found.spearman, found.kendall):
        assert all(math.isnan(value) for value in (estimate.value, estimate.low, estimate.high))
