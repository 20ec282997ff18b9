"""The house style of the plots: colours, marker shapes, sizes, axis wording and writing a picture to disk.

Colours are those of Okabe and Ito (2008), which stay apart for colour-blind readers; every series also has
its own marker shape and lightness, so that a greyscale print reads the same.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import AbstractPathEffect, withStroke

from bitfront.evaluators.files import explained, write_atomically
from bitfront.search.problem.wording import ShownCost, is_modelled
from bitfront.search.reports.plots.picture import SCREEN, SCREEN_DPI, PictureSize

INK = "#222222"
MUTED = "#6B7280"
GRID = "#E6E8EB"
FRONT = "#0072B2"
BEHIND = "#7DB3D5"
DOMINATED = "#B4BCC6"
INFEASIBLE = "#D98A5B"
KNEE = "#E69F00"
LIMIT = "#A3195B"
REFINED = "#00664B"
REFERENCE = "#222222"

# Of several runs in one picture: colours, marks and dashes that differ each for themselves, also in grey.
_SERIES = (
    (FRONT, "o", "-"),
    (KNEE, "s", "--"),
    (INK, "^", "-."),
    ("#CC79A7", "D", ":"),
    ("#009E73", "v", (0, (5, 1, 1, 1, 1, 1))),
    ("#D55E00", "P", (0, (3, 1))),
    ("#56B4E9", "X", (0, (1, 1))),
)
MOST_SERIES = len(_SERIES)
# Points that no text is below, and the ordinary text that all other lengths are given for.
_LEAST_TEXT, _ORDINARY = 8.0, 9.0
_RC: Any = {
    "font.family": "DejaVu Sans",
    "axes.edgecolor": "#9AA1AB",
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "hatch.linewidth": 1.0,
}
_LENGTHS = {
    "axes.linewidth": 0.8,
    "axes.labelpad": 4.0,
    "grid.linewidth": 0.7,
    **{f"{axis}tick.major.{what}": length for axis in "xy" for what, length in (("size", 3.5), ("pad", 3.5))},
    **{f"{axis}tick.major.width": 0.8 for axis in "xy"},
}
_TEXTS = {"axes.labelsize": 9.5, "legend.fontsize": 8.5, "xtick.labelsize": 9.0, "ytick.labelsize": 9.0}
# Files that are the same for the same input. Fonts are embedded as TrueType (Type 42), as publishers ask;
# SVG has outlines, since fonts in it are those of whoever looks at it.
_FILES: Any = {"pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "path", "svg.hashsalt": "bitfront"}
_UNDATED: Any = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}


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


class Series(NamedTuple):
    """How one of several things looks: its name, colour, mark and the dashes of its line."""

    name: str
    color: str = FRONT
    marker: str = "o"
    dashes: Any = "-"


def series_named(names: Sequence[str]) -> list[Series]:
    """Looks that tell up to :data:`MOST_SERIES` things apart, by name."""
    return [Series(name, *look) for name, look in zip(names, _SERIES, strict=False)]


def size_axis(size_of: str = "packed") -> Axis:
    """Packed size in megabytes of 10^6 bytes."""
    return Axis("size_bytes", f"{size_of} size (MB = 10\N{SUPERSCRIPT SIX} bytes)", 1e-6, "MB")


def latency_axis(source: str, batch: int | None = None, threads: int = 1) -> Axis:
    """Latency in milliseconds; says plainly where it comes from, above all where it is modelled.

    Args:
        source: The latency source, such as ``measured:torch``.
        batch: Images of a batch, where known.
        threads: Of an inference.
    """
    what = {None: "latency", 1: "latency of one image"}.get(batch, f"latency of a batch of {batch}")
    what += f" on {threads} threads" if threads != 1 else ""
    if is_modelled(source):
        label = f"modelled {what} (ms, {source}, not measured)"
    else:
        label = f"{what} (ms, {source})" if source else f"{what} (ms)"
    return Axis("latency_ms", label, 1.0, "ms")


def further_axis(shown: ShownCost, source: str) -> Axis:
    """A cost beside latency and size, which is modelled; ``source`` says by what, where known."""
    by = f", {source}" if source else ""
    return Axis(shown.cost.column, f"modelled {shown.cost.title} ({shown.unit}{by})", shown.scale, shown.unit)


@contextmanager
def house_style(size: PictureSize = SCREEN) -> Iterator[None]:
    """Applies the style to figures made inside the block: texts, lines and marks are those of a size."""
    with mpl.rc_context({**_RC, **_FILES, "font.size": size.font}):
        lengths: dict[Any, float] = {name: points(length) for name, length in _LENGTHS.items()}
        texts: dict[Any, float] = {name: text(length) for name, length in _TEXTS.items()}
        with mpl.rc_context({**lengths, **texts}):
            yield


def points(length: float) -> float:
    """A length in points, as :func:`house_style` scales it: given for an ordinary text of 9 points."""
    scale: float = mpl.rcParams["font.size"] / _ORDINARY
    return length * scale


def area(square: float) -> float:
    """The area of a mark in square points, scaled so, too."""
    return points(points(square))


def text(size: float) -> float:
    """The size of a text in points, scaled so, too, and legible."""
    return max(points(size), min(float(mpl.rcParams["font.size"]), _LEAST_TEXT))


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, drawn by Agg (no display, no global state)."""
    figure = Figure(figsize=(width, height), dpi=SCREEN_DPI)
    FigureCanvasAgg(figure)
    return figure


