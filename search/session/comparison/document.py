"""A finished comparison as one document: hypervolumes at equal evaluations, with their spread over seeds."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.trial import Trial
from bitfront.search.samplers.registry import default_population
from bitfront.search.session.comparison.measures import (
    REACHED,
    Curves,
    Goal,
    Spread,
    curve,
    evaluations_to,
    marks,
)
from bitfront.search.session.comparison.searches import FinishedSearch

Document = dict[str, Any]


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
    curves = {box: share_of_goal(searches, problem, goal, box, evaluations) for box in goal.boxes}
    proposing = np.array([searched.proposing_s for searched in searches])
    spent = [sum(trial.paid for trial in searched.trials) for searched in searches]
    return {
        "sampler": name,
        "population": default_population(name),
        "seeds": [searched.entry.seed for searched in searches],
        "evaluated": spent,
        "reasons": dict(Counter(searched.reason for searched in searches)),
        "proposing_s": _spread(Spread.of(proposing)),
        "hypervolume": {box: _at_marks(rows, evaluations) for box, rows in curves.items()},
        "to_99_percent": {
            box: _spread(Spread.of(evaluations_to(rows, REACHED))) for box, rows in curves.items()
        },
        "curves": {box: np.round(rows, 6).tolist() for box, rows in curves.items()},
    }


def share_of_goal(
    searches: Sequence[FinishedSearch], problem: SearchProblem, goal: Goal, box: str, evaluations: int
) -> Curves:
    """Hypervolume of each search as a share of the goal's, shape ``[seeds, evaluations]``."""
    rows = [curve(s.trials, problem.objectives, goal.boxes[box], evaluations) for s in searches]
    return np.array(rows) / goal.hypervolumes[box]


def _at_marks(rows: Curves, evaluations: int) -> list[Document]:
    return [{"evaluations": n, **_spread(Spread.of(rows[:, n - 1]))} for n in marks(evaluations)]


def _spread(spread: Spread) -> Mapping[str, float | None]:
    """Figures of a spread; None where one is beyond the evaluations."""
    figures = dataclasses.asdict(spread)
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}
