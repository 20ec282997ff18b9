"""Pictures that are drawn where they are named: costs with quality, hypervolume over time, gene scores."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import rgb_to_hsv
from matplotlib.figure import Figure

from bitfront.search.reports.plots.picture import USUAL_PICTURES, picture_size
from bitfront.search.reports.plots.run_plots import figure_by_source, run_figures
from bitfront.search.reports.plots.sensitivity import collect_gene_scores
from bitfront.search.runs.reader import RecordedRun

STEPS = [[1, 0.2, 30.0], [20, 0.5, 60.0], [40, 0.8, 120.0]]


@pytest.fixture
def run(tmp_path: Path, run_folder: Callable[..., Path]) -> RecordedRun:
    folder = run_folder(tmp_path, name="small", count=60, encoders=2)
    run = RecordedRun.read(tmp_path, "small")
    names = [gene.name for gene in run.genes]
    scores = {"format": "bitfront/gene-scores", "version": 1, "genes": names, "widths": [4, 8]}
    moments = [[0.0] * row + [1e-4 * (row + 1)] for row in range(len(names))]
    (folder / "gene_scores.json").write_text(json.dumps({**scores, "moments": moments}))
    known = {"evaluations": 40, "budget": 40, "trials": 40, "front_points": 3, "generation": 2}
    known |= {"hypervolume": 0.8, "elapsed_s": 120.0, "remaining_s": 0.0}
    (folder / "progress.json").write_text(json.dumps({**known, "history": STEPS}))
    return run


def drawn(run: RecordedRun, name: str, size: str | None = None) -> Figure:
    [figure] = run_figures(run, size=picture_size(size), only=[name]).values()
    return figure


def test_only_where_they_are_named(run: RecordedRun) -> None:
    assert list(run_figures(run)) == [name for name in USUAL_PICTURES if name != "front_energy"]
    named = ["front_costs", "hypervolume_time", "sensitivities"]
    assert list(run_figures(run, only=named)) == named


def test_what_was_not_recorded_is_left_out(run: RecordedRun) -> None:
    for name in ("gene_scores.json", "progress.json"):
        (run.path / name).unlink()
    empty = dataclasses.replace(run, front=run.front.iloc[:0])
    assert run_figures(empty, only=["front_costs", "hypervolume_time", "sensitivities"]) == {}


def test_costs_show_every_point_and_darker_is_worse(run: RecordedRun) -> None:
    figure = drawn(run, "front_costs")
    axes, bar = figure.axes
    star, points = sorted(axes.collections, key=lambda found: len(found.get_offsets()))
    rows = run.front.sort_values("top1", kind="stable")
    places = np.asarray(points.get_offsets())
    assert sorted(map(tuple, places.round(9))) == sorted(
        zip((rows["size_bytes"] / 1e6).round(9), rows["latency_ms"].round(9), strict=True)
    )
    figure.canvas.draw()
    grey = rgb_to_hsv(points.get_facecolors()[:, :3])[:, 2]
    values = np.asarray(points.get_array())
    assert grey[values.argmin()] < grey[values.argmax()]
    assert len(star.get_offsets()) == 1
    assert "top-1 (%)" in bar.get_ylabel()
    assert "MB" in axes.get_xlabel()


def test_hypervolume_over_time_is_in_minutes(run: RecordedRun) -> None:
    [axes] = drawn(run, "hypervolume_time").axes
    assert axes.get_xlabel() == "search time (minutes)"
    assert axes.lines[0].get_xdata().tolist() == [0.5, 1.0, 2.0]
    assert axes.lines[0].get_ydata().tolist() == [0.2, 0.5, 0.8]


def test_sensitivities_are_those_of_each_gene_alone(run: RecordedRun) -> None:
    genes = collect_gene_scores(run)
    assert [gene["gene"] for gene in genes] == [gene.name for gene in run.genes]
    assert [gene["gradient"] for gene in genes] == pytest.approx([1e-4 * (i + 1) for i in range(len(genes))])
    figure = drawn(run, "sensitivities")
    [axes] = figure.axes
    marks = [found for found in axes.collections if len(found.get_offsets()) > 1]
    heights = {round(float(y), 9) for found in marks for _, y in found.get_offsets()}
    assert heights == {round(0.1 * (i + 1), 9) for i in range(len(genes))}
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["weights", "activations", "attention"]


@pytest.mark.parametrize("name", ["front_costs", "hypervolume_time", "sensitivities"])
@pytest.mark.parametrize("size", ["column", "page", "slide"])
def test_they_have_the_sizes_of_pages(run: RecordedRun, name: str, size: str) -> None:
    figure = drawn(run, name, size)
    assert figure.get_figwidth() == picture_size(size).width
    figure.canvas.draw()
    texts = [text for axes in figure.axes for text in [*axes.get_xticklabels(), axes.xaxis.label]]
    assert all(text.get_fontsize() >= 8.0 for text in texts)
    assert figure.get_tightbbox().width <= figure.get_figwidth() + 0.02


@pytest.mark.parametrize("sources", [2, 3, 5])
def test_fronts_by_source_have_a_panel_each_in_rows(run: RecordedRun, sources: int) -> None:
    runs = [
        dataclasses.replace(
            run,
            summary={**run.summary, "latency_source": f"table:{number}.csv"},
            front=run.front.assign(latency_ms=run.front["latency_ms"] * 10.0**number),
            trials=run.trials.assign(latency_ms=run.trials["latency_ms"] * 10.0**number),
        )
        for number in range(sources)
    ]
    figure = figure_by_source(runs)
    assert figure is not None
    assert len(figure.axes) == sources
    lefts, bottoms = (
        {round(getattr(axes.get_position(), side), 3) for axes in figure.axes} for side in ("x0", "y0")
    )
    assert (len(lefts), len(bottoms)) == ((sources, 1) if sources <= 3 else (2, 3))
    assert [f"table:{number}.csv" in axes.get_xlabel() for number, axes in enumerate(figure.axes)] == [
        True
    ] * sources
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    columns = [axes.get_xlim()[1] for axes in figure.axes]
    assert columns == sorted(columns)
    assert f"{len(run.front)} points on every front" in figure.texts[1].get_text()


def test_fronts_by_source_of_nothing_are_none(run: RecordedRun) -> None:
    empty = dataclasses.replace(run, front=run.front.iloc[:0], trials=run.trials.iloc[:0])
    assert figure_by_source([run, empty]) is None
