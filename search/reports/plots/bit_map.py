"""The bit map: one row per listed front point, one column per gene, darker for more bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from bitfront.evaluators.tasks.metric import Metric
from bitfront.search.export.selection import default_choice, shortlist_of
from bitfront.search.problem.wording import megabytes, stand_behind
from bitfront.search.reports.plots import style
from bitfront.search.runs.columns import GeneColumn
from bitfront.search.runs.reader import RecordedRun
from bitfront.spaces import KINDS

MAX_ROWS = 40
# Letters of a metric that have room beside the headings of the kinds.
LONGEST_TITLE = 12
_GAP = 1.4
_CELL = 0.2
_NARROW_CELL = 0.105
_MANY_COLUMNS = 60
_SHADES = LinearSegmentedColormap.from_list("bits", ["#E3ECF4", "#0B4F83"])


class BitMapRow(NamedTuple):
    """One front point: trial, quality in its unit, size in bytes, whether it is the knee, what is behind."""

    trial: int
    quality: float
    size_bytes: float
    knee: bool
    behind: str = ""


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
        bits: Widths, shape ``[rows, columns]``.
        widths: Every width that may occur, ascending.
        hidden: Front points that are not shown.
        quality: The metric that is written beside each row.
    """

    rows: tuple[BitMapRow, ...]
    groups: tuple[BitMapGroup, ...]
    bits: NDArray[np.int64]
    widths: tuple[int, ...]
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
    bits = shown[[gene.name for gene in genes]].to_numpy(dtype=np.int64)
    widths = {int(width) for width in run.evaluation.get("widths", ())} | set(np.unique(bits).tolist())
    rows = [
        BitMapRow(
            int(trial),
            float(value),
            float(size),
            int(trial) == knee,
            "" if everything else stand_behind(len(listed[trial].alike), len(listed[trial].near)),
        )
        for trial, value, size in zip(shown["trial"], shown[quality.name], shown["size_bytes"], strict=True)
    ]
    hidden = len(run.front) - len(rows)
    return BitMapInfo(tuple(rows), _groups(genes), bits, tuple(sorted(widths)), hidden, quality)


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


def draw_bit_map(info: BitMapInfo, title: str, subtitle: str) -> Figure:
    """Draws a bit map."""
    rows, columns = info.bits.shape
    cell = _CELL if columns < _MANY_COLUMNS else _NARROW_CELL
    span = columns + _GAP * (len(info.groups) - 1)
    with style.house_style():
        figure = style.new_figure(cell * span / 0.8, (_CELL * rows + 0.1) / 0.8)
        axes = figure.add_axes((0.1, 0.1, 0.8, 0.8))
        axes.set(xlim=(0, span), ylim=(0, rows), yticks=[])
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        for position, group in enumerate(info.groups):
            _draw_group(axes, info, group, position * _GAP)
        _label_encoders(axes, info)
        _label_rows(axes, info, span)
        style.heading(axes, title, subtitle, lift=20)
        _draw_legend(axes, info)
        return figure


def _draw_group(axes: Axes, info: BitMapInfo, group: BitMapGroup, shift: float) -> None:
    edges = np.arange(group.start, group.end + 1) + shift
    levels = np.searchsorted(info.widths, info.bits[:, group.start : group.end])
    shades = _SHADES.resampled(len(info.widths))
    bounds = BoundaryNorm(np.arange(len(info.widths) + 1) - 0.5, len(info.widths))
    rows = np.arange(len(info.rows) + 1)
    axes.pcolormesh(edges, rows, levels, cmap=shades, norm=bounds, edgecolors="white", linewidth=0.6)
    for _, start, width in group.encoders[1:]:
        if width > 1:
            axes.axvline(start + shift, color="white", linewidth=3.0)
    middle, how = (edges[0] + edges[-1]) / 2, dict[str, Any](textcoords="offset points", ha="center")
    axes.annotate(group.title, (middle, len(info.rows)), (0, 5), weight="bold", **how)


def _label_encoders(axes: Axes, info: BitMapInfo) -> None:
    narrow = info.bits.shape[1] >= _MANY_COLUMNS
    ticks = [
        (start + width / 2 + position * _GAP, encoder)
        for position, group in enumerate(info.groups)
        for encoder, start, width in group.encoders
        if width > 1 or encoder % 2 == 0 or not narrow
    ]
    axes.set_xticks([place for place, _ in ticks], [str(encoder) for _, encoder in ticks], fontsize=7.5)
    axes.tick_params(length=0, pad=2)
    axes.set_xlabel("encoder")


def _label_rows(axes: Axes, info: BitMapInfo, span: float) -> None:
    how: Any = {"textcoords": "offset points", "ha": "right", "fontsize": 8, "annotation_clip": False}
    # A long name would run into the headings of the kinds; the subtitle has it then.
    title = info.quality.title if len(info.quality.title) <= LONGEST_TITLE else "quality"
    unit = info.quality.unit or "score"
    columns = ((0, -7, "trial"), (span, 46, f"{title} ({unit})"), (span, 92, "size (MB)"))
    largest = max(point.size_bytes for point in info.rows)
    for row, point in enumerate(info.rows):
        weight = "bold" if point.knee else "normal"
        star = "\N{BLACK STAR} knee  " if point.knee else ""
        shown = f"{point.quality:.{info.quality.shown_decimals - 1}f}"
        cells = f"{star}{point.trial}", shown, megabytes(point.size_bytes, largest)
        for (x, offset, _), text in zip(columns, cells, strict=True):
            axes.annotate(text, (x, row + 0.5), (offset, 0), va="center", weight=weight, **how)
        beside: Any = {**how, "ha": "left", "va": "center", "color": style.MUTED}
        axes.annotate(point.behind, (span, row + 0.5), (98, 0), **beside)
    for x, offset, text in columns:
        axes.annotate(text, (x, len(info.rows)), (offset, 5), color=style.MUTED, **how)


def _draw_legend(axes: Axes, info: BitMapInfo) -> None:
    shades = _SHADES.resampled(len(info.widths))
    patches = [
        Patch(facecolor=shades(place), edgecolor=style.MUTED, linewidth=0.5, label=f"{width} bits")
        for place, width in enumerate(info.widths)
    ]
    axes.legend(
        handles=patches, loc="upper right", bbox_to_anchor=(1, 0), borderaxespad=2.8, ncols=len(patches)
    )
