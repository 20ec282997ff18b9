"""The bit map: one row per listed front point, one column per gene, darker for wider formats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from bitfront.evaluators.tasks.metric import Metric
from bitfront.search.export.selection import default_choice, shortlist_of
from bitfront.search.problem.wording import megabytes, stand_behind
from bitfront.search.reports.plots import style
from bitfront.search.reports.plots.layout import (
    Heading,
    inches,
    margin,
    text_width,
    write_heading,
    write_legend,
)
from bitfront.search.reports.plots.picture import SCREEN, PictureSize
from bitfront.search.runs.columns import GeneColumn
from bitfront.search.runs.reader import RecordedRun
from bitfront.spaces import FORMATS, KINDS, FormatName
from bitfront.spaces.formats import in_order, written_format

MAX_ROWS = 40
# Letters of a metric that have room beside the headings of the kinds.
LONGEST_TITLE = 12
# All in points: between kinds, between columns of text, the cells of a screen, the least width of one.
_GAP, _BETWEEN = 19.0, 7.0
_CELL, _NARROW_CELL, _LEAST_CELL = 14.4, 7.6, 2.6
_ROW, _TITLES, _ENCODERS = 14.4, 19.0, 25.0
_MANY_COLUMNS = 60
# Pictures that are narrower have short texts; cells are so many times as wide as high at most.
_SHORT, _WIDEST = 360.0, 1.6
# How far apart the numbers of encoders are, as a multiple of their width.
_APART = 1.25
_INCH = 72.0
_SHADES = LinearSegmentedColormap.from_list("bits", ["#E3ECF4", "#0B4F83"])
_FLOAT_SHADES = LinearSegmentedColormap.from_list("floats", ["#C9A6DA", "#5B1E78"])

_Shade = tuple[float, float, float, float]


class BitMapRow(NamedTuple):
    """One front point: trial, quality in its unit, size in bytes, whether it is the knee, what is behind."""

    trial: int
    quality: float
    size_bytes: float
    knee: bool
    behind: str = ""
    behind_short: str = ""


class BitMapGroup(NamedTuple):
    """Neighbouring columns of one kind: title, first column, and each encoder's first column and width."""

    title: str
    start: int
    encoders: tuple[tuple[int, int, int], ...]

    @property
    def end(self) -> int:
        """One past the last column."""
        _, start, width = self.encoders[-1]
        return start + width


class BitMapInfo(NamedTuple):
    """All that a bit map draws.

    Attributes:
        rows: Front points, smallest first.
        groups: Columns grouped by kind, in the order weights, activations, attention.
        levels: Positions among the formats, shape ``[rows, columns]``.
        formats: Every format that may occur, narrow to wide.
        hidden: Front points that are not shown.
        quality: The metric that is written beside each row.
    """

    rows: tuple[BitMapRow, ...]
    groups: tuple[BitMapGroup, ...]
    levels: NDArray[np.int64]
    formats: tuple[FormatName, ...]
    hidden: int
    quality: Metric


def collect_bit_map(run: RecordedRun, everything: bool = False) -> BitMapInfo:
    """The bit map of a run's shortlist, or of ``everything`` on its front.

    More than ``MAX_ROWS`` rows are thinned evenly; both ends and the knee stay.
    """
    quality, listed = run.quality, shortlist_of(run)
    front = run.front if everything else run.front[run.front["trial"].isin(listed)]
    front = front.sort_values(["size_bytes", quality.name, "trial"]).reset_index(drop=True)
    star = default_choice(run)
    knee = star.trial if star else -1
    chosen = _thin(len(front), int((front["trial"] == knee).to_numpy().argmax()))
    shown = front.iloc[chosen]
    order = (None, *KINDS)
    genes = sorted(run.genes, key=lambda gene: (order.index(gene.kind), gene.encoder))
    cells = [[written_format(value) for value in shown[gene.name]] for gene in genes]
    formats = in_order([*run.choices.every, *(value for row in cells for value in row if value is not None)])
    levels = np.array([[formats.index(value) for value in row] for row in cells], dtype=np.int64).T
    rows = [
        BitMapRow(
            int(trial),
            float(value),
            float(size),
            int(trial) == knee,
            *(("", "") if everything else _behind(len(listed[trial].alike), len(listed[trial].near))),
        )
        for trial, value, size in zip(shown["trial"], shown[quality.name], shown["size_bytes"], strict=True)
    ]
    hidden = len(run.front) - len(rows)
    return BitMapInfo(tuple(rows), _groups(genes), levels, formats, hidden, quality)


