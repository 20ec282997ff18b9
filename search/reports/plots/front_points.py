"""What a front plot shows: points with errors, which are listed, staircase, reference marks and limits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bitfront.evaluators.tasks.metric import Metric
from bitfront.search.export.evidence import evidence_of, latency_noise
from bitfront.search.export.selection import ListedPoint, default_choice, shortlist_of
from bitfront.search.problem.objectives import ESTIMATE
from bitfront.search.problem.wording import same_source
from bitfront.search.reports.plots.style import Axis
from bitfront.search.runs.reader import RecordedRun

Floats = NDArray[np.float64]
# Points of a share: what is shown below the best at least.
LEAST_RANGE = 2.0
# So few listed points do not tell what is usual.
_FEW = 3


class Points(NamedTuple):
    """Points of one kind: cost in the axis's unit, heights and trial numbers, each ``[points]``.

    The height is the quality, estimated where the run has estimates, or less it where smaller values are
    better: higher is always better.
    """

    cost: Floats
    height: Floats
    trial: NDArray[np.int64]


class Listed(NamedTuple):
    """Points of the shortlist, or all of the front, each ``[points]``.

    Attributes:
        cost: In the axis's unit.
        height: As that of :class:`Points`.
        trial: Its number.
        error: Standard error of its difference to the float model, in the unit of heights; NaN if unknown.
        behind: How many others it stands for, int64.
    """

    cost: Floats
    height: Floats
    trial: NDArray[np.int64]
    error: Floats
    behind: NDArray[np.int64]

    @property
    def largest_error(self) -> float:
        """Of those that are known; 0 where none is."""
        return float(np.nan_to_num(self.error, nan=0.0).max(initial=0.0))


class RefinedPoints(NamedTuple):
    """Points of the front as they were refined, each ``[points]``.

    Attributes:
        cost: In the axis's unit, that of the point as it was.
        height: As that of :class:`Points`: that of the point and what refining brought on the search split.
        trial: Its number.
        start: The height of the point as it was.
        error: Paired standard error of what refining brought, in the unit of heights; 0 if unknown.
    """

    cost: Floats
    height: Floats
    trial: NDArray[np.int64]
    start: Floats
    error: Floats


class Mark(NamedTuple):
    """A single labelled point."""

    name: str
    cost: float
    height: float


class LimitLine(NamedTuple):
    """A limit drawn as a line, vertical for a cost and horizontal for the quality."""

    text: str
    value: float
    vertical: bool


class FrontInfo(NamedTuple):
    """All that a plot of quality against one cost draws.

    Attributes:
        axis: The cost and its unit.
        quality: What is drawn against it.
        front: The front, by ascending cost.
        listed: Its points that are listed.
        staircase: The part of it that no other point beats in these two objectives alone.
        dominated: Feasible trials off the front.
        infeasible: Trials that broke a limit, as far as they were evaluated.
        measured: Front points at their measured whole-model latency; empty for other costs.
        refined: Points of the front as they were refined.
        references: Float and uniform models.
        limits: Limits of this cost and of the quality.
        knee: The knee, or None for an empty front.
        floor: Lowest height worth showing; points may lie below it.
        noise: Standard error of costs, as a share of them.
        estimated: Whether heights are estimates.
    """

    axis: Axis
    quality: Metric
    front: Points
    listed: Listed
    staircase: Points
    dominated: Points
    infeasible: Points
    measured: Points
    refined: RefinedPoints
    references: tuple[Mark, ...]
    limits: tuple[LimitLine, ...]
    knee: Mark | None
    floor: float
    noise: float = 0.0
    estimated: bool = False

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(len(group.cost) for group in (self.front, self.dominated, self.infeasible))

    def count_below(self, height: float) -> int:
        """How many trials are worse than a height."""
        groups = (self.front, self.dominated, self.infeasible)
        return sum(int((group.height < height).sum()) for group in groups)


def collect_front(run: RecordedRun, axis: Axis, everything: bool = False) -> FrontInfo:
    """What the plot of a run's quality against ``axis`` shows; ``everything`` lists all points."""
    quality = run.quality
    front = run.front.sort_values([axis.column, quality.name], ascending=[True, quality.sign > 0])
    others = run.trials[~run.trials["trial"].isin(run.front["trial"])]
    points = _points(front, axis, quality)
    shown = shortlist_of(run)
    limits = tuple(
        LimitLine(limit.label, limit.threshold * (axis.scale if own else quality.sign), vertical=own)
        for limit in run.limits
        if (own := limit.column == axis.column) or limit.column == quality.name
    )
    return FrontInfo(
        axis=axis,
        quality=quality,
        front=points,
        listed=_listed(run, points, shown, everything),
        staircase=_staircase(points),
        dominated=_points(others[others["feasible"]], axis, quality),
        infeasible=_points(others[~others["feasible"]], axis, quality),
        measured=_measured(front, axis, run),
        refined=_refined(run, points),
        references=tuple(_marks(run, axis)),
        limits=limits,
        knee=_knee(run, points),
        floor=_floor(run, shown),
        noise=latency_noise(run) if axis.column == "latency_ms" else 0.0,
        estimated=f"{quality.name}{ESTIMATE}" in run.front.columns,
    )


