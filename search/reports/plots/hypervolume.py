"""The hypervolume history: how much of the objective space the front covers after each evaluation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bitfront.search.reports.plots import style
from bitfront.search.runs.reader import RecordedRun


class HypervolumeInfo(NamedTuple):
    """Hypervolume after numbers of evaluations, each ``[steps]``; larger is better."""

    evaluations: NDArray[np.int64]
    hypervolume: NDArray[np.float64]


def collect_hypervolume(run: RecordedRun) -> HypervolumeInfo:
    """The history in a run's summary; empty where nothing has been recorded."""
    history = np.asarray(run.summary.get("hypervolume_history") or [], dtype=np.float64).reshape(-1, 2)
    return HypervolumeInfo(history[:, 0].astype(np.int64), history[:, 1])


def draw_hypervolume(info: HypervolumeInfo, title: str, subtitle: str) -> Figure:
    """Draws the history as steps with its last value written at the end."""
    last, final = int(info.evaluations[-1]), float(info.hypervolume[-1])
    with style.house_style():
        figure = style.new_figure(7.2, 3.6)
        axes = figure.add_subplot()
        axes.step(info.evaluations, info.hypervolume, where="post", color=style.FRONT, linewidth=1.6)
        axes.scatter(last, final, s=34, color=style.FRONT, edgecolors="white", zorder=5, clip_on=False)
        axes.annotate(f"{final:.4g}", (last, final), (0, 7), textcoords="offset points", ha="center")
        axes.set(xlabel="evaluations", ylabel="hypervolume (larger is better)")
        axes.set(xlim=(0, max(last, 1) * 1.03), ylim=_window(info))
        style.heading(axes, title, subtitle)
        return figure


def _window(info: HypervolumeInfo) -> tuple[float, float]:
    """Bounds that show the rise after the first twentieth of the run, whose steps would dwarf all others."""
    low, high = float(info.hypervolume[len(info.hypervolume) // 20]), float(info.hypervolume[-1])
    rise = max(high - low, 0.01 * high, 1e-9)
    return low - 0.3 * rise, high + 0.3 * rise
