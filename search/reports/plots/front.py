"""Drawing the front: quality against a cost, dominated points behind, limits and reference models marked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from bitfront.search.reports.plots import style
from bitfront.search.reports.plots.front_points import FrontInfo, LimitLine, Mark, Points
from bitfront.search.reports.plots.labels import Label, Note, around, place_labels, place_note
from bitfront.search.reports.plots.window import Window, window_of
from bitfront.spaces.quantities import count_of

_SAMPLES = 24
_MARKERS = {"float32": "D", "W8A8T8": "s", "W4A4T4": "v"}
_OTHER_MARKER = "P"
_SMALL = 8.0
_ABOVE_NOTE = 0.09
# Trials are named where no more points than these are listed.
_LABELLED = 10
Place = tuple[float, float]
Places = NDArray[np.float64]


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
        how = ", estimated," if infos[0].estimated else ""
        panels[0].set_ylabel(f"{quality.title}{how} on the search split ({quality.unit or 'score'})")
        if quality.sign < 0:  # drawn less the value, so that better is above
            panels[0].yaxis.set_major_formatter(lambda height, _: f"{abs(height):g}")
        style.heading(panels[0], title, subtitle)
        _legend(figure, panels)
        return figure


def _draw_panel(axes: Axes, info: FrontInfo, window: Window) -> None:
    axes.set(xlim=(window.left, window.right), ylim=(window.bottom, window.top), xlabel=info.axis.label)
    _scatter(axes, info.infeasible, "breaks a limit", marker="x", s=16, c=style.INFEASIBLE, lw=0.8, zorder=2)
    _scatter(axes, info.dominated, "dominated", marker="o", s=12, c=style.DOMINATED, lw=0, zorder=2)
    _draw_measured(axes, info)
    stairs = info.staircase
    axes.step(stairs.cost, stairs.height, where="post", color=style.FRONT, linewidth=1.3, zorder=4)
    _draw_front(axes, info)
    texts = draw_limits(axes, info, window)
    labels, reference_texts = draw_references(axes, info, window, texts)
    labels = draw_knee(axes, info, window) + labels + _label_listed(info, window)
    texts += reference_texts + note_hidden(axes, info, window)
    taken = [*_areas(axes, texts), *(around(axes, label) for label in labels)]
    place_labels(axes, labels, _obstacles(info, window), taken)


def _draw_front(axes: Axes, info: FrontInfo) -> None:
    """Listed points with their errors; those that they stand for are smaller, and on top where they meet."""
    shown, listed = set(info.listed.trial.tolist()), info.listed
    rest = np.array([trial not in shown for trial in info.front.trial.tolist()], dtype=bool)
    others = Points(*(part[rest] for part in info.front))
    pale: Any = {"s": 13, "c": style.BEHIND, "edgecolors": style.FRONT, "lw": 0.5, "zorder": 7}
    _scatter(axes, others, "front, behind a listed one", **pale)
    points = Points(listed.cost, listed.height, listed.trial)
    with_errors = bool(np.isfinite(listed.error).any())
    error = " \N{PLUS-MINUS SIGN} standard error vs float"
    many = " (+n: with n behind it)" if listed.behind.any() else ""
    label = f"front, listed{many}{error * with_errors}"
    _scatter(axes, points, label, s=36, c=style.FRONT, edgecolors="white", lw=0.7, zorder=6)
    if with_errors:
        bars: Any = {"fmt": "none", "ecolor": style.FRONT, "elinewidth": 0.9, "capsize": 2.2, "capthick": 0.9}
        axes.errorbar(listed.cost, listed.height, np.nan_to_num(listed.error), zorder=5, **bars)


def _label_listed(info: FrontInfo, window: Window) -> list[Label]:
    """The trial of each listed point and what stands behind it; the knee has a label of its own."""
    knee = (info.knee.cost, info.knee.height) if info.knee else None
    return [
        Label(f"{trial}{_plus(behind)}", cost, height)
        for cost, height, trial, _, behind in zip(*info.listed, strict=True)
        if (cost, height) != knee
        and window.holds(Mark("", cost, height))
        and len(info.listed.cost) <= _LABELLED
    ]


def _plus(behind: int) -> str:
    """How many points stand behind one, such as `` +3``; empty where none does."""
    return f" +{behind}" if behind else ""


def _areas(axes: Axes, texts: Sequence[Text]) -> list[Bbox]:
    renderer = style.renderer_of(axes)
    return [text.get_window_extent(renderer).padded(2.0) for text in texts]


def _scatter(axes: Axes, points: Points, label: str, **how: Any) -> None:
    if len(points.cost):
        axes.scatter(points.cost, points.height, label=label, **how)


def _draw_measured(axes: Axes, info: FrontInfo) -> None:
    for (expected, height), (cost, _) in _shifts(info):
        axes.plot([expected, cost], [height, height], color=style.FRONT, lw=0.7, alpha=0.6, zorder=3)
    hollow = {"facecolors": "none", "edgecolors": style.FRONT, "lw": 0.9, "s": 22, "zorder": 5}
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
    for cost, height, _, error, _ in zip(*info.listed, strict=True):
        if error > 0:  # thin: a text over one stays legible
            stacks.append(_between((cost, height - error), (cost, height + error))[:: _SAMPLES // 4])
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
    """Dashed lines at the limits with their option beside them; returns the texts.

    A limit outside the picture is named at the edge that it lies behind.
    """
    texts: list[Text] = []
    points = _obstacles(info, window)
    for line in info.limits:
        how: Any = {"color": style.LIMIT, "linewidth": 1.1, "linestyle": (0, (5, 3)), "zorder": 3}
        taken = [*_areas(axes, texts), *_marked(axes, info, window)]
        if line.vertical and window.left <= line.value <= window.right:
            axes.axvline(line.value, **how)
            texts.append(_beside(axes, line.value, line.text, points, taken))
        elif not line.vertical and window.bottom <= line.value <= window.top:
            axes.axhline(line.value, **how)
            texts.append(_along(axes, line.value, line.text, style.LIMIT, points, taken))
        else:
            texts.append(_at_the_edge(axes, info, line, window, points, taken))
    return texts


def draw_references(
    axes: Axes, info: FrontInfo, window: Window, drawn: Sequence[Text] = ()
) -> tuple[list[Label], list[Text]]:
    """Reference models as hollow marks, or as a line at their quality where they cost too much to be shown.

    Args:
        axes: Where to draw.
        info: What is drawn.
        window: The visible range.
        drawn: Texts that are there.
    """
    labels: list[Label] = []
    texts: list[Text] = []
    points = _obstacles(info, window)
    for mark in info.references:
        if window.holds(mark):
            how: Any = {"facecolors": "none", "edgecolors": style.REFERENCE, "lw": 1.3, "zorder": 3}
            marker = _MARKERS.get(mark.name, _OTHER_MARKER)
            axes.scatter(mark.cost, mark.height, s=60, marker=marker, **how)
            labels.append(Label(mark.name, mark.cost, mark.height))
        elif mark.cost > window.right and mark.height >= window.bottom:
            axes.axhline(mark.height, color=style.REFERENCE, linewidth=0.9, linestyle=":", zorder=3)
            quality, cost = _quality(info, mark.height), f"{mark.cost:.3g} {info.axis.unit}"
            place = f"{mark.name}: {quality} at {cost} \N{RIGHTWARDS ARROW}"
            taken = [*_areas(axes, [*drawn, *texts]), *_marked(axes, info, window)]
            texts.append(_along(axes, mark.height, place, style.REFERENCE, points, taken))
    return labels, texts


def draw_knee(axes: Axes, info: FrontInfo, window: Window) -> list[Label]:
    """The knee as a star beneath its point; returns its label."""
    if info.knee is None or not window.holds(info.knee):
        return []
    how: Any = {"c": style.KNEE, "edgecolors": style.INK, "lw": 0.8, "zorder": 1.5}
    axes.scatter(info.knee.cost, info.knee.height, s=330, marker="*", **how)
    here = (info.listed.cost == info.knee.cost) & (info.listed.height == info.knee.height)
    text = f"{info.knee.name}{_plus(int(info.listed.behind[here].max(initial=0)))}"
    return [Label(text, info.knee.cost, info.knee.height)]


def note_hidden(axes: Axes, info: FrontInfo, window: Window) -> list[Text]:
    """Says in the lower right corner how many points lie below the axis."""
    hidden = info.count_below(window.bottom)
    parts = [count_of(hidden, "point")] if hidden else []
    parts += [f"{m.name} ({_quality(info, m.height)})" for m in info.references if m.height < window.bottom]
    if not parts:
        return []
    side = "below" if info.quality.sign > 0 else "above"
    text = f"\N{DOWNWARDS ARROW} {' and '.join(parts)} {side} {_quality(info, window.bottom, 0)}"
    how: Any = {"xycoords": "axes fraction", "ha": "right", "color": style.MUTED, **_small()}
    return [axes.annotate(text, (0.99, 0.02), (0, 0), textcoords="offset points", **how)]


def _marked(axes: Axes, info: FrontInfo, window: Window) -> list[Bbox]:
    """The areas of reference models that are shown as marks."""
    marks = (Label(mark.name, mark.cost, mark.height) for mark in info.references if window.holds(mark))
    return [around(axes, label) for label in marks]


def _beside(axes: Axes, x: float, text: str, points: Places, taken: Sequence[Bbox]) -> Text:
    """A text along an upright line, where it hides least."""
    across = axes.get_xaxis_transform()
    notes = [
        Note((x, height), (offset, 0), {"xycoords": across, "rotation": 90, "ha": side, "va": end})
        for height, end in ((_ABOVE_NOTE, "bottom"), (0.97, "top"), (0.5, "center"))
        for offset, side in ((-4, "right"), (4, "left"))
    ]
    return place_note(axes, text, notes, points, taken, color=style.LIMIT, **_small())


def _along(axes: Axes, y: float, text: str, color: str, points: Places, taken: Sequence[Bbox]) -> Text:
    """A text along a level line, where it hides least."""
    across = axes.get_yaxis_transform()
    notes = [
        Note((place, y), (0, offset), {"xycoords": across, "ha": side, "va": end})
        for place, side in ((0.01, "left"), (0.99, "right"), (0.5, "center"))
        for offset, end in ((3, "bottom"), (-3, "top"))
    ]
    return place_note(axes, text, notes, points, taken, color=color, **_small())


def _at_the_edge(
    axes: Axes, info: FrontInfo, line: LimitLine, window: Window, points: Places, taken: Sequence[Bbox]
) -> Text:
    """The name of a limit outside the picture and where it is, at the edge that it lies behind."""
    how: Any = {"xycoords": "axes fraction"}
    if not line.vertical:
        text = f"\N{DOWNWARDS ARROW} {line.text} ({_quality(info, line.value)})"
        places = ((0.02, "left"), (0.5, "center"), (0.98, "right"))
        notes = [Note((x, 0.02), (0, 0), {**how, "ha": side, "va": "bottom"}) for x, side in places]
    else:
        text, right = f"{line.text} ({line.value:.3g} {info.axis.unit})", line.value > window.right
        text = f"{text} \N{RIGHTWARDS ARROW}" if right else f"\N{LEFTWARDS ARROW} {text}"
        x, side = (0.99, "right") if right else (0.01, "left")
        notes = [
            Note((x, y), (0, 0), {**how, "ha": side, "va": "center"}) for y in (0.12, 0.3, 0.5, 0.7, 0.95)
        ]
    return place_note(axes, text, notes, points, taken, color=style.LIMIT, **_small())


def _small() -> dict[str, Any]:
    """How small texts look: legible over everything else."""
    return {"fontsize": _SMALL, "zorder": 9, "path_effects": style.halo()}
