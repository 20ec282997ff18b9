"""Drawing the front: quality against a cost, dominated points behind, limits and reference models marked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bitfront.search.reports.plots import style
from bitfront.search.reports.plots.front_points import FrontInfo, Mark, Points
from bitfront.search.reports.plots.labels import Label, around, place_labels
from bitfront.search.reports.plots.layout import Heading, fit, inches, write_heading, write_legend
from bitfront.search.reports.plots.marks import (
    areas,
    draw_knee,
    draw_limits,
    draw_references,
    note_hidden,
    obstacles,
    plus,
    shifts,
)
from bitfront.search.reports.plots.picture import SCREEN, PictureSize
from bitfront.search.reports.plots.window import TOP_MARGIN, Window, window_of

# Trials are named where no more points than these are listed.
_LABELLED = 10
# Points of width, from which on panels stand side by side, and those of a picture on a screen.
_BESIDE, _ALONE, _PANEL = 430.0, 518.0, 396.0
# Panels beside one another at most, where more than that would be small.
_IN_A_ROW = 3
# Height of a panel as a share of its width, and in points at most.
_ASPECT, _HIGHEST = 0.66, 235.0
# Points above the highest mark, so that its name has room.
_ABOVE = 26.0
# Draws into the axes of the panel of a number.
DrawPoints = Callable[[Axes, int], None]
WriteTexts = Callable[[Axes, int, Window], None]


def draw_fronts(infos: Sequence[FrontInfo], heading: Heading, size: PictureSize = SCREEN) -> Figure:
    """Quality against each cost, side by side on one axis of quality, better ones above."""
    return draw_panels(
        infos,
        heading,
        size,
        lambda axes, panel: _draw_points(axes, infos[panel]),
        lambda axes, panel, window: _write_texts(axes, infos[panel], window),
    )


def draw_panels(
    views: Sequence[FrontInfo],
    heading: Heading,
    size: PictureSize,
    draw_points: DrawPoints,
    write_texts: WriteTexts,
) -> Figure:
    """Panels of quality against a cost, beside one another where there is room, and stacked elsewhere.

    More than three stand in rows of two.

    Args:
        views: What the range of each panel is to show, and its axis.
        heading: What stands above.
        size: Of the picture.
        draw_points: Draws what is in the legend.
        write_texts: Draws marks and texts, when the place of the panel is final.
    """
    windows = [window_of(view) for view in views]
    with style.house_style(size):
        most = len(views) if len(views) <= _IN_A_ROW else 2
        width = size.width or inches(_ALONE if most == 1 else _PANEL * most)
        beside = most if width >= inches(_BESIDE) else 1
        rows = math.ceil(len(views) / beside)
        height = min(_ASPECT * width / beside, inches(_HIGHEST))
        bottom, top = min(w.bottom for w in windows), max(w.top for w in windows)
        top += max(0.0, inches(_ABOVE) / height - TOP_MARGIN) * (top - bottom)
        windows = [window._replace(bottom=bottom, top=top) for window in windows]
        figure = style.new_figure(width, width)
        panels = list(figure.subplots(rows, beside, sharey=True, squeeze=False).flat)
        for empty in panels[len(views) :]:
            empty.remove()
        panels = panels[: len(views)]
        for number, (axes, view, window) in enumerate(zip(panels, views, windows, strict=True)):
            axes.set(xlim=(window.left, window.right), ylim=(window.bottom, window.top))
            axes.set(xlabel=view.axis.label, ylabel="" if number % beside else _quality_label(view))
            if view.quality.sign < 0:  # drawn less the value, so that better is above
                axes.yaxis.set_major_formatter(lambda height, _: f"{abs(height):g}")
            draw_points(axes, number)
        fit(figure, panels, rows, height, write_heading(figure, heading), _legend(figure, panels))
        for number, (axes, window) in enumerate(zip(panels, windows, strict=True)):
            write_texts(axes, number, window)
        return figure


def _quality_label(info: FrontInfo) -> str:
    how = ", estimated," if info.estimated else ""
    return f"{info.quality.title}{how} on the search split ({info.quality.unit or 'score'})"


def scatter(axes: Axes, points: Points, label: str, **how: Any) -> None:
    """Draws points as marks of an area in square points, if there are any."""
    if len(points.cost):
        how |= {name: style.points(how[name]) for name in ("lw",) if name in how}
        axes.scatter(points.cost, points.height, label=label, **{**how, "s": style.area(how["s"])})


def _draw_points(axes: Axes, info: FrontInfo) -> None:
    scatter(axes, info.infeasible, "breaks a limit", marker="x", s=16, c=style.INFEASIBLE, lw=0.8, zorder=2)
    scatter(axes, info.dominated, "dominated", marker="o", s=12, c=style.DOMINATED, lw=0, zorder=2)
    _draw_measured(axes, info)
    draw_stairs(axes, info.staircase, color=style.FRONT)
    _draw_front(axes, info)
    _draw_refined(axes, info)


def draw_stairs(axes: Axes, stairs: Points, **how: Any) -> None:
    """The staircase of a front as a line."""
    axes.step(
        stairs.cost, stairs.height, where="post", **{"linewidth": style.points(1.3), "zorder": 4, **how}
    )


def _write_texts(axes: Axes, info: FrontInfo, window: Window) -> None:
    texts = draw_limits(axes, info, window)
    labels, reference_texts = draw_references(axes, info, window, texts)
    labels = draw_knee(axes, info, window) + labels + _label_refined(info, window)
    labels += _label_listed(info, window)
    texts += reference_texts + note_hidden(axes, info, window)
    taken = [*areas(axes, texts), *(around(axes, label) for label in labels)]
    place_labels(axes, labels, obstacles(info, window), taken)


def draw_errors(axes: Axes, info: FrontInfo, color: str) -> bool:
    """Standard errors of listed points as bars; returns whether any is known."""
    listed, with_errors = info.listed, bool(np.isfinite(info.listed.error).any())
    if with_errors:
        bars: Any = {"fmt": "none", "ecolor": color, "elinewidth": style.points(0.9), "zorder": 5}
        caps: Any = {"capsize": style.points(2.2), "capthick": style.points(0.9)}
        axes.errorbar(listed.cost, listed.height, np.nan_to_num(listed.error), **bars, **caps)
    return with_errors


def _draw_front(axes: Axes, info: FrontInfo) -> None:
    """Listed points with their errors; those that they stand for are smaller, and on top where they meet."""
    shown, listed = set(info.listed.trial.tolist()), info.listed
    rest = np.array([trial not in shown for trial in info.front.trial.tolist()], dtype=bool)
    others = Points(*(part[rest] for part in info.front))
    pale: Any = {"s": 13, "c": style.BEHIND, "edgecolors": style.FRONT, "lw": 0.5, "zorder": 7}
    scatter(axes, others, "front, behind a listed one", **pale)
    points = Points(listed.cost, listed.height, listed.trial)
    error = " \N{PLUS-MINUS SIGN} standard error vs float"
    many = " (+n: with n behind it)" if listed.behind.any() else ""
    label = f"front, listed{many}{error * draw_errors(axes, info, style.FRONT)}"
    scatter(axes, points, label, s=36, c=style.FRONT, edgecolors="white", lw=0.7, zorder=6)


def _draw_refined(axes: Axes, info: FrontInfo) -> None:
    """Refined points as diamonds, each on a line from the point that it was."""
    found = info.refined
    how: Any = {"color": style.REFINED, "zorder": 6}
    for cost, height, _, start, _ in zip(*found, strict=True):
        axes.plot([cost, cost], [start, height], lw=style.points(1.1), linestyle=(0, (2, 1.2)), **how)
    bars: Any = {"fmt": "none", "elinewidth": style.points(0.9), "ecolor": style.REFINED, "zorder": 6}
    if (found.error > 0).any():
        axes.errorbar(found.cost, found.height, found.error, capsize=style.points(2.2), **bars)
    look: Any = {"s": 44, "marker": "D", "c": style.REFINED, "edgecolors": "white", "lw": 0.7, "zorder": 8}
    label = "refined, from its point \N{PLUS-MINUS SIGN} standard error of what that brought"
    scatter(axes, Points(found.cost, found.height, found.trial), label, **look)


def _label_refined(info: FrontInfo, window: Window) -> list[Label]:
    """The trial of each refined point."""
    marks = zip(info.refined.cost, info.refined.height, info.refined.trial, strict=True)
    return [
        Label(f"{trial} refined", cost, height)
        for cost, height, trial in marks
        if window.holds(Mark("", cost, height))
    ]


def _label_listed(info: FrontInfo, window: Window) -> list[Label]:
    """The trial of each listed point and what stands behind it; the knee has a label of its own."""
    knee = (info.knee.cost, info.knee.height) if info.knee else None
    return [
        Label(f"{trial}{plus(behind)}", cost, height)
        for cost, height, trial, _, behind in zip(*info.listed, strict=True)
        if (cost, height) != knee
        and window.holds(Mark("", cost, height))
        and len(info.listed.cost) <= _LABELLED
    ]


def _draw_measured(axes: Axes, info: FrontInfo) -> None:
    for (expected, height), (cost, _) in shifts(info):
        axes.plot(
            [expected, cost], [height, height], color=style.FRONT, lw=style.points(0.7), alpha=0.6, zorder=3
        )
    hollow = {"facecolors": "none", "edgecolors": style.FRONT, "lw": 0.9, "s": 22, "zorder": 5}
    scatter(axes, info.measured, "front, whole model measured", **hollow)


def _legend(figure: Figure, panels: Sequence[Axes]) -> float:
    handles: dict[str, Any] = {}
    for axes in panels:
        found = axes.get_legend_handles_labels()
        handles.update(dict(zip(reversed(found[1]), reversed(found[0]), strict=True)))
    return write_legend(figure, list(handles.values()), list(handles))
