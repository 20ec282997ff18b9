"""Placing point labels so that they cover neither points nor one another."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from bitfront.search.reports.plots import style
from bitfront.search.reports.plots.style import MUTED, halo, renderer_of

FONT_SIZE = 8.5
_DIRECTIONS = ((1, 0), (0, 1), (1, 1), (-1, 1), (0, -1), (1, -1), (-1, 0), (-1, -1))
_DISTANCES = (9.0, 16.0, 28.0, 44.0, 62.0)
_FAR = 20.0
_MARKER = 10.0
# Points between labels, as far as their padding reaches.
_AIR = 1.0
# How often each label chooses, and the points of a leader that are looked at.
_TURNS, _SAMPLES = 3, 12
Pixels = NDArray[np.float64]
# Pixels between a note and what it must not touch.
_CLEAR = 5.0
_ALIGN_X = {-1: "right", 0: "center", 1: "left"}
_ALIGN_Y = {-1: "top", 0: "center", 1: "bottom"}


class Label(NamedTuple):
    """A text that belongs to a point in data coordinates."""

    text: str
    x: float
    y: float


class Spot(NamedTuple):
    """A place for a text: direction and distance from its point, and the area covered in pixels."""

    direction: tuple[int, int]
    distance: float
    area: Bbox


class Note(NamedTuple):
    """A place for a text beside a line: coordinates, offset in points, and how it is aligned and turned."""

    place: tuple[float, float]
    offset: tuple[float, float]
    how: Mapping[str, Any]


def place_note(
    axes: Axes,
    text: str,
    notes: Sequence[Note],
    points: NDArray[np.float64],
    taken: Sequence[Bbox] = (),
    **look: Any,
) -> Text:
    """Writes a text at the one of some places that hides least; of equal ones the first.

    Args:
        axes: Where to write; its limits are final.
        text: The text.
        notes: Where it may stand.
        points: Data coordinates not to be covered, shape ``[points, 2]``.
        taken: Areas already used by other texts, in pixels.
        look: Of the text.
    """
    pixels = axes.transData.transform(points) if len(points) else np.empty((0, 2))
    renderer = renderer_of(axes)
    inside = axes.get_window_extent(renderer).padded(2.0 * _CLEAR)
    written = [
        axes.annotate(text, note.place, note.offset, textcoords="offset points", **look, **note.how)
        for note in notes
    ]
    areas = [found.get_window_extent(renderer).padded(_CLEAR) for found in written]
    best = int(np.argmin([_hidden(area, pixels, taken, inside) for area in areas]))
    for other in written[:best] + written[best + 1 :]:
        other.remove()
    return written[best]


def place_labels(
    axes: Axes, labels: Sequence[Label], points: NDArray[np.float64], taken: Sequence[Bbox] = ()
) -> list[Bbox]:
    """Writes each label at the spot around its point that hides least; a far label gets a thin leader.

    Args:
        axes: Where to write; its limits are final.
        labels: In order of importance: earlier ones choose first.
        points: Data coordinates not to be covered, shape ``[points, 2]``.
        taken: Areas already used by other texts, in pixels.

    Returns:
        The areas in use afterwards, in pixels.
    """
    pixels = axes.transData.transform(points) if len(points) else np.empty((0, 2))
    renderer = renderer_of(axes)
    inside = axes.get_window_extent(renderer)
    owners = axes.transData.transform([(label.x, label.y) for label in labels]).reshape(-1, 2)
    spots = [list(_spots(axes, renderer, label)) for label in labels]
    own = [
        np.array([_hidden(spot.area, pixels, taken, inside) + _astray(spot, owner, owners) for spot in found])
        for found, owner in zip(spots, owners, strict=True)
    ]
    chosen: dict[int, Spot] = {}
    for turn in range(_TURNS * len(labels)):  # later turns know where the labels behind are
        here = turn % len(labels)
        others = [spot.area for number, spot in chosen.items() if number != here]
        costs = [
            cost + spot.distance / 10.0 + _met(spot, owners[here], [*taken, *others], len(taken))
            for spot, cost in zip(spots[here], own[here], strict=True)
        ]
        chosen[here] = spots[here][int(np.argmin(costs))]
    for number, label in enumerate(labels):
        _write(axes, label, chosen[number])
    return [*taken, *(chosen[number].area for number in range(len(labels)))]


def around(axes: Axes, label: Label) -> Bbox:
    """The area of a label's marker, in pixels."""
    x, y = axes.transData.transform((label.x, label.y))
    return Bbox.from_bounds(x, y, 0.0, 0.0).padded(style.points(_MARKER / 2) * axes.figure.dpi / 72.0)


