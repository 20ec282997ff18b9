"""Hypervolume against evaluations, and what it is measured against: the true or best known front."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitfront.search.problem.archive import Archive, Point
from bitfront.search.problem.hypervolume import HypervolumeBox, hypervolume_history
from bitfront.search.problem.objectives import Objective
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.trial import Trial

Curves = NDArray[np.float64]
_MARKS = (20, 40, 60, 80, 100, 150, 200, 300, 400, 600, 800)
REACHED = 0.99
FIXED, TIGHT = "fixed", "tight"


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


@dataclass(frozen=True)
class Goal:
    """The front that searches approach, and its hypervolumes.

    Attributes:
        true: Whether it is the front of the whole space, not that of all searches together.
        front: Its points in minimisation form.
        boxes: The problem's fixed box, and where the front spans one, the tight box from its best values
            (ideal) to its worst (nadir).
        hypervolumes: Share of each box that the front dominates.
    """

    true: bool
    front: tuple[Point, ...]
    boxes: dict[str, HypervolumeBox]
    hypervolumes: dict[str, float]

    @classmethod
    def of(cls, problem: SearchProblem, trials: Iterable[Trial], true: bool) -> Goal:
        """The goal that the feasible ones of some trials make.

        Args:
            problem: What is searched.
            trials: All configurations, or those of all searches.
            true: Whether they are all configurations.
        """
        archive = Archive(problem.objectives)
        for trial in trials:
            archive.add(trial)
        front = archive.front_points
        boxes = {FIXED: problem.box}
        if len(front) > 1:
            boxes |= _tight(problem.box, front)
        found = {name: box.share(front) for name, box in boxes.items()}
        filled = {name: share for name, share in found.items() if share > 0.0}
        return cls(true, front, {name: boxes[name] for name in filled}, filled)

    @property
    def name(self) -> str:
        """What it is called."""
        return "the true front" if self.true else "the front of all searches together"

    def to_json(self, objectives: Sequence[Objective]) -> dict[str, Any]:
        """The goal's corners in the objectives' own directions, and its hypervolumes."""
        return {
            "front": self.name,
            "points": len(self.front),
            "boxes": {
                name: {
                    "ideal_point": _corner(box.ideal, objectives),
                    "reference_point": _corner(box.reference, objectives),
                    "hypervolume": self.hypervolumes[name],
                }
                for name, box in self.boxes.items()
            },
        }


def _tight(box: HypervolumeBox, front: Sequence[Point]) -> dict[str, HypervolumeBox]:
    """The box from the best to the worst value of each objective; none where one has a single value."""
    points = np.array(front)
    ideal, nadir = points.min(axis=0), points.max(axis=0)
    if (ideal >= nadir).any():
        return {}
    return {TIGHT: HypervolumeBox(box.objectives, tuple(ideal.tolist()), tuple(nadir.tolist()))}


def _corner(corner: Point, objectives: Sequence[Objective]) -> dict[str, float]:
    pairs = zip(objectives, corner, strict=True)
    return {o.column: 0.0 - value if o.direction == "maximise" else value for o, value in pairs}
