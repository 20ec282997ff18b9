"""Choosing points of a front: the shortlist, the default choice, the best of an objective, or a trial.

The default choice (``knee``, starred in tables and pictures) is the cheapest point that is not shown to be
worse than the best one by more than the user's drop, a test of non-inferiority: a point is ruled out where
even the upper end of the one-sided 95 % interval of its difference to the best one lies below the drop. What
the evidence cannot rule out is not paid for; the more images a search has, the nearer the drop it rules out.
*Cheapest* is the least product of all costs, so that ratios count; those below a thousandth do not.

Where nothing is known of how far chance moved the quality, or a front has no quality, it is the compromise
solution for the Euclidean norm (Yu, "A class of solutions for group decision problems", Management Science
19(8), 1973): the point nearest the ideal one, each objective scaled to 0 (best on the front) to 1 (worst on
the front). Logarithms are scaled, of the error (such as 100 % less top-1), the latency and the size, and
quality counts as much as all costs together.

What is chosen is a point of the front as it is: of a run that was narrowed to limits, one within them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bitfront.evaluators.tasks.registry import CLASSIFICATION, task_named
from bitfront.evaluators.tasks.task import Task
from bitfront.search.estimation.shortlist import costlier
from bitfront.search.export.evidence import Evidence, evidence_of
from bitfront.search.export.limited_front import least_slack
from bitfront.search.export.weights import read_weights, shortfalls, weights_text
from bitfront.search.problem.objectives import COSTS, ESTIMATE, default_objectives, objective_named
from bitfront.search.problem.wording import Difference
from bitfront.search.runs.reader import RecordedRun
from bitfront.spaces import UserError

Floats = NDArray[np.float64]

# A point of a front: one of the names below, an objective, weights by objective, or a trial number.
Choice: TypeAlias = str | int | Mapping[str, float]
KNEE, STAR, NEAREST = "knee", "star", "nearest"


def choices(task: Task, objectives: Sequence[str] = ()) -> tuple[str, ...]:
    """What a point of a front may be chosen by, beside weights and its trial number."""
    return (KNEE, *dict.fromkeys((*default_objectives(task), *objectives)))


def choice_text(choice: Choice) -> str:
    """A choice as ``--pick`` takes it; the knee, which tables have a star for, has one name."""
    text = weights_text(choice) if isinstance(choice, Mapping) else str(choice)
    return KNEE if text == STAR else text


@dataclass(frozen=True)
class DefaultChoice:
    """The starred point of a front, and why it is that.

    Attributes:
        trial: Its number.
        best: The trial of the best quality; None where the point is the compromise.
        difference: Of the starred point to the best one; more is better whatever the metric's direction.
        drop: By how much it may be worse, in the metric's unit.
    """

    trial: int
    best: int | None = None
    difference: Difference | None = None
    drop: float = 0.0


def default_choice(run: RecordedRun) -> DefaultChoice | None:
    """The starred point of a run's front; None where the front is empty."""
    if run.front.empty:
        return None
    found = evidence_of(run)
    judged = any(name not in COSTS for name in run.objectives) and found.costs.shape[1] > 0
    if not (judged and found.differences.known):
        return DefaultChoice(int(_compromise(run.front, run.objectives, run.schema.task)["trial"]))
    star, best = cheapest_not_worse(found)
    trial, other = int(found.trials[star]), int(found.trials[best])
    return DefaultChoice(trial, other, found.differences.between(star, best), found.drop)


def cheapest_not_worse(found: Evidence) -> tuple[int, int]:
    """Positions of the cheapest point that is not shown to be worse than the best, and of the best.

    With d the difference to the best point and s its standard error, a point is shown to be worse by more
    than the drop where d + 1.645 s < -drop. Of points that are equally cheap, the better one is taken.
    """
    total = np.log(found.costs).sum(axis=1)
    best = int(np.lexsort((found.trials, total, -found.quality))[0])
    left = np.flatnonzero(found.differences.highest(best) >= -found.drop)
    beyond = costlier(found.costs)[left, left[np.argmin(total[left])]]
    order = np.lexsort((found.trials[left], -found.quality[left], beyond))
    return int(left[order[0]]), best


class ListedPoint(NamedTuple):
    """A point of the shortlist: its trial, and those of the points that it stands for.

    ``alike`` ones are nowhere cheaper and no test tells them to be better; ``near`` ones really differ from
    all listed points, of which this is the nearest, and were left out to keep the list short.
    """

    trial: int
    alike: tuple[int, ...]
    near: tuple[int, ...]


def shortlist_of(run: RecordedRun) -> dict[int, ListedPoint]:
    """The shortlist of a run's front by trial, in the order of its rows; the starred point is on it."""
    star = default_choice(run)
    if star is None:
        return {}
    found = evidence_of(run)
    listed = found.shortlist(keep=[int(np.flatnonzero(found.trials == star.trial)[0])])
    points = {}
    for position in listed.listed:
        behind = listed.behind(position)
        groups = (found.trials[behind[listed.spared[behind] == near]].tolist() for near in (False, True))
        points[int(found.trials[position])] = ListedPoint(int(found.trials[position]), *map(tuple, groups))
    return points


