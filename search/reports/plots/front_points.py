"""What a front plot shows: points, staircase, reference marks, limits and the visible range."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bitfront.evaluators.tasks.metric import Metric
from bitfront.search.export.selection import default_choice
from bitfront.search.problem.wording import same_source
from bitfront.search.reports.plots.style import Axis
from bitfront.search.runs.reader import RecordedRun

Floats = NDArray[np.float64]
# Points of a share: what is shown below the best at least, and the least height of the picture.
LEAST_RANGE, _LEAST_HEIGHT = 2.0, 0.5
_REACH = 0.35
_FEW = 3
_SIDE_MARGIN = 0.07
_BOTTOM_MARGIN = 0.10
_TOP_MARGIN = 0.10


class Points(NamedTuple):
    """Points of one kind: cost in the axis's unit, heights and trial numbers, each ``[points]``.

    The height is the quality, or less it where smaller values are better: higher is always better.
    """

    cost: Floats
    height: Floats
    trial: NDArray[np.int64]


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
        staircase: The part of it that no other point beats in these two objectives alone.
        dominated: Feasible trials off the front.
        infeasible: Trials that broke a limit, as far as they were evaluated.
        measured: Front points at their measured whole-model latency; empty for other costs.
        references: Float and uniform models.
        limits: Limits of this cost and of the quality.
        knee: The knee, or None for an empty front.
        floor: Lowest height worth showing; points may lie below it.
    """

    axis: Axis
    quality: Metric
    front: Points
    staircase: Points
    dominated: Points
    infeasible: Points
    measured: Points
    references: tuple[Mark, ...]
    limits: tuple[LimitLine, ...]
    knee: Mark | None
    floor: float

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(len(group.cost) for group in (self.front, self.dominated, self.infeasible))

    def count_below(self, height: float) -> int:
        """How many trials are worse than a height."""
        groups = (self.front, self.dominated, self.infeasible)
        return sum(int((group.height < height).sum()) for group in groups)


def collect_front(run: RecordedRun, axis: Axis) -> FrontInfo:
    """What the plot of a run's quality against ``axis`` shows."""
    quality = run.quality
    front = run.front.sort_values([axis.column, quality.name], ascending=[True, quality.sign > 0])
    others = run.trials[~run.trials["trial"].isin(run.front["trial"])]
    points = _points(front, axis, quality)
    limits = tuple(
        LimitLine(limit.label, limit.threshold * (axis.scale if own else quality.sign), vertical=own)
        for limit in run.limits
        if (own := limit.column == axis.column) or limit.column == quality.name
    )
    return FrontInfo(
        axis=axis,
        quality=quality,
        front=points,
        staircase=_staircase(points),
        dominated=_points(others[others["feasible"]], axis, quality),
        infeasible=_points(others[~others["feasible"]], axis, quality),
        measured=_measured(front, axis, run),
        references=tuple(_marks(run, axis)),
        limits=limits,
        knee=_knee(run, axis),
        floor=_floor(run),
    )


def _points(rows: pd.DataFrame, axis: Axis, quality: Metric, column: str | None = None) -> Points:
    rows = rows.dropna(subset=[column or axis.column, quality.name])
    return Points(
        rows[column or axis.column].to_numpy(dtype=np.float64) * axis.scale,
        quality.sign * rows[quality.name].to_numpy(dtype=np.float64),
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


def _marks(run: RecordedRun, axis: Axis) -> list[Mark]:
    marks, quality = [], run.quality
    for reference in run.references:
        timed_alike = axis.column != "latency_ms" or reference.latency_source in ("", run.latency_source)
        cost = float(getattr(reference, axis.column)) * axis.scale
        height = quality.sign * reference.values.get(quality.name, np.nan)
        if timed_alike and np.isfinite([cost, height]).all():
            marks.append(Mark(reference.name, cost, height))
    return marks


def _knee(run: RecordedRun, axis: Axis) -> Mark | None:
    star = default_choice(run)
    if star is None:
        return None
    row = run.front[run.front["trial"] == star.trial].iloc[0]
    cost = float(row[axis.column]) * axis.scale
    height = run.quality.sign * float(row[run.quality.name])
    return (
        Mark(f"knee: trial {int(row['trial'])}", cost, height) if np.isfinite([cost, height]).all() else None
    )


def _floor(run: RecordedRun) -> float:
    """Shows the whole front unless a few disasters on it would flatten the rest."""
    source = run.front if len(run.front) else run.trials
    heights = run.quality.sign * source[run.quality.name].dropna().to_numpy(dtype=np.float64)
    if not len(heights):
        return 0.0
    best, middle, lowest = float(heights.max()), float(np.quantile(heights, 0.25)), float(heights.min())
    least = LEAST_RANGE if run.quality.unit == "%" else 0.0
    floor = max(lowest, best - max(2.5 * (best - middle), least))
    return float(heights[heights >= floor].min()) if floor - lowest > 0.15 * (best - lowest) else lowest


class Window(NamedTuple):
    """The visible range: cost in the axis's unit, and heights."""

    left: float
    right: float
    bottom: float
    top: float

    def holds(self, mark: Mark) -> bool:
        """Whether a mark lies inside."""
        return self.left <= mark.cost <= self.right and self.bottom <= mark.height <= self.top


def window_of(info: FrontInfo) -> Window:
    """The range that shows the front well; marks and limits far to the side of it stay outside."""
    left, right = _costs(info)
    bottom, top = _heights(info)
    return Window(left, right, bottom, top)


def _costs(info: FrontInfo) -> tuple[float, float]:
    groups = [info.front, info.measured, info.dominated]
    if len(info.front.cost) < _FEW:
        groups.append(info.infeasible)
    costs = np.concatenate([group.cost[group.height >= info.floor] for group in groups])
    low, high = float(costs.min()), float(costs.max())
    reach = _REACH * max(high - low, 0.05 * high)
    marks = [m.cost for m in info.references if m.height >= info.floor]
    marks += [line.value for line in info.limits if line.vertical]
    near = [cost for cost in marks if low - reach <= cost <= high + reach]
    low, high = min([low, *near]), max([high, *near])
    margin = _SIDE_MARGIN * max(high - low, 0.05 * high)
    return low - margin, high + margin


def _heights(info: FrontInfo) -> tuple[float, float]:
    groups = [group for group in (info.front, info.dominated, info.infeasible) if len(group.height)]
    tops = [float(group.height.max()) for group in groups] + [mark.height for mark in info.references]
    tops += [line.value for line in info.limits if not line.vertical]
    height = max(max(tops) - info.floor, _LEAST_HEIGHT if info.quality.unit == "%" else 1e-6)
    return info.floor - _BOTTOM_MARGIN * height, max(tops) + _TOP_MARGIN * height