def _behind(alike: int, near: int) -> tuple[str, str]:
    """How many points stand behind one, in words and as short as in the picture of the front."""
    return stand_behind(alike, near), f"+{alike + near}" if alike + near else ""


def _thin(count: int, keep: int) -> list[int]:
    if count <= MAX_ROWS:
        return list(range(count))
    chosen = np.unique(np.linspace(0, count - 1, MAX_ROWS).round().astype(int))
    inner = 1 + int(np.abs(chosen[1:-1] - keep).argmin())
    if keep not in chosen:
        chosen[inner] = keep
    return [int(position) for position in chosen]


def _groups(genes: Sequence[GeneColumn]) -> tuple[BitMapGroup, ...]:
    groups: list[BitMapGroup] = []
    for kind in (None, *KINDS):
        columns = [position for position, gene in enumerate(genes) if gene.kind == kind]
        if columns:
            encoders = [genes[position].encoder for position in columns]
            spans = [(e, columns[encoders.index(e)], encoders.count(e)) for e in sorted(set(encoders))]
            groups.append(BitMapGroup(kind or "all bits", columns[0], tuple(spans)))
    return tuple(groups)


def draw_bit_map(info: BitMapInfo, heading: Heading, size: PictureSize = SCREEN) -> Figure:
    """Draws a bit map: its kinds beside one another, or stacked where columns would be too narrow."""
    with style.house_style(size):
        figure = style.new_figure(size.width or 1.0, 1.0)
        short = size.width is not None and size.width < inches(_SHORT)
        words = _Words.of(info, figure, short)
        columns, room = info.levels.shape[1], (size.width or 0.0) - words.left - words.right
        gaps = inches(_GAP) * (len(info.groups) - 1)
        cell = inches(_CELL if columns < _MANY_COLUMNS else _NARROW_CELL)
        if size.width is None:
            figure.set_figwidth(words.left + columns * cell + gaps + words.right)
        else:
            cell = min((room - gaps) / columns, _WIDEST * inches(_ROW))
        stacked = cell < inches(_LEAST_CELL) and len(info.groups) > 1
        top, bottom = write_heading(figure, heading) or margin(), _draw_legend(figure, info)
        rows, left = len(info.rows) * inches(_ROW), words.left
        block = inches(_TITLES) + rows + inches(_ENCODERS)
        blocks = len(info.groups) if stacked else 1
        height = top + blocks * block + bottom
        figure.set_figheight(height)
        for position, group in enumerate(info.groups):
            count = group.end - group.start
            wide = min(room / count, _WIDEST * inches(_ROW)) if stacked else cell
            below = height - top - inches(_TITLES) - rows - (position * block if stacked else 0.0)
            across, up = figure.get_figwidth(), figure.get_figheight()
            axes = figure.add_axes((left / across, below / up, wide * count / across, rows / up))
            _draw_group(axes, info, group, text_width(figure, "00", style.text(7.5)) / wide)
            if stacked or position == 0:
                _write_trials(axes, words)
            if stacked or position == len(info.groups) - 1:
                _write_figures(axes, words)
            if not stacked:
                left += wide * count + inches(_GAP)
        return figure


class _Words(NamedTuple):
    """What stands beside the rows: trials, and columns of figures, each with its width in inches."""

    rows: tuple[BitMapRow, ...]
    trials: tuple[str, ...]
    columns: tuple[tuple[str, tuple[str, ...], float], ...]
    left: float
    right: float

    @classmethod
    def of(cls, info: BitMapInfo, figure: Figure, short: bool) -> _Words:
        """Those of a bit map; ``short`` ones take little room."""
        knee = "\N{BLACK STAR} " if short else "\N{BLACK STAR} knee  "
        trials = tuple(f"{knee * row.knee}{row.trial}" for row in info.rows)
        # A long name would run into the headings of the kinds; the subtitle has it then.
        title = info.quality.title if len(info.quality.title) <= LONGEST_TITLE else "quality"
        unit, largest = info.quality.unit or "score", max(row.size_bytes for row in info.rows)
        quality = tuple(f"{row.quality:.{info.quality.shown_decimals - 1}f}" for row in info.rows)
        sizes = tuple(megabytes(row.size_bytes, largest) for row in info.rows)
        behind = tuple(row.behind_short if short else row.behind for row in info.rows)
        end = unit if short else f"({unit})"
        texts = [(f"{title} {end}", quality), ("MB" if short else "size (MB)", sizes), ("", behind)]
        size, gap = style.text(8.0), inches(_BETWEEN)

        def width(words: Sequence[str]) -> float:
            return max(text_width(figure, word, size, "bold") for word in words)

        columns = tuple((name, cells, gap + width((name, *cells))) for name, cells in texts if any(cells))
        left = margin() + gap + width(("trial", *trials))
        return cls(info.rows, trials, columns, left, sum(wide for _, _, wide in columns) + margin())


