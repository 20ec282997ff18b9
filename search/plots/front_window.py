"""The visible range of a front plot: the front in full, what lies far off left to notes at the edge."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bitfront.search.plots.front_points import FrontInfo, Mark

_REACH = 0.35
_FEW = 3
_SIDE_MARGIN = 0.07
_BOTTOM_MARGIN = 0.10
_TOP_MARGIN = 0.10


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
