"""A finished comparison as one document: hypervolumes at equal evaluations, with their spread over seeds.

They are shares of that of a goal: the true front, or the best known one.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitfront.search.estimation.estimates import judged
from bitfront.search.problem.archive import Archive, Point
from bitfront.search.problem.hypervolume import HypervolumeBox, hypervolume_history
from bitfront.search.problem.objectives import Objective
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.trial import Trial
from bitfront.search.samplers.registry import default_population
from bitfront.search.session.comparison.searches import FinishedSearch

Document = dict[str, Any]
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

    def to_json(self) -> dict[str, float | None]:
        """Its figures; None where one is beyond the evaluations."""
        figures = dataclasses.asdict(self)
        return {name: value if math.isfinite(value) else None for name, value in figures.items()}


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


def tight_box(problem: SearchProblem, front: Sequence[Point]) -> HypervolumeBox | None:
    """The box from the best to the worst value of each objective; None where one has a single value."""
    if len(front) < 2:
        return None
    points = np.array(front)
    ideal, nadir = points.min(axis=0), points.max(axis=0)
    if not (ideal < nadir).all():
        return None
    return HypervolumeBox(problem.box.objectives, tuple(ideal.tolist()), tuple(nadir.tolist()))


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
        front, boxes = Archive(problem.objectives, trials).front_points, {FIXED: problem.box}
        tight = tight_box(problem, front)
        if tight is not None:
            boxes[TIGHT] = tight
        found = {name: box.share(front) for name, box in boxes.items()}
        filled = {name: share for name, share in found.items() if share > 0.0}
        return cls(true, front, {name: boxes[name] for name in filled}, filled)

    def to_json(self, objectives: Sequence[Objective]) -> Document:
        """The goal's corners in the objectives' own directions, and its hypervolumes."""
        return {
            "front": "the true front" if self.true else "the front of all searches together",
            "points": len(self.front),
            "boxes": {
                name: {
                    "units": {objective.column: objective.unit for objective in objectives},
                    "ideal_point": box.in_units(box.ideal, objectives),
                    "reference_point": box.in_units(box.reference, objectives),
                    "hypervolume": self.hypervolumes[name],
                }
                for name, box in self.boxes.items()
            },
        }


def judged_together(
    problem: SearchProblem, searches: Sequence[FinishedSearch], everything: Sequence[Trial] | None
) -> tuple[list[FinishedSearch], list[Trial] | None]:
    """The same trials with estimates from all that was evaluated, whichever search paid for it."""
    pooled = {trial.digest: trial for trial in everything or ()}
    pooled |= {trial.digest: trial for searched in searches for trial in searched.trials}
    # Each search numbers its own trials: here each has one number.
    numbered = [dataclasses.replace(trial, number=number) for number, trial in enumerate(pooled.values())]
    by_digest = {trial.digest: trial for trial in judged(problem, numbered)}

    def of(trials: Iterable[Trial]) -> list[Trial]:
        return [dataclasses.replace(by_digest[trial.digest], number=trial.number) for trial in trials]

    found = [dataclasses.replace(searched, trials=tuple(of(searched.trials))) for searched in searches]
    return found, None if everything is None else of(everything)


def comparison_document(
    problem: SearchProblem,
    searches: Sequence[FinishedSearch],
    everything: Sequence[Trial] | None,
    evaluations: int,
) -> Document:
    """Everything that finished searches say of their samplers.

    Args:
        problem: What was searched.
        searches: Finished searches; samplers may have different numbers of seeds.
        everything: The trials of all configurations, where they are known.
        evaluations: What each search could spend.
    """
    searches, everything = judged_together(problem, searches, everything)
    found = [trial for searched in searches for trial in searched.trials]
    goal = Goal.of(problem, found if everything is None else everything, everything is not None)
    by_sampler: dict[str, list[FinishedSearch]] = {}
    for searched in searches:
        by_sampler.setdefault(searched.entry.sampler, []).append(searched)
    return {
        "objectives": [objective.name for objective in problem.objectives],
        "constraints": list(problem.constraint_names),
        "configurations": problem.space.cardinality,
        "genes": len(problem.space),
        "evaluations": evaluations,
        "marks": list(marks(evaluations)),
        "goal": goal.to_json(problem.objectives),
        "samplers": [_sampler(name, group, problem, goal, evaluations) for name, group in by_sampler.items()],
    }


def _sampler(
    name: str, searches: Sequence[FinishedSearch], problem: SearchProblem, goal: Goal, evaluations: int
) -> Document:
    # By box, hypervolume of each search as a share of the goal's, shape [seeds, evaluations].
    curves = {
        name: np.array([curve(s.trials, problem.objectives, box, evaluations) for s in searches])
        / goal.hypervolumes[name]
        for name, box in goal.boxes.items()
    }
    proposing = np.array([searched.proposing_s for searched in searches])
    spent = [sum(trial.paid for trial in searched.trials) for searched in searches]
    return {
        "sampler": name,
        "population": default_population(name),
        "seeds": [searched.entry.seed for searched in searches],
        "evaluated": spent,
        "reasons": dict(Counter(searched.reason for searched in searches)),
        "proposing_s": Spread.of(proposing).to_json(),
        "hypervolume": {
            box: [{"evaluations": n, **Spread.of(rows[:, n - 1]).to_json()} for n in marks(evaluations)]
            for box, rows in curves.items()
        },
        "to_99_percent": {
            box: Spread.of(evaluations_to(rows, REACHED)).to_json() for box, rows in curves.items()
        },
        "curves": {box: np.round(rows, 6).tolist() for box, rows in curves.items()},
    }
