"""Marks of a front plot: limits as lines, reference models, the knee, and notes on what lies outside."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.text import Text

from bitfront.search.reports.plots import style
from bitfront.search.reports.plots.front_points import FrontInfo, Mark, Window
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
            _point(axes, mark, _MARKERS.get(mark.name, _OTHER_MARKER), 40)
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
    axes.scatter(
        info.knee.cost,
        info.knee.top1,
        s=190,
        marker="*",
        c=style.KNEE,
        edgecolors=style.INK,
        lw=0.8,
        zorder=8,
    )
    return [Label(info.knee.name, info.knee.cost, info.knee.top1)]


def note_hidden(axes: Axes, info: FrontInfo, window: Window) -> list[Text]:
    """Says in the lower right corner how many points lie below the axis."""
    hidden = info.count_below(window.bottom)
    parts = [f"{hidden} points" if hidden > 1 else "1 point"] if hidden else []
    parts += [f"{m.name} ({m.top1:.1f} %)" for m in info.references if m.top1 < window.bottom]
    if not parts:
        return []
    text = f"\N{DOWNWARDS ARROW} {' and '.join(parts)} below {window.bottom:.0f} %"
    corner = axes.annotate(
        text,
        (0.99, 0.02),
        xycoords="axes fraction",
        ha="right",
        fontsize=_SMALL,
        color=style.MUTED,
        zorder=9,
        path_effects=style.halo(),
    )
    return [corner]


def _point(axes: Axes, mark: Mark, marker: str, size: float) -> None:
    axes.scatter(
        mark.cost, mark.top1, s=size, marker=marker, c="white", edgecolors=style.REFERENCE, lw=1.3, zorder=7
    )


def _vertical_text(axes: Axes, x: float, text: str) -> Text:
    return axes.annotate(
        text,
        (x, _ABOVE_NOTE),
        (-4, 0),
        xycoords=axes.get_xaxis_transform(),
        textcoords="offset points",
        rotation=90,
        ha="right",
        va="bottom",
        fontsize=_SMALL,
        color=style.LIMIT,
        zorder=9,
        path_effects=style.halo(),
    )


def _horizontal_text(axes: Axes, y: float, text: str, color: str, above: bool) -> Text:
    # Written on the left: no point can be both that cheap and that accurate.
    return axes.annotate(
        text,
        (0.01, y),
        (0, 3 if above else -3),
        xycoords=axes.get_yaxis_transform(),
        textcoords="offset points",
        ha="left",
        va="bottom" if above else "top",
        fontsize=_SMALL,
        color=color,
        zorder=9,
        path_effects=style.halo(),
    )
