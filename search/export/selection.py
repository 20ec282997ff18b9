"""Choosing one point of a front: the knee, the best of an objective, or a trial by its number.

The knee is the compromise solution for the Euclidean norm (Yu, "A class of solutions for group decision
problems", Management Science 19(8), 1973): the point nearest the ideal one, each objective scaled to 0 (best
on the front) to 1 (worst on the front). Two choices make it the point a person would take:

- Ratios count, so logarithms are scaled, of the error (such as 100 % less top-1), the latency and the size:
  going from 4 % to 2 % error is worth as much as from 80 % to 40 %. On a linear scale one collapsed 4-bit
  model on the front makes 60 % look as good as 95 %.
- Quality counts as much as all costs together: latency and size both follow from the bits, and two nearly
  equal axes would outvote it.

The distance to the plane through the extreme points (Das, Structural Optimization 18, 1999) is not used:
there is no such plane where one point is best in two objectives, and the smallest is often the fastest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bitfront.evaluators.tasks.registry import CLASSIFICATION, task_named
from bitfront.evaluators.tasks.task import Task
from bitfront.search.problem.objectives import COSTS, default_objectives, objective_named
from bitfront.spaces import UserError

Floats = NDArray[np.float64]

KNEE = "knee"


def choices(task: Task, objectives: Sequence[str] = ()) -> tuple[str, ...]:
    """What a point of a front may be chosen by, beside its trial number."""
    return (KNEE, *dict.fromkeys((*default_objectives(task), *objectives)))


def pick(
    front: pd.DataFrame, choice: str, objectives: Sequence[str] = (), task: Task | None = None
) -> pd.Series:
    """The row of a front that ``choice`` stands for.

    Args:
        front: One row per point, with the columns of ``front.csv``.
        choice: ``knee``, an objective such as ``top1`` or ``size`` (the best in it) or a trial number.
            Points that are equal in one objective are told apart by the knee distance, then by trial.
        objectives: The objectives over which the knee is taken; those of the task where there are none.
        task: Whose metrics were measured; classification where it is None.

    Raises:
        UserError: The front is empty, the choice is none of these, or its objective was not measured.
    """
    if front.empty:
        raise UserError(
            "the front is empty: no trial met the limits; relax them, or search with more --evaluations"
        )
    task = task or task_named(CLASSIFICATION)
    objectives = objectives or default_objectives(task)
    distances = knee_distances(front, objectives, task)
    if choice == KNEE:
        quality = next((name for name in objectives if name not in COSTS), task.primary)
        values = _minimised(front, quality, task) if _known(front, quality, task) else np.zeros(len(front))
        return _first(front, distances, np.where(np.isnan(values), np.inf, values))
    if choice in choices(task, objectives):
        if not _known(front, choice, task):
            raise UserError(f"--pick {choice}: the run has no {choice}; pick knee or a trial number")
        values = _minimised(front, choice, task)
        return _first(front, np.where(np.isnan(values), np.inf, values), distances)
    rows = front[front["trial"] == int(choice)] if choice.isdecimal() else front.iloc[:0]
    if rows.empty:
        raise UserError(_not_on_front(front, choice, choices(task, objectives)))
    return _row(rows, 0)


def knee_distances(front: pd.DataFrame, objectives: Sequence[str], task: Task | None = None) -> Floats:
    """Scaled distance of each point to the ideal one, shape ``[points]``; smaller is better.

    An objective in which all points are equal adds nothing; a point without a value in one is at infinity,
    and an objective that no point has is left out.
    """
    task = task or task_named(CLASSIFICATION)
    total = np.zeros(len(front))
    for group in (set(objectives) - set(COSTS), set(objectives) & set(COSTS)):
        squares = [_scaled(front, name, task) ** 2 for name in sorted(group) if _known(front, name, task)]
        if squares:
            total += np.mean(squares, axis=0)
    distances: Floats = np.sqrt(total).round(12)
    return distances


def _known(front: pd.DataFrame, name: str, task: Task) -> bool:
    column = objective_named(name, task).column
    return column in front.columns and not front[column].isna().all()


def _scaled(front: pd.DataFrame, name: str, task: Task) -> Floats:
    """An objective from 0 (best) to 1 (worst) on a logarithmic scale; infinite where it is missing."""
    objective = objective_named(name, task)
    values = _minimised(front, name, task)
    if objective.direction == "maximise" and objective.span is not None:
        values = objective.span(0)[0] + values  # the error: what the best value is more
    logs = np.log(np.maximum(values, objective.least))
    low, high = np.nanmin(logs), np.nanmax(logs)
    scaled = (logs - low) / (high - low if high > low else 1.0)
    return np.where(np.isnan(scaled), np.inf, scaled)


def _minimised(front: pd.DataFrame, name: str, task: Task) -> Floats:
    objective = objective_named(name, task)
    values = front[objective.column].to_numpy(dtype=np.float64)
    return -values if objective.direction == "maximise" else values


def _first(front: pd.DataFrame, *keys: Floats) -> pd.Series:
    order = np.lexsort((front["trial"].to_numpy(), *reversed(keys)))
    return _row(front, int(order[0]))


def _row(rows: pd.DataFrame, position: int) -> pd.Series:
    row: pd.Series = rows.iloc[position]
    return row


def _not_on_front(front: pd.DataFrame, choice: str, known: Sequence[str]) -> str:
    trials = sorted(int(trial) for trial in front["trial"])
    shown = ", ".join(map(str, trials[:40])) + (", ..." if len(trials) > 40 else "")
    wrong = f"trial {choice} is not on the front" if choice.isdecimal() else f"--pick {choice!r} is no choice"
    return f"{wrong}: pick {', '.join(known)} or one of the trials {shown}"
