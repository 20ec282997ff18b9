"""Drawing the front: top-1 against a cost, dominated points behind, limits and reference models marked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bitfront.search.reports.plots import style
from bitfront.search.reports.plots.front_marks import draw_knee, draw_limits, draw_references, note_hidden
from bitfront.search.reports.plots.front_points import FrontInfo, Points, Window, window_of
from bitfront.search.reports.plots.labels import around, place_labels

_SAMPLES = 24
Place = tuple[float, float]


def draw_fronts(infos: Sequence[FrontInfo], title: str, subtitle: str) -> Figure:
    """Top-1 against each cost, side by side on one top-1 axis."""
    windows = [window_of(info) for info in infos]
    bottom, top = min(w.bottom for w in windows), max(w.top for w in windows)
    with style.house_style():
        figure = style.new_figure(7.2 if len(infos) == 1 else 5.5 * len(infos), 4.5)
        panels = list(figure.subplots(1, len(infos), sharey=True, squeeze=False)[0])
        figure.subplots_adjust(wspace=0.07, left=0.08, right=0.98, top=0.86, bottom=0.14)
        for axes, info, window in zip(panels, infos, windows, strict=True):
            _draw_panel(axes, info, window._replace(bottom=bottom, top=top))
        panels[0].set_ylabel("top-1 on the search split (%)")
        style.heading(panels[0], title, subtitle)
        _legend(figure, panels)
        return figure


def _draw_panel(axes: Axes, info: FrontInfo, window: Window) -> None:
    axes.set(xlim=(window.left, window.right), ylim=(window.bottom, window.top), xlabel=info.axis.label)
    _scatter(axes, info.infeasible, "breaks a limit", marker="x", s=16, c=style.INFEASIBLE, lw=0.8, zorder=1)
    _scatter(axes, info.dominated, "dominated", marker="o", s=12, c=style.DOMINATED, lw=0, zorder=2)
    _draw_measured(axes, info)
    stairs = info.staircase
    axes.step(stairs.cost, stairs.top1, where="post", color=style.FRONT, linewidth=1.5, zorder=4)
    _scatter(axes, info.front, "front", s=34, c=style.FRONT, edgecolors="white", lw=0.7, zorder=6)
    texts = draw_limits(axes, info, window)
    labels, reference_texts = draw_references(axes, info, window)
    labels = draw_knee(axes, info, window) + labels
    texts += reference_texts + note_hidden(axes, info, window)
    renderer = style.renderer_of(axes)
    taken = [text.get_window_extent(renderer).padded(2.0) for text in texts]
    taken += [around(axes, label) for label in labels]
    place_labels(axes, labels, _obstacles(info, window), taken)


def _scatter(axes: Axes, points: Points, label: str, **how: Any) -> None:
    if len(points.cost):
        axes.scatter(points.cost, points.top1, label=label, **how)


def _draw_measured(axes: Axes, info: FrontInfo) -> None:
    for (expected, top1), (cost, _) in _shifts(info):
        axes.plot([expected, cost], [top1, top1], color=style.FRONT, lw=0.7, alpha=0.6, zorder=3)
    hollow = {"facecolors": "white", "edgecolors": style.FRONT, "lw": 0.9, "s": 22, "zorder": 5}
    _scatter(axes, info.measured, "front, whole model measured", **hollow)


def _shifts(info: FrontInfo) -> Iterator[tuple[Place, Place]]:
    """Where front points are by the latency source, and where by measurement."""
    expected = dict(zip(info.front.trial.tolist(), info.front.cost.tolist(), strict=True))
    for cost, top1, trial in zip(*info.measured, strict=True):
        yield (expected.get(int(trial), cost), top1), (cost, top1)


def _obstacles(info: FrontInfo, window: Window) -> NDArray[np.float64]:
    """Points that labels should not cover: trials, marks, and samples along the lines."""
    groups = (info.front, info.dominated, info.infeasible, info.measured)
    stacks = [np.column_stack([group.cost, group.top1]) for group in groups]
    stacks += [_between((m.cost, m.top1), (m.cost, m.top1)) for m in info.references]
    for mark in info.references:
        if mark.cost > window.right:
            stacks.append(_between((window.left, mark.top1), (window.right, mark.top1)))
    for line in info.limits:
        if line.vertical:
            stacks.append(_between((line.value, window.bottom), (line.value, window.top)))
        else:
            stacks.append(_between((window.left, line.value), (window.right, line.value)))
    stairs = list(zip(info.staircase.cost, info.staircase.top1, strict=True))
    for (left, low), (right, high) in itertools.pairwise(stairs):
        stacks += [_between((left, low), (right, low)), _between((right, low), (right, high))]
    stacks += [_between(*shift) for shift in _shifts(info)]
    return np.concatenate(stacks)


def _between(start: Place, end: Place) -> NDArray[np.float64]:
    """Samples along a line, shape ``[samples, 2]``."""
    return np.linspace(start, end, _SAMPLES, dtype=np.float64)


def _legend(figure: Figure, panels: Sequence[Axes]) -> None:
    handles = {}
    for axes in panels:
        found = axes.get_legend_handles_labels()
        handles.update(dict(zip(reversed(found[1]), reversed(found[0]), strict=True)))
    place: Any = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.03)}
    figure.legend(handles.values(), handles.keys(), ncols=len(handles), **place)
