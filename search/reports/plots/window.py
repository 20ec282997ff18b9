"""The visible range of a front plot."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from bitfront.search.reports.plots.front_points import FrontInfo, Mark

# Shares of the range of costs: what lies so near is shown, too, and the margins.
_REACH = 0.35
_SIDE_MARGIN = 0.07
_BOTTOM_MARGIN = 0.10
TOP_MARGIN = 0.10
# Points of a share that a picture is high at least, and standard errors that it spans.
_LEAST_HEIGHT = 0.5
LEAST_ERRORS = 4.0
# A limit is shown below all points where it lies within so many heights of the rest.
_FAR_BELOW = 0.5
_FEW = 3


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
    """The range that shows the front well, and some standard errors; what is far off stays outside."""
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
    low, high = _widened(low, high, LEAST_ERRORS * info.noise * high)
    margin = _SIDE_MARGIN * max(high - low, 0.05 * high)
    return low - margin, high + margin


def _heights(info: FrontInfo) -> tuple[float, float]:
    groups = [group for group in (info.front, info.dominated, info.infeasible) if len(group.height)]
    error = np.nan_to_num(info.listed.error, nan=0.0)
    shown = info.listed.height >= info.floor
    bottoms = [info.floor, *(info.listed.height - error)[shown]]
    tops = [float(group.height.max()) for group in groups] + [mark.height for mark in info.references]
    tops += [*(info.listed.height + error)[shown]]
    refined = info.refined
    tops += [*(refined.height + refined.error)]
    bottoms += [*(refined.height - refined.error)[refined.height >= info.floor]]
    limits = [line.value for line in info.limits if not line.vertical]
    bottom, top = float(min(bottoms)), float(max([*tops, *limits]))
    least = max(_LEAST_HEIGHT if info.quality.unit == "%" else 1e-6, LEAST_ERRORS * info.listed.largest_error)
    bottom = min([bottom, *(value for value in limits if bottom - value <= _FAR_BELOW * (top - bottom))])
    bottom, top = _widened(bottom, top, least, most=max(top, info.quality.sign * info.quality.ideal))
    return bottom - _BOTTOM_MARGIN * (top - bottom), top + TOP_MARGIN * (top - bottom)


def _widened(low: float, high: float, least: float, most: float = math.inf) -> tuple[float, float]:
    """A range that is wide enough, by as much on either side, and reaches to ``most``."""
    more = max(0.0, least - (high - low)) / 2
    above = min(high + more, most)
    return low - 2 * more + (above - high), above