def _listed(run: RecordedRun, points: Points, shown: Mapping[int, ListedPoint], everything: bool) -> Listed:
    found = evidence_of(run)
    errors = dict(zip(found.trials.tolist(), found.errors.tolist(), strict=True))
    kept = np.array([everything or trial in shown for trial in points.trial.tolist()], dtype=bool)
    trials = points.trial[kept]
    groups = [((), ()) if everything else shown[trial][1:] for trial in trials.tolist()]
    return Listed(
        points.cost[kept],
        points.height[kept],
        trials,
        np.array([errors[trial] for trial in trials.tolist()], dtype=np.float64),
        np.array([len(alike) + len(near) for alike, near in groups], dtype=np.int64),
    )


def heights(rows: pd.DataFrame, quality: Metric) -> Floats:
    """The quality of rows, estimated where there are estimates, so that higher is better."""
    counted = rows[quality.name].to_numpy(dtype=np.float64)
    estimates = rows.get(f"{quality.name}{ESTIMATE}")
    known = counted if estimates is None else estimates.fillna(rows[quality.name]).to_numpy(dtype=np.float64)
    return quality.sign * known


def _points(rows: pd.DataFrame, axis: Axis, quality: Metric, column: str | None = None) -> Points:
    rows = rows.dropna(subset=[column or axis.column, quality.name])
    return Points(
        rows[column or axis.column].to_numpy(dtype=np.float64) * axis.scale,
        heights(rows, quality),
        rows["trial"].to_numpy(dtype=np.int64),
    )


def _staircase(front: Points) -> Points:
    best = np.maximum.accumulate(np.concatenate([[-np.inf], front.height]))
    keep = front.height > best[:-1]
    return Points(front.cost[keep], front.height[keep], front.trial[keep])


def _measured(front: pd.DataFrame, axis: Axis, run: RecordedRun) -> Points:
    # Times of different sources, such as a modelled and a measured one, never share an axis.
    alike = same_source(run.latency_source, run.latency_measured_source)
    shown = front if axis.column == "latency_ms" and alike else front.iloc[:0]
    return _points(shown, axis, run.quality, "latency_measured_ms")


def _refined(run: RecordedRun, points: Points) -> RefinedPoints:
    known, sign = run.refined_front, run.quality.sign
    rows = [
        (cost, start + sign * gain.value, trial, start, gain.error)
        for cost, start, trial in zip(*points, strict=True)
        if int(trial) in known and (gain := known[int(trial)].search.differences[run.quality.name])
    ]
    columns = np.array(rows, dtype=np.float64).reshape(-1, 5).T
    cost, height, trials, start, error = columns
    return RefinedPoints(cost, height, trials.astype(np.int64), start, np.nan_to_num(error, nan=0.0))


def _marks(run: RecordedRun, axis: Axis) -> list[Mark]:
    marks, quality = [], run.quality
    for reference in run.references:
        timed_alike = axis.column != "latency_ms" or reference.latency_source in ("", run.latency_source)
        cost = float(reference.known(axis.column) or np.nan) * axis.scale
        height = quality.sign * reference.values.get(quality.name, np.nan)
        if timed_alike and np.isfinite([cost, height]).all():
            marks.append(Mark(reference.name, cost, height))
    return marks


def _knee(run: RecordedRun, front: Points) -> Mark | None:
    star = default_choice(run)
    for cost, height, trial in zip(*front, strict=True):
        if star and trial == star.trial:
            return Mark(f"knee: trial {trial}", float(cost), float(height))
    return None


def _floor(run: RecordedRun, shown: Collection[int]) -> float:
    """Shows the whole front unless a few disasters on it would flatten the rest.

    What is usual is told by the listed points: many that are alike say nothing about the others.
    """
    source = run.front if len(run.front) else run.trials
    if len(shown) > _FEW:
        source = source[source["trial"].isin(list(shown))]
    found = heights(source.dropna(subset=[run.quality.name]), run.quality)
    if not len(found):
        return 0.0
    best, middle, lowest = float(found.max()), float(np.quantile(found, 0.25)), float(found.min())
    least = LEAST_RANGE if run.quality.unit == "%" else 0.0
    floor = max(lowest, best - max(2.5 * (best - middle), least))
    return float(found[found >= floor].min()) if floor - lowest > 0.15 * (best - lowest) else lowest
