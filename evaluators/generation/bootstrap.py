"""Intervals of means over pictures, and of differences of two formats on the same pictures, by bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Resamplings of the pictures with replacement (Efron 1979), and the share of them within an interval.
DRAWS, CONFIDENCE, SEED = 1000, 0.95, 0


class Interval(NamedTuple):
    """A mean and what 95 % of resamplings lie within."""

    mean: float
    low: float
    high: float

    def written(self, decimals: int = 2) -> str:
        """For people, such as ``36.21 [35.80, 36.70]``."""
        return f"{self.mean:.{decimals}f} [{self.low:.{decimals}f}, {self.high:.{decimals}f}]"


def mean_interval(values: Sequence[float]) -> Interval:
    """Of the mean of values of pictures; the draws are the same for every format of as many pictures."""
    found = np.asarray(values, dtype=np.float64)
    rows = np.random.default_rng(SEED).integers(len(found), size=(DRAWS, len(found)))
    low, high = np.quantile(found[rows].mean(1), [(1.0 - CONFIDENCE) / 2.0, (1.0 + CONFIDENCE) / 2.0])
    return Interval(float(found.mean()), float(low), float(high))


def paired_interval(values: Sequence[float], others: Sequence[float]) -> Interval:
    """Of the mean difference of two formats, picture by picture."""
    return mean_interval(np.asarray(values, dtype=np.float64) - np.asarray(others, dtype=np.float64))  # type: ignore[arg-type]