def pale(color: str) -> tuple[float, float, float]:
    """A colour mixed with as much white, where one that is transparent would need a file that has such."""
    red, green, blue = to_rgb(color)
    return (red + 1) / 2, (green + 1) / 2, (blue + 1) / 2


def halo() -> list[AbstractPathEffect]:
    """A white rim that keeps a text legible over lines and points."""
    return [withStroke(linewidth=points(2.6), foreground="white")]


def renderer_of(drawn: Axes | Figure) -> RendererAgg:
    """The renderer that measures texts in a figure made by :func:`new_figure`, or in axes of it."""
    canvas: Any = (drawn if isinstance(drawn, Figure) else drawn.figure).canvas
    renderer: RendererAgg = canvas.get_renderer()
    return renderer


def heading(axes: Axes, title: str, subtitle: str, lift: float = 0.0) -> None:
    """A left-aligned title with a quieter line below it, ``lift`` points further above the axes."""
    corner: Any = {"xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate(title, (0, 1), (0, 24 + lift), fontsize=11.5, weight="bold", **corner)
    axes.annotate(subtitle, (0, 1), (0, 10 + lift), fontsize=8.5, color=MUTED, **corner)


def save_figure(figure: Figure, path: Path, dpi: int = SCREEN_DPI, trimmed: bool = False) -> Path:
    """Writes a figure as PNG, SVG or PDF by the ending of the name, whole or not at all.

    The same figure gives the same bytes: nothing in them says when, where or under which name it was written.

    Args:
        figure: The figure.
        path: The file; its folder is made where that is missing.
        dpi: Pixels per inch of a PNG.
        trimmed: Whether the picture is as large as its content, in place of the figure's size.

    Returns:
        The path.

    Raises:
        UserError: The place cannot be written.
        BitfrontError: Writing failed.
    """
    ending, picture = path.suffix.lower().removeprefix("."), io.BytesIO()
    box: Any = {"bbox_inches": "tight", "pad_inches": 0.12} if trimmed else {}
    with mpl.rc_context({**_RC, **_FILES}):
        figure.savefig(picture, format=ending, dpi=dpi, metadata=_UNDATED.get(ending), **box)
    with explained(path):
        path.parent.mkdir(exist_ok=True)
    write_atomically(path, picture.getvalue())
    return path
