"""Drawing the bit map: one row per front point, one column per gene, darker for more bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap, ListedColormap
from matplotlib.patches import Patch

from bitfront.search.plots import style
from bitfront.search.plots.bit_map_rows import BitMapGroup, BitMapInfo
from bitfront.search.wording import megabytes

_GAP = 1.4
_CELL = 0.2
_NARROW_CELL = 0.105
_MANY_COLUMNS = 60
_SHADES = LinearSegmentedColormap.from_list("bits", ["#E3ECF4", "#0B4F83"])


def draw_bit_map(info: BitMapInfo, path: Path, title: str, subtitle: str) -> Path:
    """Draws a bit map; returns the path of the PNG."""
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
        return style.save(figure, path)


def _colors(info: BitMapInfo) -> list[tuple[float, float, float, float]]:
    return [_SHADES(value) for value in np.linspace(0.0, 1.0, len(info.widths))]


def _draw_group(axes: Axes, info: BitMapInfo, group: BitMapGroup, shift: float) -> None:
    edges = np.arange(group.start, group.end + 1) + shift
    levels = np.searchsorted(info.widths, info.bits[:, group.start : group.end])
    shades = ListedColormap(_colors(info))
    bounds = BoundaryNorm(np.arange(len(info.widths) + 1) - 0.5, len(info.widths))
    rows = np.arange(len(info.rows) + 1)
    axes.pcolormesh(edges, rows, levels, cmap=shades, norm=bounds, edgecolors="white", linewidth=0.6)
    for _, start, width in group.encoders[1:]:
        if width > 1:
            axes.axvline(start + shift, color="white", linewidth=3.0)
    axes.annotate(
        group.title,
        ((edges[0] + edges[-1]) / 2, len(info.rows)),
        (0, 5),
        textcoords="offset points",
        ha="center",
        weight="bold",
    )


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
    def write(x: float, row: float, offset: tuple[float, float], text: str, weight: str, color: str) -> None:
        axes.annotate(
            text,
            (x, row),
            offset,
            textcoords="offset points",
            ha="right",
            va="baseline" if offset[1] else "center",
            fontsize=8,
            weight=weight,
            color=color,
            annotation_clip=False,
        )

    largest = max(point.size_bytes for point in info.rows)
    for row, point in enumerate(info.rows):
        weight = "bold" if point.knee else "normal"
        star = "\N{BLACK STAR} knee  " if point.knee else ""
        write(0, row + 0.5, (-7, 0), f"{star}{point.trial}", weight, style.INK)
        write(span, row + 0.5, (46, 0), f"{point.top1:.1f}", weight, style.INK)
        write(span, row + 0.5, (92, 0), megabytes(point.size_bytes, largest), weight, style.INK)
    for x, offset, text in ((0, -7, "trial"), (span, 46, "top-1 (%)"), (span, 92, "size (MB)")):
        write(x, len(info.rows), (offset, 5), text, "normal", style.MUTED)


def _draw_legend(axes: Axes, info: BitMapInfo) -> None:
    patches = [
        Patch(facecolor=color, edgecolor=style.MUTED, linewidth=0.5, label=f"{width} bits")
        for color, width in zip(_colors(info), info.widths, strict=True)
    ]
    axes.legend(
        handles=patches, loc="upper right", bbox_to_anchor=(1, 0), borderaxespad=2.8, ncols=len(patches)
    )
