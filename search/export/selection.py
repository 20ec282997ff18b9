"""Choosing one point of a front: the knee, the best of an objective, or a trial by its number.

The knee is the compromise solution for the Euclidean norm (Yu, "A class of solutions for group decision
problems", Management Science 19(8), 1973): the point nearest the ideal one, each objective scaled to 0 (best
on the front) to 1 (worst on the front). Two choices make it the point a person would take:

- Ratios count, so logarithms are scaled, of the error (100 % - top-1), the latency and the size: going from
  4 % to 2 % error is worth as much as from 80 % to 40 %. On a linear scale one collapsed 4-bit model on the
  front makes 60 % top-1 look as good as 95 %.
- Quality counts as much as all costs together: latency and size both follow from the bits, and two nearly
  equal axes would outvote top-1.

The distance to the plane through the extreme points (Das, Structural Optimization 18, 1999) is not used:
there is no such plane where one point is best in two objectives, and the smallest is often the fastest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bitfront.search.problem.objectives import OBJECTIVES
from bitfront.spaces import UserError

Floats = NDArray[np.float64]

KNEE = "knee"
CHOICES = (KNEE, "top1", "latency", "size")
DEFAULT_OBJECTIVES = ("top1", "latency", "size")
_COSTS = ("latency", "size")


def pick(front: pd.DataFrame, choice: str, objectives: Sequence[str] = DEFAULT_OBJECTIVES) -> pd.Series:
    """The row of a front that ``choice`` stands for.

    Args:
        front: One row per point, with the columns of ``front.csv``.
        choice: ``knee``, ``top1`` (highest), ``latency`` (lowest), ``size`` (smallest) or a trial number.
            Points that are equal in one objective are told apart by the knee distance, then by trial.
        objectives: The objectives over which the knee is taken.

    Raises:
        UserError: The front is empty, the choice is none of these, or its objective was not measured.
    """
    if front.empty:
        raise UserError(
            "the front is empty: no trial met the limits; relax them, or search with more --evaluations"
        )
    distances = knee_distances(front, objectives)
    if choice == KNEE:
        return _first(front, distances, -front["top1"].fillna(-np.inf).to_numpy(dtype=np.float64))
    if choice in CHOICES:
        values = _minimised(front, choice)
        if np.isnan(values).all():
            raise UserError(f"--pick {choice}: the run has no {choice}; pick knee or a trial number")
        return _first(front, np.where(np.isnan(values), np.inf, values), distances)
    rows = front[front["trial"] == int(choice)] if choice.isdecimal() else front.iloc[:0]
    if rows.empty:
        raise UserError(_not_on_front(front, choice))
    return _row(rows, 0)


def knee_distances(front: pd.DataFrame, objectives: Sequence[str]) -> Floats:
    """Scaled distance of each point to the ideal one, shape ``[points]``; smaller is better.

    An objective in which all points are equal adds nothing; a point without a value in one is at infinity,
    and an objective that no point has is left out.
    """
    total = np.zeros(len(front))
    for group in (set(objectives) - set(_COSTS), set(objectives) & set(_COSTS)):
        squares = [_scaled(front, name) ** 2 for name in sorted(group) if _known(front, name)]
        if squares:
            total += np.mean(squares, axis=0)
    distances: Floats = np.sqrt(total).round(12)
    return distances


def _known(front: pd.DataFrame, name: str) -> bool:
    column = OBJECTIVES[name].column if name in OBJECTIVES else ""
    return column in front.columns and not front[column].isna().all()


def _scaled(front: pd.DataFrame, name: str) -> Floats:
    """An objective from 0 (best) to 1 (worst) on a logarithmic scale; infinite where it is missing."""
    objective = OBJECTIVES[name]
    values = _minimised(front, name)
    if objective.direction == "maximise" and objective.span is not None:
        values = objective.span(0)[0] + values  # the error: what the best value is more
    logs = np.log(np.maximum(values, objective.least))
    low, high = np.nanmin(logs), np.nanmax(logs)
    scaled = (logs - low) / (high - low if high > low else 1.0)
    return np.where(np.isnan(scaled), np.inf, scaled)


def _minimised(front: pd.DataFrame, name: str) -> Floats:
    objective = OBJECTIVES[name]
    values = front[objective.column].to_numpy(dtype=np.float64)
    return -values if objective.direction == "maximise" else values


def _first(front: pd.DataFrame, *keys: Floats) -> pd.Series:
    order = np.lexsort((front["trial"].to_numpy(), *reversed(keys)))
    return _row(front, int(order[0]))


def _row(rows: pd.DataFrame, position: int) -> pd.Series:
    row: pd.Series = rows.iloc[position]
    return row


def _not_on_front(front: pd.DataFrame, choice: str) -> str:
    trials = sorted(int(trial) for trial in front["trial"])
    shown = ", ".join(map(str, trials[:40])) + (", ..." if len(trials) > 40 else "")
    wrong = f"trial {choice} is not on the front" if choice.isdecimal() else f"--pick {choice!r} is no choice"
    return f"{wrong}: pick {', '.join(CHOICES)} or one of the trials {shown}"
