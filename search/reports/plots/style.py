"""The house style of the plots: colours, marker shapes, axis wording and writing a picture to disk.

Colours are those of Okabe and Ito (2008), which stay apart for colour-blind readers; every series also has
its own marker shape and lightness, so that a greyscale print reads the same.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import AbstractPathEffect, withStroke

from bitfront.evaluators.files import explained, write_atomically
from bitfront.search.problem.wording import is_modelled

DPI = 150
INK = "#222222"
MUTED = "#6B7280"
GRID = "#E6E8EB"
FRONT = "#0072B2"
BEHIND = "#7DB3D5"
DOMINATED = "#B4BCC6"
INFEASIBLE = "#D98A5B"
KNEE = "#E69F00"
LIMIT = "#A3195B"
REFERENCE = "#222222"

_RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.edgecolor": "#9AA1AB",
    "axes.labelcolor": INK,
    "axes.labelsize": 9.5,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


class Axis(NamedTuple):
    """How a cost column is shown.

    Attributes:
        column: The column of ``front.csv``.
        label: The axis label with its unit.
        scale: Factor from the column's unit to the shown one.
        unit: The shown unit.
    """

    column: str
    label: str
    scale: float
    unit: str


def size_axis() -> Axis:
    """Packed size in megabytes of 10^6 bytes."""
    return Axis("size_bytes", "packed size (MB = 10\N{SUPERSCRIPT SIX} bytes)", 1e-6, "MB")


def latency_axis(source: str, batch: int | None = None) -> Axis:
    """Latency in milliseconds; says plainly where it comes from, above all where it is modelled.

    Args:
        source: The latency source, such as ``measured:torch``.
        batch: Images of a batch, where known.
    """
    what = {None: "latency", 1: "latency of one image"}.get(batch, f"latency of a batch of {batch}")
    if is_modelled(source):
        label = f"modelled {what} (ms, {source}, not measured)"
    else:
        label = f"{what} (ms, {source})" if source else f"{what} (ms)"
    return Axis("latency_ms", label, 1.0, "ms")


@contextmanager
def house_style() -> Iterator[None]:
    """Applies the style to figures made inside the block."""
    with mpl.rc_context(_RC):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, drawn by Agg (no display, no global state)."""
    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def halo() -> list[AbstractPathEffect]:
    """A white rim that keeps a text legible over lines and points."""
    return [withStroke(linewidth=2.6, foreground="white")]


def renderer_of(axes: Axes) -> RendererAgg:
    """The renderer that measures texts in an axes of a figure made by :func:`new_figure`."""
    canvas: Any = axes.figure.canvas
    renderer: RendererAgg = canvas.get_renderer()
    return renderer


def heading(axes: Axes, title: str, subtitle: str, lift: float = 0.0) -> None:
    """A left-aligned title with a quieter line below it, ``lift`` points further above the axes."""
    corner: Any = {"xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate(title, (0, 1), (0, 24 + lift), fontsize=11.5, weight="bold", **corner)
    axes.annotate(subtitle, (0, 1), (0, 10 + lift), fontsize=8.5, color=MUTED, **corner)


def save(figure: Figure, path: Path) -> Path:
    """Writes a figure as PNG, whole or not at all, trimmed to its content."""
    picture = io.BytesIO()
    with house_style():
        figure.savefig(picture, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.12)
    with explained(path):
        path.parent.mkdir(exist_ok=True)
    write_atomically(path, picture.getvalue())
    return path
