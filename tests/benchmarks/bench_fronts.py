"""Two fronts of the same search on one plot, such as before and after a change of recipe, with hypervolumes.

python tests/benchmarks/bench_fronts.py runs/before runs/after --out fronts.png

Both runs must be finished and agree in model, data, splits, space, objectives, limits, sampler and
evaluations; recipes may differ. The hypervolumes are shares of one common box: its best corner has the best
value of each objective among both runs' feasible trials, float models and uniform 8-bit models, its worst
corner the worst value among the feasible trials and the 8-bit models (no candidate costs what float costs).
Latency counts only where both runs have it from the same source.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bitfront.search.problem.archive import Point
from bitfront.search.problem.hypervolume import HypervolumeBox
from bitfront.search.problem.objectives import Objective, parse_objectives
from bitfront.search.problem.references import FLOAT_NAME
from bitfront.search.problem.wording import points, quantization
from bitfront.search.reports.plots import style
from bitfront.search.reports.plots.front import draw_limits, draw_references, note_hidden
from bitfront.search.reports.plots.front_points import FrontInfo, Points, collect_front
from bitfront.search.reports.plots.labels import Label, around, place_labels
from bitfront.search.reports.plots.window import Window, window_of
from bitfront.search.runs.files import read_json
from bitfront.search.runs.reader import RecordedRun
from bitfront.spaces import BitfrontError, UserError

# What may differ: the recipe, how quickly evaluations run, and the source of latencies, which is looked at.
RECIPE = ("recipe", "without", "observer")
SPEED = ("batch_size", "threads", "device")
OF_THE_RUN = ("evaluation", "latency", "latency_batch", "time_budget", "bitfront", "version")
SHOWN = {
    "top1": (1.0, "%"),
    "latency_ms": (1.0, "ms"),
    "size_bytes": (1e-6, "MB"),
    "loss": (1.0, "nats"),
    "kl": (1.0, "nats"),
}


class Look(NamedTuple):
    """How a run is drawn."""

    color: str
    marker: str


FAINT = "faint, in a run's colour: its feasible trials off the front"
LOOKS = (Look(style.KNEE, "s"), Look(style.FRONT, "o"))


class Contender(NamedTuple):
    """A run with its name in the legend and its share of the common box."""

    run: RecordedRun
    label: str
    hypervolume: float

    @property
    def line(self) -> str:
        done = int(self.run.summary["evaluations"])
        front = points(len(self.run.front))
        return f"{self.label}: hypervolume {self.hypervolume:.4f}, {front}, {done} evaluations"


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Two fronts of the same search on one plot, with hypervolumes"
    )
    parser.add_argument("before", type=Path, help="folder of a finished run")
    parser.add_argument("after", type=Path, help="folder of a finished run")
    parser.add_argument("--out", type=Path, required=True, help="the picture, a PNG")
    options = parser.parse_args()
    try:
        report(options.before, options.after, options.out)
    except BitfrontError as error:
        raise SystemExit(f"error: {error}") from error


def report(before: Path, after: Path, out: Path) -> None:
    """Compares two runs, prints their figures and draws them."""
    runs = [RecordedRun.read(path.resolve().parent, path.resolve().name) for path in (before, after)]
    check_comparable(*runs)
    objectives = common_objectives(*runs)
    box = common_box(runs, objectives)
    names = [quantization(run.evaluation) for run in runs]
    labels = names if names[0] != names[1] else [run.name for run in runs]
    contenders = [
        Contender(run, label, box.share(feasible_points(run, objectives)))
        for run, label in zip(runs, labels, strict=True)
    ]
    stated = box_in_words(box, objectives)
    for contender in contenders:
        print(f"run {contender.run.name}, {contender.line}")
    print(stated)
    print(draw(contenders, stated, out))


def check_comparable(before: RecordedRun, after: RecordedRun) -> None:
    """Refuses runs that differ in more than the recipe."""
    for run in (before, after):
        stopped = str(run.summary.get("stopped_because") or "unfinished")
        if stopped.startswith(("unfinished", "interrupted")) or run.front.empty:
            raise UserError(
                f"run {run.name} is not finished or has no front: finish it with `bitfront search`"
            )
    pairs = dict.fromkeys([*before.spec, *after.spec])
    compared: list[tuple[str, Any, Any]] = [
        (key, before.spec.get(key), after.spec.get(key)) for key in pairs if key not in OF_THE_RUN
    ]
    compared += [
        (key, before.evaluation.get(key), after.evaluation.get(key))
        for key in dict.fromkeys([*before.evaluation, *after.evaluation])
        if key not in RECIPE + SPEED
    ]
    compared.append(("finished evaluations", before.summary["evaluations"], after.summary["evaluations"]))
    for key, ours, theirs in compared:
        if ours != theirs:
            raise UserError(f"the runs differ in {key} ({ours!r} and {theirs!r}): only recipes may differ")
    splits = [read_json(run.path / "splits.json", dict) for run in (before, after)]
    if splits[0] != splits[1]:
        raise UserError(
            "the runs have other images in their splits: search again with the same data and seed"
        )


def same_latency(before: RecordedRun, after: RecordedRun) -> bool:
    return (before.latency_source, before.latency_batch) == (after.latency_source, after.latency_batch)


def common_objectives(before: RecordedRun, after: RecordedRun) -> tuple[Objective, ...]:
    """The runs' objectives, without latency where its source differs."""
    found = parse_objectives(before.objectives)
    return found if same_latency(before, after) else tuple(o for o in found if o.name != "latency")


