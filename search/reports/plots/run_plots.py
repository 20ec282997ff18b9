"""All pictures of a run, as figures or as files of its ``plots`` folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from matplotlib.figure import Figure

from bitfront.evaluators.data.registry import path_of
from bitfront.search.export.selection import on_all
from bitfront.search.problem.wording import choice_ends, further_costs, narrowed_words, points, quantization
from bitfront.search.reports.plots import style
from bitfront.search.reports.plots.bit_map import LONGEST_TITLE, collect_bit_map, draw_bit_map
from bitfront.search.reports.plots.front import draw_fronts
from bitfront.search.reports.plots.front_points import FrontInfo, Points, collect_front
from bitfront.search.reports.plots.hypervolume import (
    collect_hypervolume,
    collect_hypervolume_time,
    draw_hypervolume,
    reference_point,
)
from bitfront.search.reports.plots.layout import Heading
from bitfront.search.reports.plots.picture import SCREEN, SCREEN_DPI, USUAL_PICTURES, PictureSize, Place
from bitfront.search.reports.plots.sensitivity import collect_gene_scores, draw_gene_scores
from bitfront.search.reports.plots.three_objectives import draw_costs
from bitfront.search.runs.reader import RecordedRun
from bitfront.spaces.quantities import count_of

T = TypeVar("T")


def run_figures(
    run: RecordedRun,
    everything: bool = False,
    size: PictureSize = SCREEN,
    title: str | None = None,
    only: Sequence[str] | None = None,
) -> dict[str, Figure]:
    """Every picture that the run has data for, drawn without a display.

    Args:
        run: A finished or running run.
        everything: Whether all points of the front are listed, not those that really differ alone.
        size: Of the pictures.
        title: What stands above; None for what is drawn, where pictures of the size have a heading, and an
            empty one for nothing.
        only: Names of those that are drawn; None for the usual ones.

    Returns:
        Figures by name: ``front`` (against each cost side by side), ``front_size``, ``front_latency``,
        ``front_energy``, ``bit_map`` and ``hypervolume``, and where they are named ``front_costs`` (three
        objectives at once), ``hypervolume_time`` and ``sensitivities``; without those for which nothing has
        been recorded.
    """
    wanted = USUAL_PICTURES if only is None else only
    infos = {name: collect_front(run, axis, everything) for name, axis in cost_axes(run).items()}

    def front(shown: Sequence[FrontInfo]) -> Figure:
        heading = Heading(f"Pareto front{subject(run)}", _subtitle(run, shown)).asked(title, size)
        return draw_fronts(shown, heading, size)

    def bit_map() -> Figure:
        info = collect_bit_map(run, everything)
        named = f"; quality: {run.quality.title}" if len(run.quality.title) > LONGEST_TITLE else ""
        shown = f"{len(info.rows)} of {points(len(run.front))}" if info.hidden else points(len(info.rows))
        heading = Heading(f"Chosen bits{subject(run)}", f"{shown} of the front, largest on top{named}")
        return draw_bit_map(info, heading.asked(title, size), size)

    drawn = by_picture({name: info for name, info in infos.items() if not info.empty})
    found = {name: front(shown) for name, shown in drawn.items() if name in wanted}
    if "bit_map" in wanted and len(run.front) and run.genes:
        found["bit_map"] = bit_map()
    history = collect_hypervolume(run)
    if "hypervolume" in wanted and len(history.evaluations):
        heading = Heading(f"Hypervolume{subject(run)}", reference_point(run)).asked(title, size)
        found["hypervolume"] = draw_hypervolume([history], heading, size)
    return found | _further(run, wanted, size, title)


def figure_by_source(
    runs: Sequence[RecordedRun],
    everything: bool = False,
    size: PictureSize = SCREEN,
    title: str | None = None,
) -> Figure | None:
    """The front of one run by several sources of latencies, a panel for each, on one axis of quality.

    All are sums by their tables: whole models, which one source alone may have measured, are left out.

    Args:
        runs: The run by each source.
        everything: Whether all points of the fronts are listed.
        size: Of the picture.
        title: As that of :func:`run_figures`.

    Returns:
        The picture; None where nothing was evaluated yet.
    """
    panels = [collect_front(run, cost_axes(run)["front_latency"], everything) for run in runs]
    if any(panel.empty for panel in panels):
        return None
    none = Points(np.empty(0), np.empty(0), np.empty(0, dtype=np.int64))
    panels = [panel._replace(measured=none) for panel in panels]
    shared = on_all(runs)
    common = f"; {points(len(shared))} on every front" if shared else ""
    counted = f"one search of {count_of(len(runs[0].trials), 'trial')}, {len(runs)} sources of latencies"
    heading = Heading(f"Pareto fronts{subject(runs[0])}", counted + common).asked(title, size)
    return draw_fronts(panels, heading, size)


def _further(
    run: RecordedRun, wanted: Sequence[str], size: PictureSize, title: str | None
) -> dict[str, Figure]:
    """Pictures that are drawn where they are named."""
    found: dict[str, Figure] = {}
    if "front_costs" in wanted and len(run.front):
        heading = Heading(f"Pareto front{subject(run)}", points(len(run.front))).asked(title, size)
        axes = cost_axes(run)
        found["front_costs"] = draw_costs(run, axes["front_size"], axes["front_latency"], heading, size)
    times = collect_hypervolume_time(run) if "hypervolume_time" in wanted else None
    if times is not None and len(times.evaluations):
        heading = Heading(f"Hypervolume{subject(run)}", f"of estimates; {reference_point(run)}")
        found["hypervolume_time"] = draw_hypervolume([times], heading.asked(title, size), size)
    genes = collect_gene_scores(run) if "sensitivities" in wanted else []
    if genes:
        choices = run.choices
        narrow = f"each gene alone {narrowed_words(*choice_ends(choices))}" if choices.every else ""
        heading = Heading(f"Sensitivities{subject(run)}", narrow).asked(title, size)
        found["sensitivities"] = draw_gene_scores(genes, heading, size)
    return found


def cost_axes(run: RecordedRun) -> dict[str, style.Axis]:
    """The costs that a run's quality is drawn against, by the name of the picture."""
    latency = style.latency_axis(run.latency_source, run.latency_batch, run.latency_threads)
    further = {
        f"front_{shown.cost.name}": style.further_axis(shown, str(run.spec.get(shown.cost.name) or ""))
        for shown in further_costs(run.front.columns)
    }
    return {"front_size": style.size_axis(run.size_of), "front_latency": latency, **further}


