"""Drawing how far sensitivities rank genes alike: a table of rank correlations, shaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from bitfront.search.reports.plots import style

# Beyond it, figures are white on the shade.
_DARK = 0.6


def draw_rank_agreement(axes: Axes, agreement: Mapping[str, Any], labels: Mapping[str, str]) -> None:
    """Spearman's correlation above the diagonal and Kendall's below, each with its interval.

    Args:
        axes: Where to draw.
        agreement: By pair of measures, as the document of sensitivities has it.
        labels: What each measure is called, by its name, in the order that they are shown in.
    """
    names = list(labels)
    axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(names) - 0.5, -0.5), aspect="equal")
    for pair, found in agreement.items():
        row, column = sorted(names.index(name) for name in pair.split("/"))
        _draw_cell(axes, row, column, found["spearman"])
        _draw_cell(axes, column, row, found["kendall"])
    for place in range(len(names)):
        _shade(axes, place, place, 1.0)
    axes.set_xticks(range(len(names)), list(labels.values()), rotation=30, ha="right")
    axes.set_yticks(range(len(names)), list(labels.values()))
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.set_title("rank correlations: Spearman above, Kendall below", fontsize="medium")


def _draw_cell(axes: Axes, row: int, column: int, found: Mapping[str, float]) -> None:
    value = found["value"]
    if value != value:  # all ranks are equal
        axes.text(column, row, "-", ha="center", va="center", color=style.MUTED)
        return
    _shade(axes, row, column, abs(value))
    text = f"{value:.2f}\n({found['low']:.2f} to\n{found['high']:.2f})"
    colour = "white" if abs(value) > _DARK else style.INK
    axes.text(column, row, text, ha="center", va="center", color=colour, fontsize="x-small")


def _shade(axes: Axes, row: int, column: int, share: float) -> None:
    look: Any = {"facecolor": style.FRONT, "alpha": share, "edgecolor": "none", "zorder": 0}
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1.0, 1.0, **look))