def _draw_group(axes: Axes, info: BitMapInfo, group: BitMapGroup, label: float) -> None:
    """The columns of a kind; ``label`` is how many of them the number of an encoder is wide."""
    count = len(info.rows)
    axes.set(xlim=(group.start, group.end), ylim=(0, count), yticks=[], xlabel="encoder")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    edges = np.arange(group.start, group.end + 1)
    levels, shades = info.levels[:, group.start : group.end], ListedColormap(_shades(info.formats))
    bounds = BoundaryNorm(np.arange(len(info.formats) + 1) - 0.5, len(info.formats))
    rims: Any = {"edgecolors": "white", "linewidth": style.points(0.6)}
    axes.pcolormesh(edges, np.arange(count + 1), levels, cmap=shades, norm=bounds, **rims)
    for _, start, width in group.encoders[1:]:
        if width > 1:
            axes.axvline(start, color="white", linewidth=style.points(3.0))
    how: Any = {"textcoords": "offset points", "ha": "center", "weight": "bold", "annotation_clip": False}
    middle = (group.start + group.end) / 2
    axes.annotate(group.title, (middle, count), (0, style.points(5)), fontsize=style.text(9.0), **how)
    every = math.ceil(_APART * label / group.encoders[0][2])
    ticks = [
        (start + width / 2, str(encoder)) for encoder, start, width in group.encoders if not encoder % every
    ]
    axes.set_xticks([place for place, _ in ticks], [name for _, name in ticks], fontsize=style.text(7.5))
    axes.tick_params(length=0, pad=style.points(2))
    axes.xaxis.labelpad = style.points(1.0)
    axes.xaxis.label.set_fontsize(style.text(8.5))


def _write_trials(axes: Axes, words: _Words) -> None:
    """The numbers of the trials, left of the rows."""
    left: Any = {"x": 0.0, "offset": -style.points(_BETWEEN), "ha": "right"}
    for row, (point, text) in enumerate(zip(words.rows, words.trials, strict=True)):
        _write(axes, text, row, weight="bold" if point.knee else "normal", **left)
    _write(axes, "trial", None, color=style.MUTED, **left)


def _write_figures(axes: Axes, words: _Words) -> None:
    """Quality, size and what stands behind each point, right of the rows."""
    offset = 0.0
    for name, cells, width in words.columns:
        offset += width * _INCH
        # What stands behind is no figure, and begins where its column does.
        place = (offset, "right") if name else (offset - width * _INCH + style.points(_BETWEEN), "left")
        right: Any = {"x": 1.0, "offset": place[0], "ha": place[1]}
        for row, (point, text) in enumerate(zip(words.rows, cells, strict=True)):
            look: Any = {"weight": "bold" if point.knee else "normal"} if name else {"color": style.MUTED}
            _write(axes, text, row, **look, **right)
        _write(axes, name, None, color=style.MUTED, **right)


def _write(axes: Axes, text: str, row: int | None, *, x: float, offset: float, **how: Any) -> None:
    """A text beside a row, or above all of them where that is None."""
    height, lift = (axes.get_ylim()[1], style.points(5)) if row is None else (row + 0.5, 0.0)
    place: Any = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points"}
    align = "baseline" if row is None else "center"
    more: Any = {"va": align, "fontsize": style.text(8.0), "annotation_clip": False, **place}
    axes.annotate(text, (x, height), (offset, lift), **more, **how)


def _draw_legend(figure: Figure, info: BitMapInfo) -> float:
    """The shades of the formats; returns the height in inches."""
    patches = [
        Patch(facecolor=shade, edgecolor=style.MUTED, linewidth=style.points(0.5))
        for shade in _shades(info.formats)
    ]
    return write_legend(figure, patches, [FORMATS[value].title for value in info.formats])


def _shades(formats: Sequence[FormatName]) -> list[_Shade]:
    """Integers from light to dark blue, floats from light to dark violet."""
    found: dict[FormatName, _Shade] = {}
    for floating, ramp in ((False, _SHADES), (True, _FLOAT_SHADES)):
        own = [value for value in formats if FORMATS[value].floating == floating]
        shades = ramp.resampled(max(1, len(own)))
        found |= {value: shades(place) for place, value in enumerate(own)}
    return [found[value] for value in formats]
