"""Drawing a benchmark: the median time of every candidate by batch, with a whisker to p90."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from bitfront.search.reports.plots import style

# By what computes: colours that differ in lightness too. Baselines are hatched.
_COLOURS = {
    "quantized": style.FRONT,
    "bfloat16": style.KNEE,
    "dynamic": "#56B4E9",
    "float32": style.DOMINATED,
}
_NAMES = {"quantized": "quantized", "bfloat16": "bfloat16", "dynamic": "dynamic INT8", "float32": "float32"}
_HATCH = "////"
_EXPLAINED = "whisker: ninetieth percentile; in brackets: times as quick as float32 in torch (dashed)"
# The longest bar as a multiple of the reference, and the axis as one of the longest bar.
_LONGEST, _ROOM = 1.25, 1.22
# In inches.
_ROW_HEIGHT, _PANEL_WIDTH = 0.235, 7.0
_MARGIN, _LEGEND, _HEADING = 1.5, 0.3, 0.4


def draw_bench(document: Mapping[str, Any], path: Path) -> Path:
    """Bars of all batches side by side, the quickest on top; returns the path of the PNG."""
    batches = list(dict.fromkeys(row["batch"] for row in document["rows"]))
    groups = [[row for row in document["rows"] if row["batch"] == batch] for batch in batches]
    title = f"{document['model']} and baselines" if _baselines(document) else document["model"]
    with style.house_style():
        height = _MARGIN + _ROW_HEIGHT * max(map(len, groups))
        figure = style.new_figure(_PANEL_WIDTH * len(groups), height)
        panels = list(figure.subplots(1, len(groups), squeeze=False)[0])
        for axes, batch, rows in zip(panels, batches, groups, strict=True):
            _draw_panel(axes, batch, rows)
        figure.tight_layout(rect=(0.0, _LEGEND / height, 1.0, 1.0 - _HEADING / height), w_pad=2.5)
        style.heading(panels[0], title, f"{document['machine']}, one thread; {_EXPLAINED}")
        figure.legend(handles=_legend(document), loc="lower center", ncols=6)
        return style.save_figure(figure, path, trimmed=True)


def _baselines(document: Mapping[str, Any]) -> bool:
    return any(row["baseline"] for row in document["rows"])


def _draw_panel(axes: Axes, batch: int, rows: Sequence[Mapping[str, Any]]) -> None:
    eager = next(row["p50_ms"] for row in rows if _is_reference(row))
    # A few slow models would squeeze all others against the axis.
    limit = min(max(row["p90_ms"] for row in rows), _LONGEST * eager)
    for place, row in enumerate(rows):
        axes.barh(
            place,
            row["p50_ms"],
            height=0.72,
            color=_COLOURS[row["kind"]],
            hatch=_HATCH if row["baseline"] else None,
            edgecolor="white",
            linewidth=0.0,
            xerr=[[0.0], [max(0.0, row["p90_ms"] - row["p50_ms"])]],
            error_kw={"ecolor": style.INK, "elinewidth": 0.9, "capsize": 2.0},
        )
        _write_time(axes, place, row, limit)
    axes.axvline(eager, color=style.LIMIT, linewidth=1.0, linestyle="--", zorder=0.5)
    names = [f"{row['contestant']}, {row['runtime']}" for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=8.5)
    axes.set(ylim=(len(rows) - 0.4, -0.6), xlim=(0.0, _ROOM * limit))
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    what = "one image" if batch == 1 else f"a batch of {batch}"
    axes.set_xlabel(f"median time of {what} (ms)")


def _is_reference(row: Mapping[str, Any]) -> bool:
    return row["runtime"] == "torch" and row["kind"] == "float32" and not row["baseline"]


def _write_time(axes: Axes, place: int, row: Mapping[str, Any], limit: float) -> None:
    """The time beside the bar, or inside of one that leaves the picture."""
    end = max(row["p50_ms"], row["p90_ms"])
    text = f"{row['p50_ms']:.3g}  ({row['times_eager_float32']:.2f}x)"
    frame: Any = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
    if end <= limit:
        how, x = "left", end + 0.012 * limit
    else:
        how, x, text = "right", (_ROOM - 0.01) * limit, f"{text} \N{RIGHTWARDS ARROW}"
    axes.text(x, place, text, va="center", ha=how, fontsize=8.0, color=style.INK, bbox=frame)


def _legend(document: Mapping[str, Any]) -> list[Patch]:
    kinds = {row["kind"] for row in document["rows"]}
    found = [Patch(color=colour, label=_NAMES[kind]) for kind, colour in _COLOURS.items() if kind in kinds]
    if _baselines(document):
        found.append(Patch(facecolor=style.MUTED, hatch=_HATCH, edgecolor="white", label="baseline"))
    return found
