"""Refined points as a report shows them: their figures, what refining brought, and from where."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bitfront.evaluators.tasks.paired import Paired
from bitfront.search.problem.objectives import ESTIMATE
from bitfront.search.reports.front_rows import front_rows
from bitfront.search.reports.interactive.axes import Axis, Floats
from bitfront.search.reports.refined_rows import refined_rows
from bitfront.search.runs.reader import RecordedRun
from bitfront.search.runs.refined import RefinedPoint


@dataclass(frozen=True)
class RefinedMark:
    """A point of the front as it was refined.

    Attributes:
        row: Position of the trial that it was.
        trial: Its number.
        values: By axis; bits and costs are those of the trial.
        gains: By axis, what refining brought and the paired standard error of that; nothing for costs.
        words: What it costs against the float model, and what refining brought.
        learned_from: The images, in words.
    """

    row: int
    trial: int
    values: dict[str, float]
    gains: dict[str, tuple[float, float]]
    words: str
    learned_from: str


def refined_marks(run: RecordedRun, axes: Sequence[Axis], values: Mapping[str, Floats]) -> list[RefinedMark]:
    """The refined points of a run's front.

    Args:
        run: The run.
        axes: What points are drawn against.
        values: By axis, the value of each trial.
    """
    places = {int(trial): place for place, trial in enumerate(run.trials["trial"].tolist())}
    rows, found = refined_rows(run, front_rows(run)), []
    for trial, point in run.refined_front.items():
        gains, row = _gains(run, point), places[trial]
        own = {axis.key: float(values[axis.key][row]) for axis in axes}
        after = {
            **point.search.after.values,
            **{f"test_{name}": value for name, value in point.test.after.values.items()},
        }
        known = {name: value for name, value in own.items() if name not in gains}
        for key, (gain, _) in gains.items():
            if key in own:
                known[key] = after.get(key, own[key] + gain)
        shown = {name: (pair.value, pair.error) for name, pair in gains.items() if name in own}
        words, images = rows[str(trial)].words, point.images
        found.append(RefinedMark(row, trial, _defined(known), shown, words, images))
    return found


def _gains(run: RecordedRun, point: RefinedPoint) -> dict[str, Paired]:
    """What refining brought, by axis; an estimate gains what was counted on the search split."""
    found = dict(point.search.differences)
    found |= {f"test_{name}": pair for name, pair in point.test.differences.items()}
    counted = run.schema.task.counted
    return {**found, f"{counted}{ESTIMATE}": found[counted]}


def _defined(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if math.isfinite(value)}
