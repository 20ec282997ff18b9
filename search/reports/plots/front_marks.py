"""Marks of a front plot: limits as lines, reference models, the knee, and notes on what lies outside."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.text import Text

from bitfront.search.reports.plots import style
from bitfront.search.reports.plots.front_points import FrontInfo, Window
from bitfront.search.reports.plots.labels import Label

_MARKERS = {"float32": "D", "W8A8T8": "s", "W4A4T4": "v"}
_OTHER_MARKER = "P"
_SMALL = 8.0
_ABOVE_NOTE = 0.09


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
    """Reference models as marks, or as a line at their top-1 where they are too costly to be shown."""
    labels, texts = [], []
    for mark in info.references:
        if window.holds(mark):
            how: Any = {"c": "white", "edgecolors": style.REFERENCE, "lw": 1.3, "zorder": 7}
            marker = _MARKERS.get(mark.name, _OTHER_MARKER)
            axes.scatter(mark.cost, mark.top1, s=40, marker=marker, **how)
            labels.append(Label(mark.name, mark.cost, mark.top1))
        elif mark.cost > window.right and mark.top1 >= window.bottom:
            axes.axhline(mark.top1, color=style.REFERENCE, linewidth=0.9, linestyle=":", zorder=3)
            place = f"{mark.name}: {mark.top1:.1f} % at {mark.cost:.3g} {info.axis.unit} \N{RIGHTWARDS ARROW}"
            texts.append(_horizontal_text(axes, mark.top1, place, style.REFERENCE, above=True))
    return labels, texts


def draw_knee(axes: Axes, info: FrontInfo, window: Window) -> list[Label]:
    """The knee as a star; returns its label."""
    if info.knee is None or not window.holds(info.knee):
        return []
    how: Any = {"c": style.KNEE, "edgecolors": style.INK, "lw": 0.8, "zorder": 8}
    axes.scatter(info.knee.cost, info.knee.top1, s=190, marker="*", **how)
    return [Label(info.knee.name, info.knee.cost, info.knee.top1)]


def note_hidden(axes: Axes, info: FrontInfo, window: Window) -> list[Text]:
    """Says in the lower right corner how many points lie below the axis."""
    hidden = info.count_below(window.bottom)
    parts = [f"{hidden} points" if hidden > 1 else "1 point"] if hidden else []
    parts += [f"{m.name} ({m.top1:.1f} %)" for m in info.references if m.top1 < window.bottom]
    if not parts:
        return []
    text = f"\N{DOWNWARDS ARROW} {' and '.join(parts)} below {window.bottom:.0f} %"
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