def feasible_points(run: RecordedRun, objectives: Sequence[Objective]) -> list[Point]:
    """Objective values of the feasible trials, in minimisation form."""
    rows = run.trials[run.trials["feasible"]]
    found = [tuple(o.minimised(row) for o in objectives) for row in rows.to_dict("records")]
    return [point for point in found if not any(map(math.isnan, point))]


def common_box(runs: Sequence[RecordedRun], objectives: Sequence[Objective]) -> HypervolumeBox:
    """The box of both runs; see the top of this file."""
    base, candidates = [], []
    for run in runs:
        candidates += feasible_points(run, objectives)
        for reference in run.references:
            values = {o.column: getattr(reference, o.column, math.nan) for o in objectives}
            (base if reference.name == FLOAT_NAME else candidates).append(
                tuple(o.minimised(values) for o in objectives)
            )
    worst = np.nanmax(np.array(candidates), axis=0)
    ideal = np.nanmin(np.array(candidates + base), axis=0)
    if (worst <= ideal).any():
        raise UserError("an objective has the same value in all trials of both runs: there is no box to fill")
    return HypervolumeBox(tuple(o.name for o in objectives), tuple(ideal.tolist()), tuple(worst.tolist()))


def box_in_words(box: HypervolumeBox, objectives: Sequence[Objective]) -> str:
    """The corners in the objectives' own directions and units."""
    parts = []
    for objective, worst, ideal in zip(objectives, box.reference, box.ideal, strict=True):
        factor, unit = SHOWN[objective.column]
        factor *= -1.0 if objective.direction == "maximise" else 1.0
        name = "top-1" if objective.name == "top1" else objective.name
        parts.append(f"{name} {factor * worst:.4g} to {factor * ideal:.4g} {unit}")
    return f"Hypervolume: share of the box {', '.join(parts)} (worst to best), the same for both runs"


