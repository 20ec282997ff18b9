"""Drawing the front: quality against a cost, dominated points behind, limits and reference models marked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray

from bitfront.search.reports.plots import style
from bitfront.search.reports.plots.front_points import FrontInfo, Points, Window, window_of
from bitfront.search.reports.plots.labels import Label, around, place_labels

_SAMPLES = 24
_MARKERS = {"float32": "D", "W8A8T8": "s", "W4A4T4": "v"}
_OTHER_MARKER = "P"
_SMALL = 8.0
_ABOVE_NOTE = 0.09
Place = tuple[float, float]


def draw_fronts(infos: Sequence[FrontInfo], title: str, subtitle: str) -> Figure:
    """Quality against each cost, side by side on one axis of quality, better ones above."""
    windows = [window_of(info) for info in infos]
    bottom, top = min(w.bottom for w in windows), max(w.top for w in windows)
    with style.house_style():
        figure = style.new_figure(7.2 if len(infos) == 1 else 5.5 * len(infos), 4.5)
        panels = list(figure.subplots(1, len(infos), sharey=True, squeeze=False)[0])
        figure.subplots_adjust(wspace=0.07, left=0.08, right=0.98, top=0.86, bottom=0.14)
        for axes, info, window in zip(panels, infos, windows, strict=True):
            _draw_panel(axes, info, window._replace(bottom=bottom, top=top))
        quality = infos[0].quality
        panels[0].set_ylabel(f"{quality.title} on the search split ({quality.unit or 'score'})")
        if quality.sign < 0:  # drawn less the value, so that better is above
            panels[0].yaxis.set_major_formatter(lambda height, _: f"{abs(height):g}")
        style.heading(panels[0], title, subtitle)
        _legend(figure, panels)
        return figure


def _draw_panel(axes: Axes, info: FrontInfo, window: Window) -> None:
    axes.set(xlim=(window.left, window.right), ylim=(window.bottom, window.top), xlabel=info.axis.label)
    _scatter(axes, info.infeasible, "breaks a limit", marker="x", s=16, c=style.INFEASIBLE, lw=0.8, zorder=1)
    _scatter(axes, info.dominated, "dominated", marker="o", s=12, c=style.DOMINATED, lw=0, zorder=2)
    _draw_measured(axes, info)
    stairs = info.staircase
    axes.step(stairs.cost, stairs.height, where="post", color=style.FRONT, linewidth=1.5, zorder=4)
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
        axes.scatter(points.cost, points.height, label=label, **how)


def _draw_measured(axes: Axes, info: FrontInfo) -> None:
    for (expected, height), (cost, _) in _shifts(info):
        axes.plot([expected, cost], [height, height], color=style.FRONT, lw=0.7, alpha=0.6, zorder=3)
    hollow = {"facecolors": "white", "edgecolors": style.FRONT, "lw": 0.9, "s": 22, "zorder": 5}
    _scatter(axes, info.measured, "front, whole model measured", **hollow)


def _shifts(info: FrontInfo) -> Iterator[tuple[Place, Place]]:
    """Where front points are by the latency source, and where by measurement."""
    expected = dict(zip(info.front.trial.tolist(), info.front.cost.tolist(), strict=True))
    for cost, height, trial in zip(*info.measured, strict=True):
        yield (expected.get(int(trial), cost), height), (cost, height)


def _obstacles(info: FrontInfo, window: Window) -> NDArray[np.float64]:
    """Points that labels should not cover: trials, marks, and samples along the lines."""
    groups = (info.front, info.dominated, info.infeasible, info.measured)
    stacks = [np.column_stack([group.cost, group.height]) for group in groups]
    stacks += [_between((m.cost, m.height), (m.cost, m.height)) for m in info.references]
    for mark in info.references:
        if mark.cost > window.right:
            stacks.append(_between((window.left, mark.height), (window.right, mark.height)))
    for line in info.limits:
        if line.vertical:
            stacks.append(_between((line.value, window.bottom), (line.value, window.top)))
        else:
            stacks.append(_between((window.left, line.value), (window.right, line.value)))
    stairs = list(zip(info.staircase.cost, info.staircase.height, strict=True))
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


def _quality(info: FrontInfo, height: float, decimals: int = 1) -> str:
    """The quality of a height, with its unit."""
    metric, value = info.quality, info.quality.sign * height
    return f"{value:.{decimals}f} %" if metric.unit == "%" else f"{value:.3g} {metric.unit}".rstrip()


def draw_limits(axes: Axes, info: FrontInfo, window: Window) -> list[Text]:
    """Dashed lines at the limits with their option beside them; returns the texts."""
    texts = []
    for line in info.limits:
        how: Any = {"color": style.LIMIT, "linewidth": 1.1, "linestyle": (0, (5, 3)), "zorder": 3}
        if line.vertical and window.left <= line.value <= window.right:
            axes.axvline(line.value, **how)
            texts.append(_vertical_text(axes, line.value, line.text))
        elif not line.vertical and window.bottom <= line.value <= window.top:
            axes.axhline(line.value, **how)
            texts.append(_horizontal_text(axes, line.value, line.text, style.LIMIT, above=False))
    return texts


def draw_references(axes: Axes, info: FrontInfo, window: Window) -> tuple[list[Label], list[Text]]:
    """Reference models as marks, or as a line at their quality where they are too costly to be shown."""
    labels, texts = [], []
    for mark in info.references:
        if window.holds(mark):
            how: Any = {"c": "white", "edgecolors": style.REFERENCE, "lw": 1.3, "zorder": 7}
            marker = _MARKERS.get(mark.name, _OTHER_MARKER)
            axes.scatter(mark.cost, mark.height, s=40, marker=marker, **how)
            labels.append(Label(mark.name, mark.cost, mark.height))
        elif mark.cost > window.right and mark.height >= window.bottom:
            axes.axhline(mark.height, color=style.REFERENCE, linewidth=0.9, linestyle=":", zorder=3)
            quality, cost = _quality(info, mark.height), f"{mark.cost:.3g} {info.axis.unit}"
            place = f"{mark.name}: {quality} at {cost} \N{RIGHTWARDS ARROW}"
            texts.append(_horizontal_text(axes, mark.height, place, style.REFERENCE, above=True))
    return labels, texts


def draw_knee(axes: Axes, info: FrontInfo, window: Window) -> list[Label]:
    """The knee as a star; returns its label."""
    if info.knee is None or not window.holds(info.knee):
        return []
    how: Any = {"c": style.KNEE, "edgecolors": style.INK, "lw": 0.8, "zorder": 8}
    axes.scatter(info.knee.cost, info.knee.height, s=190, marker="*", **how)
    return [Label(info.knee.name, info.knee.cost, info.knee.height)]


def note_hidden(axes: Axes, info: FrontInfo, window: Window) -> list[Text]:
    """Says in the lower right corner how many points lie below the axis."""
    hidden = info.count_below(window.bottom)
    parts = [f"{hidden} points" if hidden > 1 else "1 point"] if hidden else []
    parts += [f"{m.name} ({_quality(info, m.height)})" for m in info.references if m.height < window.bottom]
    if not parts:
        return []
    side = "below" if info.quality.sign > 0 else "above"
    text = f"\N{DOWNWARDS ARROW} {' and '.join(parts)} {side} {_quality(info, window.bottom, 0)}"
    return [_note(axes, text, (0.99, 0.02), (0, 0), xycoords="axes fraction", ha="right", color=style.MUTED)]


def _vertical_text(axes: Axes, x: float, text: str) -> Text:
    how: Any = {"rotation": 90, "ha": "right", "va": "bottom", "color": style.LIMIT}
    return _note(axes, text, (x, _ABOVE_NOTE), (-4, 0), xycoords=axes.get_xaxis_transform(), **how)


def _horizontal_text(axes: Axes, y: float, text: str, color: str, above: bool) -> Text:
    # Written on the left: no point can be both that cheap and that accurate.
    offset, side = (3, "bottom") if above else (-3, "top")
    how: Any = {"xycoords": axes.get_yaxis_transform(), "ha": "left", "va": side, "color": color}
    return _note(axes, text, (0.01, y), (0, offset), **how)


def _note(axes: Axes, text: str, place: tuple[float, float], offset: tuple[float, float], **how: Any) -> Text:
    """A small text beside a place, legible over everything else."""
    how |= {"textcoords": "offset points", "fontsize": _SMALL, "zorder": 9, "path_effects": style.halo()}
    return axes.annotate(text, place, offset, **how)
