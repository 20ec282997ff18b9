"""Drawing a comparison of samplers: median hypervolume against evaluations, with a band between quartiles."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from bitfront.search.reports.plots import style
from bitfront.search.samplers.registry import SAMPLERS

# Of the samplers, in the order of the registry: colours of Okabe and Ito (2008), and dashes that tell lines
# apart where colours do not.
_LOOKS = (
    (style.FRONT, "-"),
    (style.KNEE, "--"),
    ("#009E73", "-."),
    ("#CC79A7", (0, (5, 1, 1, 1, 1, 1))),
    ("#56B4E9", (0, (3, 1))),
    ("#D55E00", ":"),
    (style.INK, (0, (1, 1))),
)
_TITLES = {
    "tight": "tight box: from the best to the worst values of that front",
    "fixed": "fixed box: that of `bitfront search`",
}
# Shares to be read off: the whole front, and the level that is reported.
_LEVEL = 0.99
# The first evaluations lie far below all others and would take the picture for themselves.
_FIRST_SHOWN = 10


class Band(NamedTuple):
    """Hypervolume of a sampler after 1, 2, ... evaluations, each ``[evaluations]``: larger is better."""

    sampler: str
    median: NDArray[np.float64]
    q1: NDArray[np.float64]
    q3: NDArray[np.float64]


def collect_bands(document: Mapping[str, Any], box: str) -> list[Band]:
    """The bands of all samplers in a box, the highest at the end first."""
    bands = []
    for sampler in document["samplers"]:
        q1, median, q3 = np.quantile(np.array(sampler["curves"][box]), (0.25, 0.5, 0.75), axis=0)
        bands.append(Band(sampler["sampler"], median, q1, q3))
    return sorted(bands, key=lambda band: -float(band.median[-1]))


def draw_comparison(document: Mapping[str, Any], path: Path, title: str) -> Path:
    """Draws a panel for each box; returns the path of the PNG."""
    boxes = [box for box in _TITLES if box in document["goal"]["boxes"]]
    looks = dict(zip(SAMPLERS, itertools.cycle(_LOOKS), strict=False))
    with style.house_style():
        figure = style.new_figure(5.6 * len(boxes), 4.4)
        panels = list(figure.subplots(1, len(boxes), squeeze=False)[0])
        figure.subplots_adjust(wspace=0.16, left=0.09, right=0.98, top=0.84, bottom=0.2)
        for axes, box in zip(panels, boxes, strict=True):
            _draw_panel(axes, collect_bands(document, box), looks)
            axes.set_title(_TITLES[box], loc="left", fontsize=9.0, color=style.MUTED)
        panels[0].set_ylabel(f"hypervolume (share of {document['goal']['front']})")
        seeds = max(len(sampler["seeds"]) for sampler in document["samplers"])
        what = f"median and quartiles of {seeds} seeds; larger is better" if seeds > 1 else "larger is better"
        style.heading(panels[0], title, what, lift=14)
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="lower center", ncols=min(4, len(names)), handlelength=3.2)
        return style.save_figure(figure, path, trimmed=True)


def _draw_panel(axes: Axes, bands: Sequence[Band], looks: Mapping[str, Any]) -> None:
    last = len(bands[0].median)
    numbers = np.arange(1, last + 1)
    for band in bands:
        color, dashes = looks[band.sampler]
        line: Any = {"color": color, "linestyle": dashes, "linewidth": 1.6, "label": band.sampler}
        axes.fill_between(numbers, band.q1, band.q3, step="post", color=color, alpha=0.14, linewidth=0)
        axes.step(numbers, band.median, where="post", **line)
    shown = min(_FIRST_SHOWN, last) - 1
    bottom = min(float(band.q1[shown]) for band in bands)
    margin = 0.04 * (1.0 - bottom) + 1e-6
    axes.set(xlim=(0, last * 1.02), ylim=(bottom - margin, 1.0 + margin), xlabel="distinct evaluations")
    axes.axhline(1.0, color=style.MUTED, linewidth=0.8)
    axes.axhline(_LEVEL, color=style.LIMIT, linewidth=0.9, linestyle="--")
    axes.annotate(
        "99 %", (last * 1.02, _LEVEL), (-2, -2), textcoords="offset points", ha="right", va="top",
        fontsize=8, color=style.LIMIT, path_effects=style.halo(),
    )  # fmt: skip