def draw(contenders: Sequence[Contender], stated: str, path: Path) -> Path:
    """Top-1 against size, and against latency where both runs have it from one source."""
    runs = [contender.run for contender in contenders]
    axes_shown = [style.size_axis()]
    if same_latency(*runs):
        axes_shown.append(style.latency_axis(runs[0].latency_source, runs[0].latency_batch))
    with style.house_style():
        figure = style.new_figure(7.2 if len(axes_shown) == 1 else 11.0, 4.5)
        panels = list(figure.subplots(1, len(axes_shown), sharey=True, squeeze=False)[0])
        figure.subplots_adjust(wspace=0.07, left=0.08, right=0.98, top=0.86, bottom=0.14)
        drawn = [[collect_front(run, axis) for run in runs] for axis in axes_shown]
        merged = [merge(infos, contenders) for infos in drawn]
        windows = [window_of(info) for info in merged]
        bottom, top = min(w.bottom for w in windows), max(w.top for w in windows)
        for axes, infos, whole, window in zip(panels, drawn, merged, windows, strict=True):
            draw_panel(axes, infos, whole, window._replace(bottom=bottom, top=top), contenders)
        panels[0].set_ylabel("top-1 on the search split (%)")
        data = Path(str(runs[0].evaluation["data"]))
        shown = data.parent.name if data.suffix == ".csv" else data.name
        title = f"Pareto fronts, {runs[0].evaluation['model']} on {shown}, space {runs[0].spec['space']}"
        style.heading(panels[0], title, stated)
        handles, texts = panels[0].get_legend_handles_labels()
        faint = Line2D([], [], ls="none", marker="o", ms=3, c=style.DOMINATED, label=FAINT)
        handles, texts = [*handles, faint], [*texts, FAINT]
        figure.legend(handles, texts, loc="upper center", bbox_to_anchor=(0.5, 0.03), ncols=1)
        return style.save_figure(figure, path, trimmed=True)


def merge(infos: Sequence[FrontInfo], contenders: Sequence[Contender]) -> FrontInfo:
    """Both runs as one, for the visible range, limits that both have, and marks."""
    before, after = infos
    references = [mark for mark in after.references if mark.name == FLOAT_NAME]
    eight = [[mark for mark in info.references if mark.name != FLOAT_NAME] for info in infos]
    if eight[0] == eight[1]:
        references += eight[0]
    else:
        for marks, contender in zip(eight, contenders, strict=True):
            references += [mark._replace(name=f"{mark.name}, {short(contender)}") for mark in marks]

    def both(a: Points, b: Points) -> Points:
        return Points(*(np.concatenate(pair) for pair in zip(a, b, strict=True)))

    return after._replace(
        front=both(before.front, after.front),
        staircase=both(before.staircase, after.staircase),
        dominated=both(before.dominated, after.dominated),
        infeasible=both(before.infeasible, after.infeasible),
        references=tuple(references),
        limits=tuple(line for line in after.limits if line in before.limits),
        knee=None,
        floor=min(before.floor, after.floor),
    )


def short(contender: Contender) -> str:
    """The recipe alone, where it tells the runs apart, for marks inside the picture."""
    return str(contender.run.evaluation.get("recipe") or contender.run.name)


def draw_panel(
    axes: Axes, infos: Sequence[FrontInfo], whole: FrontInfo, window: Window, contenders: Sequence[Contender]
) -> None:
    axes.set(xlim=(window.left, window.right), ylim=(window.bottom, window.top), xlabel=whole.axis.label)
    for info, look, contender in zip(infos, LOOKS, contenders, strict=True):
        axes.scatter(
            info.dominated.cost,
            info.dominated.height,
            s=9,
            marker=look.marker,
            c=look.color,
            alpha=0.25,
            lw=0,
        )
        axes.step(
            info.staircase.cost, info.staircase.height, where="post", color=look.color, lw=1.5, zorder=4
        )
        axes.scatter(
            info.front.cost, info.front.height, s=32, marker=look.marker, c=look.color, edgecolors="white",
            lw=0.7, zorder=6, label=contender.line,
        )  # fmt: skip
    texts = draw_limits(axes, whole, window)
    labels, more = draw_references(axes, whole, window)
    renderer = style.renderer_of(axes)
    taken = [
        text.get_window_extent(renderer).padded(2.0)
        for text in texts + more + note_hidden(axes, whole, window)
    ]
    on_the_front = (Label("", x, y) for x, y in zip(whole.front.cost, whole.front.height, strict=True))
    taken += [around(axes, label) for label in (*labels, *on_the_front)]
    obstacles = np.column_stack([whole.dominated.cost, whole.dominated.height])
    place_labels(axes, labels, obstacles, taken)


if __name__ == "__main__":
    main()
