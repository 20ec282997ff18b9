"""What is known of the points of a front: quality with its error, costs, and how surely two points differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bitfront.search.estimation.differences import TWO_SIDED, Differences, paired_error
from bitfront.search.estimation.estimates import COUNTED, Measurements, Posterior, estimate_differences
from bitfront.search.estimation.shortlist import Shortlist, shortlist
from bitfront.search.problem.limits import read_bounds
from bitfront.search.problem.objectives import ESTIMATE, ESTIMATE_ERROR, NEGLIGIBLE, objective_named
from bitfront.search.runs.reader import RecordedRun

Floats = NDArray[np.float64]

# Where --max-drop names none: points of a share; other metrics may not be shown to be worse at all.
DEFAULT_DROP = 0.5
# Two latencies within so many of their errors do not differ: 5 % of those that are equal are further apart.
LATENCY_ERRORS = TWO_SIDED * math.sqrt(2.0)


@dataclass(frozen=True)
class Evidence:
    """The points of a front as arrays, in the order of its rows.

    Attributes:
        trials: Their numbers, int64 ``[points]``.
        quality: The front's metric, estimated where the run has estimates, as counted otherwise; higher is
            better, so that a metric of which less is better has its sign changed. ``[points]``.
        errors: Standard error of each difference to the float model, in the metric's unit; NaN where it is
            not known. ``[points]``.
        differences: Of all pairs of points in quality.
        costs: What is to be low, positive, ``[points, costs]``: the costs that are objectives, and the errors
            of further metrics that are.
        tolerances: For each cost, the share below which a difference is none.
        drop: By how much the default choice may be worse than the best point, in the metric's unit.
    """

    trials: NDArray[np.int64]
    quality: Floats
    errors: Floats
    differences: Differences
    costs: Floats
    tolerances: tuple[float, ...] = ()
    drop: float = DEFAULT_DROP

    def shortlist(self, keep: Sequence[int] = ()) -> Shortlist:
        """The points that are worth a person's look; ``keep`` are positions that are listed in any case."""
        return shortlist(
            self.quality, self.costs, self.differences.alike(), tolerances=self.tolerances, keep=keep
        )


def evidence_of(run: RecordedRun) -> Evidence:
    """What a run knows of its front."""
    task, metric, front = run.schema.task, run.quality, run.front
    columns = [_cost(front, name, run) for name in run.objectives if name != metric.name]
    kept = [(column, tolerance) for column, tolerance in columns if np.isfinite(column).all()]
    raw, own = front[metric.name].to_numpy(dtype=np.float64), np.full(len(front), np.nan)
    if metric.name == task.counted:
        own = _counted_errors(run)
    estimate, error = (_column(front, f"{metric.name}{end}") for end in (ESTIMATE, ESTIMATE_ERROR))
    estimated = np.isfinite(estimate)
    quality = metric.sign * np.where(estimated, estimate, raw)
    errors = np.where(estimated & np.isfinite(error), error, own)
    return Evidence(
        front["trial"].to_numpy(dtype=np.int64),
        quality,
        errors,
        _differences(run, quality, errors),
        np.column_stack([column for column, _ in kept]) if kept else np.empty((len(front), 0)),
        tuple(tolerance for _, tolerance in kept),
        drop=allowed_drop(run),
    )


def _differences(run: RecordedRun, quality: Floats, errors: Floats) -> Differences:
    """Of estimates by what the posterior says of pairs; of counts as if they were independent."""
    estimated = run.quality.name == run.schema.task.counted
    known = posterior_of(run) if estimated else None
    if known is None:
        return Differences.of_estimates(quality, errors)
    found, rows = known
    return Differences(quality[:, None] - quality[None, :], found.errors_of_pairs(rows), paired=True)


def posterior_of(run: RecordedRun) -> tuple[Posterior, NDArray[np.int64]] | None:
    """What all trials say of the share of images decided right, and the places of the front's points in it.

    None for runs without estimates, and where a count that they rest on was not recorded.
    """
    task, trials = run.schema.task, run.trials
    needed, base = [task.distance, *COUNTED], run.float_reference
    whole = base.values.get(task.counted) if base else None
    estimated = f"{task.counted}{ESTIMATE}" in run.front.columns
    if whole is None or not estimated or not set(needed) <= set(trials.columns):
        return None
    seen = trials[trials["state"].isin(["complete", "screened"])].dropna(subset=needed[:-1])
    seen = seen.drop_duplicates("trial").reset_index(drop=True)
    rows = pd.Index(seen["trial"]).get_indexer(run.front["trial"])
    if (rows < 0).any():
        return None
    columns = {name: seen[name].to_numpy(dtype=np.float64) for name in needed}
    return estimate_differences(Measurements.of(columns, task.distance), whole), rows


def allowed_drop(run: RecordedRun) -> float:
    """By how much the front's metric may be worse: what ``--max-drop`` says of it, or half a point."""
    given, metric, primary = run.spec.get("max_drop"), run.quality, run.schema.task.primary
    if isinstance(given, int | float):
        given = [f"{primary}={given}"]
    bounds = read_bounds("--max-drop", [given] if isinstance(given, str) else given or [], primary)
    return bounds.get(metric.name, DEFAULT_DROP if metric.unit == "%" else 0.0)


def _cost(front: pd.DataFrame, name: str, run: RecordedRun) -> tuple[Floats, float]:
    """An objective that is to be low, and the share of it that counts as no difference."""
    objective = objective_named(name, run.schema.task)
    values = _column(front, objective.column)
    if objective.span is not None:
        best = objective.span(0)[0]
        return np.maximum(np.abs(values - best), objective.least), 0.0
    noise = LATENCY_ERRORS * latency_noise(run) if name == "latency" else 0.0
    return np.maximum(values, objective.least), max(NEGLIGIBLE, noise)


def latency_noise(run: RecordedRun) -> float:
    """Standard error of latencies as a share of them; 0 where they are modelled or it was not recorded."""
    noise = run.summary.get("latency_noise")
    return float(noise) if isinstance(noise, int | float) else 0.0


def _column(front: pd.DataFrame, name: str) -> Floats:
    if name not in front.columns:
        return np.full(len(front), np.nan)
    return front[name].to_numpy(dtype=np.float64)


def _counted_errors(run: RecordedRun) -> Floats:
    """Paired standard errors of the front's differences to the float model, ``[points]``; NaN if unknown."""
    images = run.float_reference.images if run.float_reference else None
    if images is None or not {"lost", "won"} <= set(run.trials.columns):
        return np.full(len(run.front), np.nan)
    counts = run.trials.drop_duplicates("trial").set_index("trial").reindex(run.front["trial"])
    return paired_error(images, counts["lost"], counts["won"])