def _spots(axes: Axes, renderer: RendererAgg, label: Label) -> Iterator[Spot]:
    probe = axes.text(label.x, label.y, label.text, fontsize=style.text(FONT_SIZE))
    size = probe.get_window_extent(renderer)
    probe.remove()
    x, y = axes.transData.transform((label.x, label.y))
    per_point = style.points(axes.figure.dpi / 72.0)
    for distance, (dx, dy) in itertools.product(_DISTANCES, _DIRECTIONS):
        left = x + dx * distance * per_point - size.width * (1 - dx) / 2
        bottom = y + dy * distance * per_point - size.height * (1 - dy) / 2
        air = _AIR * per_point  # to the sides: lines have room between them already
        area = Bbox.from_bounds(left - air, bottom, size.width + 2 * air, size.height)
        yield Spot((dx, dy), distance, area)


def _astray(spot: Spot, owner: Pixels, owners: Pixels) -> float:
    """What it costs to stand nearer to another labelled point, unless a leader says whose label it is."""
    middle = (spot.area.p0 + spot.area.p1) / 2
    nearest = float(np.hypot(*(owners - middle).T).min())
    return 6.0 * float(spot.distance <= _FAR and nearest + 1.0 < float(np.hypot(*(owner - middle))))


def _met(spot: Spot, owner: Pixels, boxes: Sequence[Bbox], known: int) -> float:
    """What a label and its leader hide of other texts, of which the first ``known`` are counted elsewhere."""
    found = 20.0 * sum(bool(spot.area.overlaps(box)) for box in boxes[known:])
    if spot.distance > _FAR:
        line = np.linspace(owner, (spot.area.p0 + spot.area.p1) / 2, _SAMPLES)
        found += 5.0 * sum(bool(((line >= box.p0) & (line <= box.p1)).all(axis=1)[1:].any()) for box in boxes)
    return found


def _hidden(area: Bbox, pixels: NDArray[np.float64], used: Sequence[Bbox], inside: Bbox) -> float:
    """What a text in an area hides: other texts, points, and itself outside the axes."""
    within = (pixels >= area.p0).all(axis=1) & (pixels <= area.p1).all(axis=1)
    overlaps = sum(bool(area.overlaps(box)) for box in used)
    outside = bool(area.x0 < inside.x0 or area.x1 > inside.x1 or area.y0 < inside.y0 or area.y1 > inside.y1)
    return 20.0 * overlaps + 50.0 * float(outside) + 1.5 * float(within.sum())


def _write(axes: Axes, label: Label, spot: Spot) -> None:
    (dx, dy), distance = spot.direction, spot.distance
    axes.annotate(
        label.text,
        (label.x, label.y),
        (style.points(dx * distance), style.points(dy * distance)),
        textcoords="offset points",
        ha=_ALIGN_X[dx],
        va=_ALIGN_Y[dy],
        fontsize=style.text(FONT_SIZE),
        zorder=9,
        path_effects=halo(),
        arrowprops={"arrowstyle": "-", "color": MUTED, "lw": 0.6, "shrinkB": 6} if distance > _FAR else None,
    )
