"""The rows of refined points in the table of a front, each below the point that it was."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bitfront.evaluators.tasks.paired import Paired
from bitfront.search.problem.wording import Difference, difference
from bitfront.search.reports.front_rows import FrontRow, row_words
from bitfront.search.runs.reader import RecordedRun
from bitfront.search.runs.refined import Compared, RefinedPoint

REFINED = "refined"


def refined_rows(run: RecordedRun, rows: Sequence[FrontRow]) -> dict[str, FrontRow]:
    """A row for each refined point of the front, by the name of the row that it belongs to."""
    found = {str(trial): point for trial, point in run.refined_front.items()}
    return {row.name: _refined(run, row, found[row.name]) for row in rows if row.name in found}


def with_refined(rows: Sequence[FrontRow], refined: dict[str, FrontRow]) -> list[FrontRow]:
    """Rows with those of refined points, each below its own."""
    return [shown for row in rows for shown in (row, refined.get(row.name)) if shown is not None]


def height_gain(run: RecordedRun, point: RefinedPoint) -> Paired:
    """What refining brought on the search split in the metric that the front is judged by."""
    return point.search.differences[run.quality.name]


def _refined(run: RecordedRun, row: FrontRow, point: RefinedPoint) -> FrontRow:
    """The row of a point as it was refined: bits and costs are what they were."""
    metric, base = run.quality, run.float_reference
    search, test = point.search, point.test
    gain = height_gain(run, point)
    estimate = row.estimate + gain.value
    error = math.hypot(row.estimate_error, 0.0 if math.isnan(gain.error) else gain.error)
    whole, tested = (base.values, base.test_values) if base else ({}, {})
    known = {**search.after.values, **{f"test_{name}": value for name, value in test.after.values.items()}}
    estimated = (
        None if math.isnan(estimate) or base is None else Difference(estimate - whole[metric.name], error)
    )
    found = row._replace(
        name=f"{row.name} {REFINED}",
        knee=False,
        quality=search.after.values[metric.name],
        test_quality=test.after.values[metric.name],
        metrics={name: known.get(name, math.nan) for name in row.metrics},
        against_float=search.after.against_float,
        test_against_float=test.after.against_float,
        difference=_to_float(run, search, whole.get(metric.name)),
        test_difference=_to_float(run, test, tested.get(metric.name)),
        estimate=estimate,
        estimate_error=error,
        estimated=estimated,
        alike=0,
        near=0,
    )
    unit = "points" if metric.unit == "%" else metric.unit
    brought = test.differences[metric.name]
    gained = f"{difference(Difference(*brought), metric.shown_decimals)} {unit}".rstrip()
    return found._replace(words=f"{row_words(run, found, base)}; refining brought {gained}")


def _to_float(run: RecordedRun, compared: Compared, whole: float | None) -> Difference | None:
    """The difference of a refined point to the float model in what the front is judged by."""
    name = run.quality.name
    if name == run.schema.task.counted:
        return Difference.of(compared.after.against_float)
    if whole is None:
        return None
    error = compared.errors.get(name, math.nan)
    return Difference(compared.after.values[name] - whole, None if math.isnan(error) else error)


def refined_notes(refined: dict[str, FrontRow], estimated: bool) -> list[str]:
    """What a row of a refined point is."""
    if not refined:
        return []
    how = "; its estimate is that of the point and what refining brought on the search split" * estimated
    return [f"refined: the point above after `bitfront refine`, with the same bits{how}"]
