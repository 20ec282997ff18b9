"""The order of the rows of a front table: the best in a column first, reference models above all."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bitfront.search.problem.objectives import USUAL_COSTS
from bitfront.search.problem.wording import further_costs
from bitfront.search.reports.front_rows import FrontRow
from bitfront.search.runs.reader import RecordedRun
from bitfront.spaces import UserError

# What rows can be sorted by beside objectives and metrics.
TRIAL, TEST, MEASURED = "trial", "test", "measured"


def in_order(run: RecordedRun, rows: Sequence[FrontRow], by: str | None = None) -> list[FrontRow]:
    """Rows by a column, the best first; those that are equal in it stay as they are.

    Args:
        run: The run.
        rows: Its rows, as :func:`bitfront.search.reports.front_rows.front_rows` gives them, by size.
        by: An objective or metric that the rows have, by its estimate where there is one; ``test`` for the
            same on the test split, ``measured`` for whole-model latency, or ``trial``. None for the order
            that they have.

    Raises:
        UserError: The rows have no such column.
    """
    if by is None:
        return list(rows)
    metrics = dict.fromkeys(name for row in rows for name in row.metrics if not name.startswith("test_"))
    further = dict.fromkeys(shown.cost.name for row in rows for shown in further_costs(row.further))
    known = (*USUAL_COSTS, *further, *metrics, TRIAL, TEST, MEASURED)
    if by not in known:
        raise UserError(f"--sort {by!r} is no column of the front: sort by {', '.join(known)}")
    points = [row for row in rows if not row.reference]
    ranked = sorted(points, key=lambda row: _rank(run, row, by))
    return [*(row for row in rows if row.reference), *ranked]


def _rank(run: RecordedRun, row: FrontRow, by: str) -> float:
    """Lower is better; infinite where the value is not known."""
    if by == TRIAL:
        return float(row.name)
    costs = {"latency": row.latency_ms, "size": row.size_bytes, MEASURED: row.latency_measured_ms}
    costs |= {shown.cost.name: row.further[shown.cost.column] for shown in further_costs(row.further)}
    if by in costs:
        value = costs[by]
    elif by == TEST:
        value = -run.quality.sign * row.test_quality
    elif by == run.quality.name:
        value = -run.quality.sign * (row.quality if math.isnan(row.estimate) else row.estimate)
    else:
        value = -run.schema.task.metric(by).sign * row.metrics[by]
    return math.inf if math.isnan(value) else value
