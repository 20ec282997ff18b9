"""All pictures of a run, as figures or as files of its ``plots`` folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bitfront.evaluators.files import check_writable
from bitfront.evaluators.tasks.task import Task
from bitfront.search.problem.wording import megabytes, milliseconds, points, quantization
from bitfront.search.reports.plots import style
from bitfront.search.reports.plots.bit_map import LONGEST_TITLE, collect_bit_map, draw_bit_map
from bitfront.search.reports.plots.front import draw_fronts
from bitfront.search.reports.plots.front_points import FrontInfo, collect_front
from bitfront.search.runs.reader import RecordedRun
from bitfront.spaces.quantities import count_of


def run_figures(run: RecordedRun, everything: bool = False) -> dict[str, Figure]:
    """Every picture that the run has data for, drawn without a display.

    Args:
        run: A finished or running run.
        everything: Whether all points of the front are listed, not those that really differ alone.

    Returns:
        Figures by name: ``front`` (against size and latency side by side), ``front_size``, ``front_latency``,
        ``bit_map`` and ``hypervolume``, without those for which nothing has been recorded.
    """
    found = _fronts(run, everything)
    if len(run.front) and run.genes:
        info = collect_bit_map(run, everything)
        named = f"; quality: {run.quality.title}" if len(run.quality.title) > LONGEST_TITLE else ""
        shown = f"{len(info.rows)} of {points(len(run.front))}" if info.hidden else points(len(info.rows))
        subtitle = f"{shown} of the front, largest on top{named}"
        found["bit_map"] = draw_bit_map(info, f"Chosen bits, {_title(run)}", subtitle)
    history = collect_hypervolume(run)
    if len(history.evaluations):
        title = f"Hypervolume, {_title(run)}"
        found["hypervolume"] = draw_hypervolume(history, title, _reference_point(run))
    return found


def write_plots(run: RecordedRun, folder: Path | None = None, everything: bool = False) -> list[Path]:
    """Draws every picture that the run has data for and writes them as PNG.

    Args:
        run: A finished or running run.
        folder: Where to write; the run's ``plots`` folder by default.
        everything: Whether all points of the front are listed.

    Returns:
        The files written, named after the figures of :func:`run_figures`.

    Raises:
        UserError: There is no folder that the folder could be made in.
        BitfrontError: The folder cannot be written.
    """
    if folder is not None:
        check_writable(folder / "front.png", make_folder=True)
    folder = folder or run.path / "plots"
    return [
        style.save(figure, folder / f"{name}.png") for name, figure in run_figures(run, everything).items()
    ]


def _fronts(run: RecordedRun, everything: bool) -> dict[str, Figure]:
    axes = {
        "front_size": style.size_axis(),
        "front_latency": style.latency_axis(run.latency_source, run.latency_batch),
    }
    infos = {name: collect_front(run, axis, everything) for name, axis in axes.items()}
    drawn = {name: [info] for name, info in infos.items() if not info.empty}
    both = {"front": [info for (info,) in drawn.values()]} if drawn else {}
    title = f"Pareto front, {_title(run)}"
    return {
        name: draw_fronts(shown, title, _subtitle(run, shown)) for name, shown in {**both, **drawn}.items()
    }


def _title(run: RecordedRun) -> str:
    parts = [str(run.evaluation.get("model", "")), "on", Path(str(run.evaluation.get("data", ""))).name]
    return " ".join(parts) if all(parts) else run.name


def _subtitle(run: RecordedRun, shown: Sequence[FrontInfo]) -> str:
    """The run, how much of it is listed, and limits of what no axis shows."""
    listed, count = len(shown[0].listed.trial), len(run.front)
    drawn = {run.quality.name, *(info.axis.column for info in shown)}
    others = [limit.label for limit in run.limits if limit.column not in drawn]
    parts = [
        f"run {run.name}",
        quantization(run.evaluation),
        f"{points(count)} from {count_of(len(run.trials), 'trial')}"
        + (f", {listed} listed" if listed < count else ""),
        f"seed {run.spec['seed']}" if "seed" in run.spec else "",
        f"also limited: {', '.join(others)}" if others else "",
    ]
    return "  \N{MIDDLE DOT}  ".join(part for part in parts if part)


def _reference_point(run: RecordedRun) -> str:
    point = run.summary.get("reference_point") or {}
    task = run.schema.task
    words = [_in_words(task, name, value) for name, value in point.items() if isinstance(value, int | float)]
    return f"reference point: {', '.join(words)}" if words else f"run {run.name}"


def _in_words(task: Task, column: str, value: float) -> str:
    if column == "size_bytes":
        return f"{megabytes(value)} MB"
    if column == "latency_ms":
        return f"{milliseconds(value)} ms"
    metric = task.metric(column)
    return f"{metric.title} {value:.3g} {metric.unit}".rstrip()


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
    # The steps of the first twentieth of a run would dwarf all others.
    low = float(info.hypervolume[len(info.hypervolume) // 20])
    margin = 0.3 * max(final - low, 0.01 * final, 1e-9)
    with style.house_style():
        figure = style.new_figure(7.2, 3.6)
        axes = figure.add_subplot()
        axes.step(info.evaluations, info.hypervolume, where="post", color=style.FRONT, linewidth=1.6)
        axes.scatter(last, final, s=34, color=style.FRONT, edgecolors="white", zorder=5, clip_on=False)
        axes.annotate(f"{final:.4g}", (last, final), (0, 7), textcoords="offset points", ha="center")
        axes.set(xlabel="evaluations", ylabel="hypervolume (larger is better)")
        axes.set(xlim=(0, max(last, 1) * 1.03), ylim=(low - margin, final + margin))
        style.heading(axes, title, subtitle)
        return figure
