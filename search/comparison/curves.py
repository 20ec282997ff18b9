"""Hypervolume against evaluations: of one search, and of several seeds at equal numbers of evaluations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitfront.search.hypervolume import HypervolumeBox, hypervolume_history
from bitfront.search.objectives import Objective
from bitfront.search.trial import Trial

Curves = NDArray[np.float64]
_MARKS = (20, 40, 60, 80, 100, 150, 200, 300, 400, 600, 800)
REACHED = 0.99


def curve(
    trials: Sequence[Trial], objectives: Sequence[Objective], box: HypervolumeBox, evaluations: int
) -> Curves:
    """Share of a box after 1, 2, ... evaluations, shape ``[evaluations]``; higher is better.

    Only feasible trials count, and all that were found so far. A search that ended earlier keeps its last
    value.
    """
    shares = [share for _, share in hypervolume_history(trials, objectives, box)][:evaluations]
    last = shares[-1] if shares else 0.0
    return np.array(shares + [last] * (evaluations - len(shares)))


def marks(evaluations: int) -> tuple[int, ...]:
    """Numbers of evaluations to report, the last of them all: 20, 40, 60, ..., or quarters of a few."""
    if evaluations < 2 * _MARKS[0]:
        return tuple(sorted({max(1, round(evaluations * quarter / 4)) for quarter in range(1, 5)}))
    beyond = range(1000, evaluations, 1000) if evaluations <= 5000 else range(5000, evaluations, 5000)
    return (*(mark for mark in (*_MARKS, *beyond) if mark < evaluations), evaluations)


@dataclass(frozen=True)
class Spread:
    """A figure over seeds.

    Attributes:
        median: Its median.
        q1: Its lower quartile.
        q3: Its upper quartile.
        least: Its least value.
        most: Its largest value.
    """

    median: float
    q1: float
    q3: float
    least: float
    most: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Spread:
        """The spread of values, shape ``[seeds]``; infinite ones count as larger than any other."""
        q1, median, q3 = (_quantile(values, share) for share in (0.25, 0.5, 0.75))
        return cls(median, q1, q3, float(values.min()), float(values.max()))


def _quantile(values: NDArray[np.float64], share: float) -> float:
    """A quantile by linear interpolation; infinite where one of its neighbours is."""
    place = share * (len(values) - 1)
    below, above = np.sort(values)[[math.floor(place), math.ceil(place)]]
    return float(below if below == above else below + (place % 1.0) * (above - below))


def evaluations_to(curves: Curves, level: float) -> NDArray[np.float64]:
    """Evaluations until each curve reaches a level, shape ``[seeds]``; infinite where it does not.

    Args:
        curves: Shape ``[seeds, evaluations]``.
        level: In the curves' unit.
    """
    reached = curves >= level
    first = reached.argmax(axis=1) + 1.0
    return np.where(reached.any(axis=1), first, np.inf)
