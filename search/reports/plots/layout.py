"""Fitting a picture to its width: texts are wrapped, and margins are as wide as what stands in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from bitfront.search.reports.plots import style
from bitfront.search.reports.plots.picture import PictureSize

_INCH = 72.0
# Points around a picture, below a heading, and above a legend.
_MARGIN, _BELOW_HEADING, _ABOVE_LEGEND = 5.0, 4.0, 2.0
_TITLE, _SUBTITLE = 11.5, 8.5
# Lines from one to the next, as multiples of the text.
_LEADING = 1.25
# By what share lines are shortened at a time, until there is one more.
_BALANCE = 0.96


class Heading(NamedTuple):
    """What stands above a picture; nothing where both are empty."""

    title: str = ""
    subtitle: str = ""

    def asked(self, title: str | None, size: PictureSize) -> Heading:
        """This heading, the title that was asked for in its place, or none where that is empty.

        Args:
            title: What was asked for; None for this one, where pictures of the size have a heading at all.
            size: Of the picture.
        """
        if title is None:
            return self if size.titled else Heading()
        return Heading(title)


def inches(points: float) -> float:
    """A length in points, as the house style scales it, in inches."""
    return style.points(points) / _INCH


def margin() -> float:
    """Around a picture, in inches."""
    return inches(_MARGIN)


def text_width(figure: Figure, text: str, size: float, weight: str = "normal") -> float:
    """How wide a text of a size in points is, in inches."""
    probe = figure.text(0.0, 0.0, text, fontsize=size, weight=weight)
    found = probe.get_window_extent(style.renderer_of(figure)).width / figure.dpi
    probe.remove()
    return float(found)


def wrapped(figure: Figure, text: str, size: float, width: float, weight: str = "normal") -> str:
    """A text broken between words into lines about as long as one another, within a width in inches."""
    words = text.split()
    if text_width(figure, text, size, weight) <= width or len(words) < 2:
        return text
    space = text_width(figure, "n n", size, weight) - text_width(figure, "nn", size, weight)
    wide = [text_width(figure, word, size, weight) for word in words]
    found = _broken(words, wide, space, width)
    while len(narrower := _broken(words, wide, space, width := _BALANCE * width)) == len(found):
        found = narrower
    return "\n".join(found)


def _broken(words: Sequence[str], wide: Sequence[float], space: float, width: float) -> list[str]:
    lines, used = [words[0]], wide[0]
    for word, more in zip(words[1:], wide[1:], strict=True):
        if used + space + more <= width:
            lines[-1], used = f"{lines[-1]} {word}", used + space + more
        else:
            lines.append(word)
            used = more
    return lines


def write_heading(figure: Figure, heading: Heading) -> float:
    """A title and a quieter line below it in the upper left corner; returns their height in inches."""
    depth, width = margin(), figure.get_figwidth() - 2 * margin()
    parts = ((heading.title, _TITLE, "bold", style.INK), (heading.subtitle, _SUBTITLE, "normal", style.MUTED))
    for words, points, weight, colour in parts:
        if not words:
            continue
        size = style.text(points)
        text = wrapped(figure, words, size, width, weight)
        corner = figure.transFigure + ScaledTranslation(margin(), -depth, figure.dpi_scale_trans)
        how: Any = {"fontsize": size, "weight": weight, "color": colour, "linespacing": _LEADING}
        figure.text(0.0, 1.0, text, transform=corner, ha="left", va="top", **how)
        depth += (1 + text.count("\n")) * _LEADING * size / _INCH + inches(2.0)
    return depth + inches(_BELOW_HEADING) if depth > margin() else 0.0


def write_legend(figure: Figure, handles: Sequence[Artist], names: Sequence[str], **how: Any) -> float:
    """A legend at the lower edge in as many columns as have room; returns its height in inches."""
    if not names:
        return 0.0
    width = figure.get_figwidth() - 2 * margin()
    size = style.text(8.5)
    short = [wrapped(figure, name, size, width - 4 * size / _INCH) for name in names]
    close: Any = {"borderaxespad": 0.3, "borderpad": 0.2, "handletextpad": 0.5, "columnspacing": 1.4, **how}
    for columns in range(len(names), 0, -1):
        legend = figure.legend(handles, short, loc="lower center", ncols=columns, **close)
        box = legend.get_window_extent(style.renderer_of(figure))
        if columns == 1 or box.width / figure.dpi <= width:
            break
        legend.remove()
    return float(box.height) / figure.dpi + margin() + inches(_ABOVE_LEGEND)


def fit(figure: Figure, panels: Sequence[Axes], rows: int, height: float, top: float, bottom: float) -> None:
    """Places panels in a figure of their width, wraps the names of their axes, and sets the figure's height.

    Args:
        figure: The figure; its width stays.
        panels: Made by ``subplots``, with all that stands outside of their axes.
        rows: How many there are above one another.
        height: Of the axes of a panel, in inches.
        top: What is kept free at the upper edge, in inches.
        bottom: The same at the lower edge.
    """
    figure.set_figheight(rows * (height + 1.5) + top + bottom)
    _tighten(figure, top, bottom)
    size = style.text(9.5)
    for axes in panels:
        place = axes.get_position()
        wide = place.width * figure.get_figwidth()
        axes.set_xlabel(wrapped(figure, axes.get_xlabel(), size, wide))
        axes.set_ylabel(wrapped(figure, axes.get_ylabel(), size, height))
    for _ in range(2):
        _tighten(figure, top, bottom)
        found = panels[0].get_position().height * figure.get_figheight()
        figure.set_figheight(figure.get_figheight() + rows * (height - found))
    _tighten(figure, top, bottom)


def _tighten(figure: Figure, top: float, bottom: float) -> None:
    height = figure.get_figheight()
    rect = (0.0, bottom / height, 1.0, 1.0 - top / height)
    figure.tight_layout(rect=rect, pad=_MARGIN / 9.0, w_pad=1.4, h_pad=1.4)