def by_picture(panels: Mapping[str, T]) -> dict[str, list[T]]:
    """The panels of every picture of a front: all of them in ``front``, and each in one of its own."""
    return (
        {"front": list(panels.values()), **{name: [panel] for name, panel in panels.items()}}
        if panels
        else {}
    )


def subject(run: RecordedRun) -> str:
    """What was searched, such as ``, digits_deit on digits``, without the names of files and folders."""
    model, data = str(run.evaluation.get("model") or ""), str(run.evaluation.get("data") or "")
    place = path_of(data)
    known = data if place is None else data.removesuffix(place).rstrip(":")
    model = "" if model.startswith("local-dir:") else model.removeprefix("hf-hub:").rpartition("/")[2]
    words = " on ".join(filter(None, (model, known)))
    return f", {words}" if words else ""


def write_figures(figures: Mapping[str, Figure], place: Place, dpi: int = SCREEN_DPI) -> list[Path]:
    """Writes figures by name; returns the files.

    Raises:
        UserError: The place cannot be written.
        BitfrontError: Writing failed.
    """
    return [
        style.save_figure(figure, file, dpi) for name, figure in figures.items() for file in place.files(name)
    ]


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
    place = Place.of(folder, run.path / "plots", None, None)
    return write_figures(run_figures(run, everything), place)


def _subtitle(run: RecordedRun, shown: Sequence[FrontInfo]) -> str:
    """How it was quantized, how much of it is listed, and limits of what no axis shows."""
    listed, count = len(shown[0].listed.trial), len(run.front)
    drawn = {run.quality.name, *(info.axis.column for info in shown)}
    others = [limit.label for limit in run.limits if limit.column not in drawn]
    parts = [
        quantization(run.evaluation),
        f"{points(count)} from {count_of(len(run.trials), 'trial')}"
        + (f", {listed} listed" if listed < count else ""),
        f"seed {run.spec['seed']}" if "seed" in run.spec else "",
        f"also limited: {', '.join(others)}" if others else "",
    ]
    return "  \N{MIDDLE DOT}  ".join(part for part in parts if part)
