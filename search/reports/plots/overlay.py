"""Several runs in one picture: a front for each, told apart by colour, mark and dashes; hypervolumes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bitfront.search.problem.objectives import ESTIMATE, ESTIMATE_ERROR, USUAL_COLUMNS
from bitfront.search.problem.wording import quantization
from bitfront.search.reports.plots import style
from bitfront.search.reports.plots.comparable import check_comparable, same_box
from bitfront.search.reports.plots.front import draw_errors, draw_panels, draw_stairs, scatter
from bitfront.search.reports.plots.front_points import (
    FrontInfo,
    LimitLine,
    Listed,
    Mark,
    Points,
    RefinedPoints,
    collect_front,
)
from bitfront.search.reports.plots.hypervolume import collect_hypervolume, draw_hypervolume, reference_point
from bitfront.search.reports.plots.labels import around, place_labels
from bitfront.search.reports.plots.layout import Heading
from bitfront.search.reports.plots.marks import areas, draw_limits, draw_references, note_hidden, obstacles
from bitfront.search.reports.plots.picture import SCREEN, USUAL_PICTURES, PictureSize
from bitfront.search.reports.plots.run_plots import by_picture, cost_axes, subject
from bitfront.search.reports.plots.style import Series, series_named
from bitfront.search.reports.plots.window import Window
from bitfront.search.runs.reader import RecordedRun
from bitfront.spaces import UserError

# Settings of which one alone may tell runs apart, as labels have them; by what a spec and its evaluation say.
_TOLD_BY: dict[str, Callable[[RecordedRun], str]] = {
    "scheme": lambda run: str(run.evaluation.get("scheme") or ""),
    "recipe": lambda run: quantization({**run.evaluation, "scheme": ""}),
    "widths": lambda run: run.choices.words + " bits" * run.choices.plain,
    "space": lambda run: str(run.spec.get("space") or ""),
    "sampler": lambda run: str(run.spec.get("sampler") or ""),
    "seed": lambda run: f"seed {run.spec.get('seed')}",
}
_LATENCY = ("front", "front_latency")
T = TypeVar("T", Mark, LimitLine)


class Overlay(NamedTuple):
    """Figures of several runs by name, and what is to be said of those that were not drawn."""

    figures: dict[str, Figure]
    notes: tuple[str, ...]


def overlay_figures(
    runs: Sequence[RecordedRun],
    labels: Sequence[str] | None = None,
    everything: bool = False,
    size: PictureSize = SCREEN,
    title: str | None = None,
    only: Sequence[str] | None = None,
) -> Overlay:
    """One front for each of several runs in one picture, and their hypervolumes where these have one box.

    Args:
        runs: At least two, which are comparable.
        labels: What each is called in the legend; None for what tells them apart.
        everything: Whether all points of the fronts are marked as listed.
        size: Of the pictures.
        title: As of :func:`bitfront.search.reports.plots.run_plots.run_figures`.
        only: Names of the pictures that are drawn; None for all.

    Raises:
        UserError: The runs cannot be compared, the labels are not one for each run, or a picture was asked
            for that several runs do not have.
    """
    wanted = USUAL_PICTURES if only is None else only
    check_comparable(runs, latency=any(name in wanted for name in _LATENCY))
    series, alike = series_named(_checked_labels(runs, labels)), _counted_alike(runs)
    infos = {
        name: [collect_front(run, axis, everything) for run in alike]
        for name, axis in cost_axes(runs[0]).items()
        if axis.column in USUAL_COLUMNS or all(cost_axes(run).get(name) == axis for run in runs)
    }
    panels = {name: shown for name, shown in infos.items() if name in wanted or "front" in wanted}
    drawn = by_picture(
        {name: shown for name, shown in panels.items() if all(len(i.front.cost) for i in shown)}
    )
    found: dict[str, Figure] = {}
    for name, shown in drawn.items():
        if name in wanted:
            heading = Heading(f"Pareto fronts{subject(runs[0])}", _shared(runs)).asked(title, size)
            found[name] = _draw_fronts(shown, series, heading, size)
    notes = [_NO_BIT_MAP] if only is not None and "bit_map" in only else []
    histories = [collect_hypervolume(run) for run in runs]
    if "hypervolume" in wanted and all(len(history.evaluations) for history in histories):
        if same_box(runs):
            heading = Heading(f"Hypervolume{subject(runs[0])}", reference_point(runs[0])).asked(title, size)
            found["hypervolume"] = draw_hypervolume(histories, heading, size, series)
        else:
            notes.append(_OTHER_BOXES)
    if only is not None and notes and not found:
        raise UserError(notes[0])
    return Overlay(found, tuple(notes))


_NO_BIT_MAP = "several runs have no bit map together: draw that of each run"
_OTHER_BOXES = (
    "no picture of the hypervolumes: they are shares of other boxes, since reference or ideal points differ; "
    "draw that of each run"
)


def _checked_labels(runs: Sequence[RecordedRun], labels: Sequence[str] | None) -> list[str]:
    if labels is None:
        told = [[tell(run) for run in runs] for tell in _TOLD_BY.values()]
        differing = [words for words in told if len(set(words)) > 1]
        short = differing[0] if len(differing) == 1 else []
        return short if len(set(short)) == len(runs) and all(short) else [run.title for run in runs]
    given = [label.strip() for label in labels]
    if len(given) != len(runs) or len(set(given)) < len(runs) or not all(given):
        raise UserError(
            f"labels tell runs apart: expected {len(runs)} different ones, got {', '.join(given) or 'none'}"
        )
    return given


def _counted_alike(runs: Sequence[RecordedRun]) -> list[RecordedRun]:
    """The runs; by counts where not all have estimates, as runs of earlier versions do not."""
    columns = [f"{runs[0].quality.name}{end}" for end in (ESTIMATE, ESTIMATE_ERROR)]
    if all(columns[0] in run.front.columns for run in runs):
        return list(runs)
    return [
        dataclasses.replace(
            run,
            front=run.front.drop(columns=columns, errors="ignore"),
            trials=run.trials.drop(columns=columns, errors="ignore"),
        )
        for run in runs
    ]


def _shared(runs: Sequence[RecordedRun]) -> str:
    """How all runs are quantized, where that is the same."""
    found = {quantization(run.evaluation) for run in runs}
    return found.pop() if len(found) == 1 else ""


def _draw_fronts(
    panels: Sequence[Sequence[FrontInfo]], series: Sequence[Series], heading: Heading, size: PictureSize
) -> Figure:
    merged = [_merged(infos, series) for infos in panels]
    return draw_panels(
        merged,
        heading,
        size,
        lambda axes, number: _draw_points(axes, panels[number], series),
        lambda axes, number, window: _write_texts(axes, merged[number], window),
    )


def _merged(infos: Sequence[FrontInfo], series: Sequence[Series]) -> FrontInfo:
    """All that one panel shows, as if of one run: the range and the places of texts follow from it."""
    none = Points(np.empty(0), np.empty(0), np.empty(0, dtype=np.int64))
    by_series = [(look.name, info) for look, info in zip(series, infos, strict=True)]
    return infos[0]._replace(
        front=Points(*map(np.concatenate, zip(*(info.front for info in infos), strict=True))),
        listed=Listed(*map(np.concatenate, zip(*(info.listed for info in infos), strict=True))),
        staircase=Points(*map(np.concatenate, zip(*(info.staircase for info in infos), strict=True))),
        dominated=none,
        infeasible=none,
        measured=none,
        refined=RefinedPoints(*none, none.cost, none.cost),
        references=_distinct({name: info.references for name, info in by_series}, "name"),
        limits=_distinct({name: info.limits for name, info in by_series}, "text"),
        knee=None,
        floor=min(info.floor for info in infos),
        noise=max(info.noise for info in infos),
    )


def _distinct(found: Mapping[str, Sequence[T]], field: str) -> tuple[T, ...]:
    """Each of what the runs have once; what not all of them have says whose it is."""
    everything = dict.fromkeys(_rounded(entry) for entries in found.values() for entry in entries)
    owners = {
        entry: [name for name, entries in found.items() if entry in map(_rounded, entries)]
        for entry in everything
    }
    return tuple(
        entry if len(names) == len(found) else _owned(entry, field, names) for entry, names in owners.items()
    )


def _owned(entry: T, field: str, names: Sequence[str]) -> T:
    owned: Any = {field: f"{getattr(entry, field)}, {' and '.join(names)}"}
    return entry._replace(**owned)


def _rounded(entry: T) -> T:
    """With numbers to five digits: measured again, the same is not equal to the last bit."""
    values: dict[str, Any] = {
        name: float(f"{value:.5g}") for name, value in entry._asdict().items() if isinstance(value, float)
    }
    return entry._replace(**values)


def _draw_points(axes: Axes, infos: Sequence[FrontInfo], series: Sequence[Series]) -> None:
    knees = [
        _draw_run(axes, info, look, order)
        for order, (info, look) in enumerate(zip(infos, series, strict=True))
    ]
    lines: list[Any] = []
    for look in series:
        how: Any = {"marker": look.marker, "markersize": style.points(6), "markeredgecolor": "white"}
        line: Any = {"color": look.color, "linestyle": look.dashes, "linewidth": style.points(1.3)}
        lines.append(Line2D([], [], label=look.name, **how, **line))
    if any(knees):
        star: Any = {"color": "white", "marker": "*", "markeredgecolor": style.INK, "linestyle": "none"}
        lines.append(Line2D([], [], label="knee", markersize=style.points(10), **star))
    for line in reversed(lines):  # the legend has what is drawn last first
        axes.add_line(line)


def _draw_run(axes: Axes, info: FrontInfo, look: Series, order: int) -> bool:
    """The front of one run; returns whether it has a knee."""
    above = 4 + 0.01 * order
    draw_stairs(axes, info.staircase, color=look.color, linestyle=look.dashes, zorder=above)
    draw_errors(axes, info, look.color)
    plain: Any = {"label": "", "marker": look.marker, "c": look.color, "edgecolors": "white"}
    shown = set(info.listed.trial.tolist())
    rest = np.array([trial not in shown for trial in info.front.trial.tolist()], dtype=bool)
    scatter(axes, Points(*(part[rest] for part in info.front)), s=14, lw=0.4, zorder=above + 2, **plain)
    listed = Points(info.listed.cost, info.listed.height, info.listed.trial)
    scatter(axes, listed, s=38, lw=0.7, zorder=above + 3, **plain)
    if info.knee is None:
        return False
    star: Any = {
        "c": [style.pale(look.color)],
        "edgecolors": style.INK,
        "lw": style.points(0.6),
        "zorder": 1.5,
    }
    axes.scatter(info.knee.cost, info.knee.height, s=style.area(300), marker="*", **star)
    return True


def _write_texts(axes: Axes, info: FrontInfo, window: Window) -> None:
    texts = draw_limits(axes, info, window)
    labels, reference_texts = draw_references(axes, info, window, texts)
    texts += reference_texts + note_hidden(axes, info, window)
    taken = [*areas(axes, texts), *(around(axes, label) for label in labels)]
    place_labels(axes, labels, obstacles(info, window), taken)