def standing(listed: Mapping[int, ListedPoint]) -> dict[int, int]:
    """The listed trial that stands for each trial of the front."""
    return {
        trial: point.trial for point in listed.values() for trial in (point.trial, *point.alike, *point.near)
    }


def on_all(runs: Sequence[RecordedRun]) -> list[int]:
    """The trials that are on the front by every source, the smallest first."""
    fronts = [{int(trial) for trial in run.front["trial"]} for run in runs]
    shared = set.intersection(*fronts)
    return [int(trial) for trial in runs[0].front["trial"] if int(trial) in shared]


def chosen_row(run: RecordedRun, choice: Choice) -> pd.Series:
    """The row of a run's front that ``choice`` stands for, as :func:`pick` reads it.

    ``nearest`` is the point that is nearest to the limits that the run was narrowed to.

    Raises:
        UserError: The front is empty, or the choice is none of its points.
    """
    text = choice_text(choice)
    if text == NEAREST and not run.front.empty:
        return _row(run.front, least_slack(run))
    star = default_choice(run) if text == KNEE else None
    within = " ".join(limit.origin for limit in run.narrowed)
    return pick(run.front, str(star.trial) if star else text, run.objectives, run.schema.task, within)


def pick(
    front: pd.DataFrame,
    choice: str,
    objectives: Sequence[str] = (),
    task: Task | None = None,
    within: str = "",
) -> pd.Series:
    """The row of a front that ``choice`` stands for, by its values alone.

    Args:
        front: One row per point, with the columns of ``front.csv``.
        choice: ``knee`` (here the compromise), an objective such as ``top1`` or ``size`` (the best in it),
            weights such as ``top1=2,size=1`` or a trial number. Points that are equal in one objective are
            told apart by the distance to the ideal point, then by trial.
        objectives: The objectives of that distance; those of the task where there are none.
        task: Whose metrics were measured; classification where it is None.
        within: The limits that the front was narrowed to, for messages.

    Raises:
        UserError: The front is empty, the choice is none of these, or its objective was not measured.
    """
    if front.empty:
        raise UserError(
            "the front is empty: no trial met the limits; relax them, or search with more --evaluations"
        )
    task = task or task_named(CLASSIFICATION)
    objectives = objectives or default_objectives(task)
    if choice == KNEE:
        return _compromise(front, objectives, task)
    further = [name for name in task.always if _known(front, name, task)]
    known = dict.fromkeys((*choices(task, objectives)[1:], *further))
    if choice in known:
        if not _known(front, choice, task):
            raise UserError(f"--pick {choice}: the run has no {choice}; pick knee or a trial number")
        values = _minimised(front, choice, task)
        distances = compromise_distances(front, objectives, task)
        return _first(front, np.where(np.isnan(values), np.inf, values), distances)
    if "=" in choice:
        weights = read_weights(choice, [name for name in known if _known(front, name, task)])
        values = np.column_stack([_minimised(front, name, task) for name in weights])
        return _first(front, *shortfalls(values, np.array(list(weights.values()))))
    rows = front[front["trial"] == int(choice)] if choice.isdecimal() else front.iloc[:0]
    if rows.empty:
        raise UserError(_not_on_front(front, choice, (KNEE, *known), within))
    return _row(rows, 0)


def _compromise(front: pd.DataFrame, objectives: Sequence[str], task: Task) -> pd.Series:
    distances = compromise_distances(front, objectives, task)
    quality = next((name for name in objectives if name not in COSTS), task.primary)
    values = _minimised(front, quality, task) if _known(front, quality, task) else np.zeros(len(front))
    return _first(front, distances, np.where(np.isnan(values), np.inf, values))


def compromise_distances(front: pd.DataFrame, objectives: Sequence[str], task: Task | None = None) -> Floats:
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
    """Estimates where there are some, else what was measured; lower is better."""
    objective = objective_named(name, task)
    measured, estimates = front[objective.column], front.get(f"{objective.column}{ESTIMATE}")
    found = measured if estimates is None else estimates.fillna(measured)
    values = found.to_numpy(dtype=np.float64)
    return -values if objective.direction == "maximise" else values


def _first(front: pd.DataFrame, *keys: Floats) -> pd.Series:
    order = np.lexsort((front["trial"].to_numpy(), *reversed(keys)))
    return _row(front, int(order[0]))


def _row(rows: pd.DataFrame, position: int) -> pd.Series:
    row: pd.Series = rows.iloc[position]
    return row


def _not_on_front(front: pd.DataFrame, choice: str, known: Sequence[str], within: str) -> str:
    trials = sorted(int(trial) for trial in front["trial"])
    shown = ", ".join(map(str, trials[:40])) + (", ..." if len(trials) > 40 else "")
    where = "on the front" + f" within {within}" * bool(within)
    wrong = f"trial {choice} is not {where}" if choice.isdecimal() else f"--pick {choice!r} is no choice"
    names = ", ".join((*known, f"{NEAREST} (to a limit)", "weights such as top1=2,size=1"))
    return f"{wrong}: pick {names} or one of the trials {shown}"
