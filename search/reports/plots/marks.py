"""What stands in the picture of a front beside its points: limits, reference models, the knee, and notes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from bitfront.search.reports.plots import style
from bitfront.search.reports.plots.front_points import FrontInfo, LimitLine
from bitfront.search.reports.plots.labels import Label, Note, around, place_note
from bitfront.search.reports.plots.window import Window
from bitfront.spaces.quantities import count_of

_SAMPLES = 24
_MARKERS = {"float32": "D", "W8A8T8": "s", "W4A4T4": "v"}
_OTHER_MARKER = "P"
_SMALL = 8.0
_ABOVE_NOTE = 0.09
Place = tuple[float, float]
Places = NDArray[np.float64]


def areas(axes: Axes, texts: Sequence[Text]) -> list[Bbox]:
    """The areas of texts, in pixels."""
    renderer = style.renderer_of(axes)
    return [text.get_window_extent(renderer).padded(2.0) for text in texts]


def shifts(info: FrontInfo) -> Iterator[tuple[Place, Place]]:
    """Where front points are by the latency source, and where by measurement."""
    expected = dict(zip(info.front.trial.tolist(), info.front.cost.tolist(), strict=True))
    for cost, height, trial in zip(*info.measured, strict=True):
        yield (expected.get(int(trial), cost), height), (cost, height)


def obstacles(info: FrontInfo, window: Window) -> NDArray[np.float64]:
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
    stacks += [_between(*shift) for shift in shifts(info)]
    stacks += [
        _between((cost, start), (cost, height))
        for cost, height, _, start, _ in zip(*info.refined, strict=True)
    ]
    for cost, height, _, error, _ in zip(*info.listed, strict=True):
        if error > 0:  # thin: a text over one stays legible
            stacks.append(_between((cost, height - error), (cost, height + error))[:: _SAMPLES // 4])
    return np.concatenate(stacks)


def _between(start: Place, end: Place) -> NDArray[np.float64]:
    """Samples along a line, shape ``[samples, 2]``."""
    return np.linspace(start, end, _SAMPLES, dtype=np.float64)


def plus(behind: int) -> str:
    """How many points stand behind one, such as `` +3``; empty where none does."""
    return f" +{behind}" if behind else ""


def _number(cost: float) -> str:
    """Three digits, or all that stand before the point."""
    return f"{cost:.3g}" if cost < 1000 else f"{cost:.0f}"


def _quality(info: FrontInfo, height: float, decimals: int = 1) -> str:
    """The quality of a height, with its unit."""
    metric, value = info.quality, info.quality.sign * height
    return f"{value:.{decimals}f} %" if metric.unit == "%" else f"{value:.3g} {metric.unit}".rstrip()


def draw_limits(axes: Axes, info: FrontInfo, window: Window) -> list[Text]:
    """Dashed lines at the limits with their option beside them; returns the texts.

    A limit outside the picture is named at the edge that it lies behind.
    """
    texts: list[Text] = []
    points = obstacles(info, window)
    for line in info.limits:
        how: Any = {
            "color": style.LIMIT,
            "linewidth": style.points(1.1),
            "linestyle": (0, (5, 3)),
            "zorder": 3,
        }
        taken = [*areas(axes, texts), *_marked(axes, info, window)]
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
    points = obstacles(info, window)
    for mark in info.references:
        if window.holds(mark):
            how: Any = {
                "facecolors": "none",
                "edgecolors": style.REFERENCE,
                "lw": style.points(1.3),
                "zorder": 3,
            }
            marker = _MARKERS.get(mark.name.partition(",")[0], _OTHER_MARKER)
            axes.scatter(mark.cost, mark.height, s=style.area(60), marker=marker, **how)
            labels.append(Label(mark.name, mark.cost, mark.height))
        elif mark.cost > window.right and mark.height >= window.bottom:
            axes.axhline(
                mark.height, color=style.REFERENCE, linewidth=style.points(0.9), linestyle=":", zorder=3
            )
            quality, cost = _quality(info, mark.height), f"{_number(mark.cost)} {info.axis.unit}"
            place = f"{mark.name}: {quality} at {cost} \N{RIGHTWARDS ARROW}"
            taken = [*areas(axes, [*drawn, *texts]), *_marked(axes, info, window)]
            texts.append(_along(axes, mark.height, place, style.REFERENCE, points, taken))
    return labels, texts


def draw_knee(axes: Axes, info: FrontInfo, window: Window) -> list[Label]:
    """The knee as a star beneath its point; returns its label."""
    if info.knee is None or not window.holds(info.knee):
        return []
    how: Any = {"c": style.KNEE, "edgecolors": style.INK, "lw": style.points(0.8), "zorder": 1.5}
    axes.scatter(info.knee.cost, info.knee.height, s=style.area(330), marker="*", **how)
    here = (info.listed.cost == info.knee.cost) & (info.listed.height == info.knee.height)
    text = f"{info.knee.name}{plus(int(info.listed.behind[here].max(initial=0)))}"
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
        Note(
            (x, height),
            (style.points(offset), 0),
            {"xycoords": across, "rotation": 90, "ha": side, "va": end},
        )
        for height, end in ((_ABOVE_NOTE, "bottom"), (0.97, "top"), (0.5, "center"))
        for offset, side in ((-4, "right"), (4, "left"))
    ]
    return place_note(axes, text, notes, points, taken, color=style.LIMIT, **_small())


def _along(axes: Axes, y: float, text: str, color: str, points: Places, taken: Sequence[Bbox]) -> Text:
    """A text along a level line, where it hides least."""
    across = axes.get_yaxis_transform()
    notes = [
        Note((place, y), (0, style.points(offset)), {"xycoords": across, "ha": side, "va": end})
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
        text, right = f"{line.text} ({_number(line.value)} {info.axis.unit})", line.value > window.right
        text = f"{text} \N{RIGHTWARDS ARROW}" if right else f"\N{LEFTWARDS ARROW} {text}"
        x, side = (0.99, "right") if right else (0.01, "left")
        notes = [
            Note((x, y), (0, 0), {**how, "ha": side, "va": "center"}) for y in (0.12, 0.3, 0.5, 0.7, 0.95)
        ]
    return place_note(axes, text, notes, points, taken, color=style.LIMIT, **_small())


def _small() -> dict[str, Any]:
    """How small texts look: legible over everything else."""
    return {"fontsize": style.text(_SMALL), "zorder": 9, "path_effects": style.halo()}
