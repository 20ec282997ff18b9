"""The growth of a front: hypervolume after each evaluation, of one run or of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from bitfront.evaluators.tasks.task import Task
from bitfront.search.problem.wording import further_costs, megabytes, milliseconds
from bitfront.search.reports.plots import style
from bitfront.search.reports.plots.layout import Heading, fit, inches, write_heading, write_legend
from bitfront.search.reports.plots.picture import SCREEN, PictureSize
from bitfront.search.reports.plots.style import Series
from bitfront.search.runs.progress_file import read_progress
from bitfront.search.runs.reader import RecordedRun

# Width on a screen and the most of the height, in points; the height as a share of the width.
_WIDTH, _HIGHEST, _ASPECT = 518.0, 210.0, 0.6
# Room below and above all curves, as shares of their range, and right of them, as a multiple.
_BELOW, _ABOVE, _RIGHT = 0.3, 0.14, 1.03


class HypervolumeInfo(NamedTuple):
    """Hypervolume after numbers of evaluations, or after times, each ``[steps]``; larger is better."""

    evaluations: NDArray[np.int64]
    hypervolume: NDArray[np.float64]
    minutes: NDArray[np.float64] | None = None

    @property
    def steps(self) -> NDArray[np.float64]:
        """What the hypervolume is drawn over: times where they are known."""
        return self.evaluations.astype(np.float64) if self.minutes is None else self.minutes

    @property
    def lowest_shown(self) -> float:
        """The value after the first twentieth of a run, whose steps would dwarf all others."""
        return float(self.hypervolume[len(self.hypervolume) // 20])


def collect_hypervolume(run: RecordedRun) -> HypervolumeInfo:
    """The history in a run's summary; empty where nothing has been recorded."""
    history = np.asarray(run.summary.get("hypervolume_history") or [], dtype=np.float64).reshape(-1, 2)
    return HypervolumeInfo(history[:, 0].astype(np.int64), history[:, 1])


def collect_hypervolume_time(run: RecordedRun) -> HypervolumeInfo:
    """The history that the search wrote while it ran, with its times.

    It is empty for earlier versions, and for a run by other prices: that box was another one.

    Its front is that of the estimates, that of :func:`collect_hypervolume` the one of what was counted.
    """
    progress = None if run.prices else read_progress(run.path)
    steps = np.asarray(progress.history if progress else [], dtype=np.float64).reshape(-1, 3)
    return HypervolumeInfo(steps[:, 0].astype(np.int64), steps[:, 1], steps[:, 2] / 60.0)


def reference_point(run: RecordedRun) -> str:
    """The reference point of a run's hypervolume in words; empty where it is not recorded."""
    point = run.summary.get("reference_point") or {}
    task = run.schema.task
    words = [_in_words(task, name, value) for name, value in point.items() if isinstance(value, int | float)]
    return f"reference point: {', '.join(words)}" if words else ""


def _in_words(task: Task, column: str, value: float) -> str:
    if column == "size_bytes":
        return f"{megabytes(value)} MB"
    if column == "latency_ms":
        return f"{milliseconds(value)} ms"
    for shown in further_costs([column]):
        return f"{shown.cost.title} {shown.text(value)} {shown.unit}"
    metric = task.metric(column)
    return f"{metric.title} {value:.3g} {metric.unit}".rstrip()


def draw_hypervolume(
    infos: Sequence[HypervolumeInfo],
    heading: Heading,
    size: PictureSize = SCREEN,
    series: Sequence[Series] = (Series(""),),
) -> Figure:
    """Draws histories as steps; that of a single run has its last value written at the end.

    Args:
        infos: The histories; none is empty.
        heading: What stands above.
        size: Of the picture.
        series: How each looks, and its name in the legend.
    """
    last, timed = max(float(info.steps[-1]) for info in infos), infos[0].minutes is not None
    highest, low = (max(float(i.hypervolume[-1]) for i in infos), min(i.lowest_shown for i in infos))
    span = max(highest - low, 0.01 * highest, 1e-9)
    with style.house_style(size):
        width = size.width or inches(_WIDTH)
        figure = style.new_figure(width, width)
        axes = figure.add_subplot()
        handles: list[Any] = []
        for info, look in zip(infos, series, strict=True):
            line: Any = {"color": look.color, "linestyle": look.dashes, "linewidth": style.points(1.6)}
            mark: Any = {"marker": look.marker, "markersize": style.points(6.5), "markeredgecolor": "white"}
            axes.step(info.steps, info.hypervolume, where="post", **line)
            end = info.steps[-1:], info.hypervolume[-1:]
            handles += axes.plot(*end, clip_on=False, zorder=5, **line, **mark)
        over = "search time (minutes)" if timed else "evaluations"
        axes.set(xlabel=over, ylabel="hypervolume (larger is better)")
        right = last or 1.0 if timed else max(last, 1.0)
        axes.set(xlim=(0, right * _RIGHT), ylim=(low - _BELOW * span, highest + _ABOVE * span))
        ticks: Any = {"nbins": 6, "steps": [1, 2, 5, 10]} if timed else {"integer": True}
        axes.xaxis.set_major_locator(MaxNLocator(**ticks))
        names = [look.name for look in series] if len(infos) > 1 else []
        height = min(_ASPECT * width, inches(_HIGHEST))
        bottom = write_legend(figure, handles, names, handlelength=3.0)
        fit(figure, [axes], 1, height, write_heading(figure, heading), bottom)
        if len(infos) == 1:
            above: Any = {"textcoords": "offset points", "ha": "right", "fontsize": style.text(9.0)}
            axes.annotate(f"{highest:.4g}", (last, highest), (style.points(4), style.points(7)), **above)
        return figure
