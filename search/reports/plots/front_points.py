"""What a front plot shows: points, staircase, reference marks, limits and the visible range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bitfront.search.export.selection import KNEE, pick
from bitfront.search.problem.references import Reference
from bitfront.search.problem.wording import same_source
from bitfront.search.reports.plots.style import Axis
from bitfront.search.runs.reader import RecordedRun

Floats = NDArray[np.float64]
_REACH = 0.35
_FEW = 3
_SIDE_MARGIN = 0.07
_BOTTOM_MARGIN = 0.10
_TOP_MARGIN = 0.10


class Points(NamedTuple):
    """Points of one kind: cost in the axis's unit, top-1 in percent and trial numbers, each ``[points]``."""

    cost: Floats
    top1: Floats
    trial: NDArray[np.int64]


class Mark(NamedTuple):
    """A single labelled point."""

    name: str
    cost: float
    top1: float


class LimitLine(NamedTuple):
    """A limit drawn as a line, vertical for a cost and horizontal for top-1."""

    text: str
    value: float
    vertical: bool


class FrontInfo(NamedTuple):
    """All that a plot of top-1 against one cost draws.

    Attributes:
        axis: The cost and its unit.
        front: The front, by ascending cost.
        staircase: The part of it that no other point beats in these two objectives alone.
        dominated: Feasible trials off the front.
        infeasible: Trials that broke a limit, as far as they were evaluated.
        measured: Front points at their measured whole-model latency; empty for other costs.
        references: Float and uniform models.
        limits: Limits of this cost and of top-1.
        knee: The knee, or None for an empty front.
        floor: Lowest top-1 worth showing in percent; points may lie below it.
    """

    axis: Axis
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

    def count_below(self, top1: float) -> int:
        """How many trials are less accurate than ``top1`` percent."""
        groups = (self.front, self.dominated, self.infeasible)
        return sum(int((group.top1 < top1).sum()) for group in groups)


def collect_front(run: RecordedRun, axis: Axis) -> FrontInfo:
    """What the plot of a run's top-1 against ``axis`` shows."""
    front = run.front.sort_values([axis.column, "top1"])
    others = run.trials[~run.trials["trial"].isin(run.front["trial"])]
    points = _points(front, axis)
    limits = tuple(
        LimitLine(limit.label, limit.threshold * (axis.scale if own else 1.0), vertical=own)
        for limit in run.limits
        if (own := limit.column == axis.column) or limit.column == "top1"
    )
    return FrontInfo(
        axis=axis,
        front=points,
        staircase=_staircase(points),
        dominated=_points(others[others["feasible"]], axis),
        infeasible=_points(others[~others["feasible"]], axis),
        measured=_measured(front, axis, run),
        references=tuple(_marks(run.references, axis, run.latency_source)),
        limits=limits,
        knee=_knee(run, axis),
        floor=_floor(run),
    )


def _points(rows: pd.DataFrame, axis: Axis, column: str | None = None) -> Points:
    rows = rows.dropna(subset=[column or axis.column, "top1"])
    return Points(
        rows[column or axis.column].to_numpy(dtype=np.float64) * axis.scale,
        rows["top1"].to_numpy(dtype=np.float64),
        rows["trial"].to_numpy(dtype=np.int64),
    )


def _staircase(front: Points) -> Points:
    best = np.maximum.accumulate(np.concatenate([[-np.inf], front.top1]))
    keep = front.top1 > best[:-1]
    return Points(front.cost[keep], front.top1[keep], front.trial[keep])


def _measured(front: pd.DataFrame, axis: Axis, run: RecordedRun) -> Points:
    # Times of different sources, such as a modelled and a measured one, never share an axis.
    alike = same_source(run.latency_source, run.latency_measured_source)
    shown = front if axis.column == "latency_ms" and alike else front.iloc[:0]
    return _points(shown, axis, "latency_measured_ms")


def _marks(references: Sequence[Reference], axis: Axis, source: str) -> list[Mark]:
    marks = []
    for reference in references:
        same_source = axis.column != "latency_ms" or reference.latency_source in ("", source)
        cost = float(getattr(reference, axis.column)) * axis.scale
        if same_source and reference.top1 is not None and np.isfinite([cost, reference.top1]).all():
            marks.append(Mark(reference.name, cost, reference.top1))
    return marks


def _knee(run: RecordedRun, axis: Axis) -> Mark | None:
    if run.front.empty:
        return None
    row = pick(run.front, KNEE, run.objectives)
    cost, top1 = float(row[axis.column]) * axis.scale, float(row["top1"])
    return Mark(f"knee: trial {int(row['trial'])}", cost, top1) if np.isfinite([cost, top1]).all() else None


def _floor(run: RecordedRun) -> float:
    """Shows the whole front unless a few disasters on it would flatten the rest."""
    source = run.front if len(run.front) else run.trials
    top1 = source["top1"].dropna().to_numpy(dtype=np.float64)
    if not len(top1):
        return 0.0
    best, middle, lowest = float(top1.max()), float(np.quantile(top1, 0.25)), float(top1.min())
    floor = max(lowest, best - max(2.5 * (best - middle), 2.0))
    return float(top1[top1 >= floor].min()) if floor - lowest > 0.15 * (best - lowest) else lowest


class Window(NamedTuple):
    """The visible range: cost in the axis's unit, top-1 in percent."""

    left: float
    right: float
    bottom: float
    top: float

    def holds(self, mark: Mark) -> bool:
        """Whether a mark lies inside."""
        return self.left <= mark.cost <= self.right and self.bottom <= mark.top1 <= self.top


def window_of(info: FrontInfo) -> Window:
    """The range that shows the front well; marks and limits far to the side of it stay outside."""
    left, right = _costs(info)
    bottom, top = _accuracies(info)
    return Window(left, right, bottom, top)


def _costs(info: FrontInfo) -> tuple[float, float]:
    groups = [info.front, info.measured, info.dominated]
    if len(info.front.cost) < _FEW:
        groups.append(info.infeasible)
    costs = np.concatenate([group.cost[group.top1 >= info.floor] for group in groups])
    low, high = float(costs.min()), float(costs.max())
    reach = _REACH * max(high - low, 0.05 * high)
    marks = [m.cost for m in info.references if m.top1 >= info.floor]
    marks += [line.value for line in info.limits if line.vertical]
    near = [cost for cost in marks if low - reach <= cost <= high + reach]
    low, high = min([low, *near]), max([high, *near])
    margin = _SIDE_MARGIN * max(high - low, 0.05 * high)
    return low - margin, high + margin


def _accuracies(info: FrontInfo) -> tuple[float, float]:
    groups = [group for group in (info.front, info.dominated, info.infeasible) if len(group.top1)]
    tops = [float(group.top1.max()) for group in groups] + [mark.top1 for mark in info.references]
    tops += [line.value for line in info.limits if not line.vertical]
    height = max(max(tops) - info.floor, 0.5)
    return info.floor - _BOTTOM_MARGIN * height, max(tops) + _TOP_MARGIN * height
