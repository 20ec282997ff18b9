"""Plots: what is collected is right, and what is drawn is a picture."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from PIL import Image

from bitfront.evaluators.tasks.quality import PairedComparison
from bitfront.search.export.selection import chosen_row, shortlist_of
from bitfront.search.problem.limits import Limit
from bitfront.search.reports.plots.bit_map import MAX_ROWS, collect_bit_map
from bitfront.search.reports.plots.front import draw_fronts
from bitfront.search.reports.plots.front_points import LimitLine, Mark, collect_front
from bitfront.search.reports.plots.hypervolume import collect_hypervolume
from bitfront.search.reports.plots.labels import Label, place_labels
from bitfront.search.reports.plots.layout import Heading
from bitfront.search.reports.plots.run_plots import run_figures, write_plots
from bitfront.search.reports.plots.style import house_style, latency_axis, new_figure, save_figure, size_axis
from bitfront.search.reports.plots.window import LEAST_ERRORS, window_of
from bitfront.search.runs.reader import RecordedRun
from bitfront.spaces import BitfrontError, Granularity

MakeRun = Callable[..., Path]
HEADING = Heading("t", "s")
NAMES = ["front.png", "front_size.png", "front_latency.png", "bit_map.png", "hypervolume.png"]


@pytest.fixture
def run(runs_dir: Path) -> RecordedRun:
    return RecordedRun.read(runs_dir, "digits-1")


def drawn(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        image.verify()
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.info["dpi"][0] == pytest.approx(150, abs=1)
        return np.asarray(image.convert("L"))


def test_every_trial_is_in_one_group(run: RecordedRun) -> None:
    info = collect_front(run, size_axis())
    groups = [info.front, info.dominated, info.infeasible]
    shown = np.concatenate([group.trial for group in groups])
    assert sorted(shown) == sorted(run.trials.loc[run.trials["top1"].notna(), "trial"])
    assert info.front.cost == pytest.approx(np.sort(run.front["size_bytes"]) / 1e6)
    assert np.isin(info.infeasible.trial, run.trials.loc[run.trials["feasible"], "trial"]).sum() == 0


def test_staircase_is_the_front_in_two_objectives(run: RecordedRun) -> None:
    info = collect_front(run, latency_axis("measured:torch"))
    points = list(zip(info.front.cost, info.front.height, strict=True))
    best = {
        (cost, top1)
        for cost, top1 in points
        if not any(c <= cost and t >= top1 and (c, t) != (cost, top1) for c, t in points)
    }
    assert best <= set(zip(info.staircase.cost, info.staircase.height, strict=True))
    assert (np.diff(info.staircase.height) > 0).all()
    assert (np.diff(info.staircase.cost) >= 0).all()


def test_marks_limits_and_knee(run: RecordedRun) -> None:
    info = collect_front(run, size_axis())
    assert [mark.name for mark in info.references] == ["float32", "W8A8T8", "W4A4T4"]
    assert [(line.text, line.value, line.vertical) for line in info.limits] == [
        ("--max-size 0.95x", 1.25, True)
    ]
    assert info.knee is not None
    assert info.knee.name == f"knee: trial {chosen_row(run, 'knee')['trial']}"
    assert collect_front(run, latency_axis("")).limits == ()


def test_accuracy_limits_are_horizontal(run: RecordedRun) -> None:
    limits = (
        Limit("max_drop", "top1", "at least", 97.4, "1.5"),
        Limit("at_most_8bit_size", "size_bytes", "at most", 1e6, ""),
    )
    info = collect_front(dataclasses.replace(run, limits=limits), size_axis())
    assert [(line.text, line.vertical) for line in info.limits] == [
        ("--max-drop 1.5", False),
        ("at most 8bit size", True),
    ]


def test_listed_points_are_those_of_the_shortlist_with_their_errors(run: RecordedRun) -> None:
    info, listed = collect_front(run, size_axis()), shortlist_of(run)
    assert set(info.listed.trial.tolist()) == set(listed)
    assert len(listed) < len(info.front.trial)
    counts = run.trials.set_index("trial")
    for _, height, trial, error, behind in zip(*info.listed, strict=True):
        assert height == pytest.approx(counts.loc[trial, "top1"])
        paired = PairedComparison(899, *counts.loc[trial, ["lost", "won"]].astype(int))
        assert error == pytest.approx(paired.difference_standard_error, rel=0.03, abs=0.05)
        assert behind == len(listed[trial].alike) + len(listed[trial].near)
    whole = collect_front(run, size_axis(), everything=True)
    assert whole.listed.trial.tolist() == whole.front.trial.tolist()
    assert not whole.listed.behind.any()


def test_listed_points_are_named_with_how_many_stand_behind(run: RecordedRun) -> None:
    info = collect_front(run, size_axis())
    [axes] = draw_fronts([info], HEADING).axes
    texts = [text.get_text() for text in axes.texts]
    for _, _, trial, _, behind in zip(*info.listed, strict=True):
        name = f"{trial}{f' +{behind}' if behind else ''}"
        assert f"knee: trial {name}" in texts if info.knee.name.endswith(f" {trial}") else name in texts


def test_heights_are_estimates_where_there_are_some(run: RecordedRun) -> None:
    estimates = run.front["top1"] + 0.25
    estimated = dataclasses.replace(
        run, front=run.front.assign(top1_estimate=estimates, top1_estimate_error=0.125)
    )
    info = collect_front(estimated, size_axis())
    assert info.estimated
    assert sorted(info.front.height) == pytest.approx(sorted(estimates))
    assert info.listed.error == pytest.approx(0.125)


def test_a_picture_spans_some_standard_errors(run: RecordedRun) -> None:
    front = run.front.assign(top1=96.0 + run.front["top1"] / 1000)
    flat = dataclasses.replace(run, front=front, trials=run.trials.iloc[:0], references=(), limits=())
    estimated = front.assign(top1_estimate=front["top1"], top1_estimate_error=1.0)
    for shown, least in ((flat, 0.5), (dataclasses.replace(flat, front=estimated), LEAST_ERRORS)):
        info = collect_front(shown, size_axis())
        window = window_of(info)
        assert window.top - window.bottom >= least
        known = np.nan_to_num(info.listed.error)
        assert (info.listed.height - known).min() > window.bottom
        assert (info.listed.height + known).max() < window.top < 101


@pytest.mark.parametrize("where", ["inside", "left", "right", "below", "above"])
def test_every_limit_is_drawn_or_named_at_the_edge(run: RecordedRun, where: str) -> None:
    vertical, value = {
        "inside": (True, 1.0),
        "left": (True, 0.001),
        "right": (True, 40.0),
        "below": (False, -400.0),
        "above": (False, 99.9),
    }[where]
    line = LimitLine("--max-size 1x", value, vertical)
    figure = draw_fronts([collect_front(run, size_axis())._replace(limits=(line,))], HEADING)
    [axes] = figure.axes
    [text] = [text for text in axes.texts if "--max-size 1x" in text.get_text()]
    edge = {"left": "\N{LEFTWARDS ARROW}", "right": "\N{RIGHTWARDS ARROW}", "below": "\N{DOWNWARDS ARROW}"}
    assert edge.get(where, "--max-size 1x") in text.get_text()
    drawn = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert bool(drawn) == (where in ("inside", "above"))


def test_limits_of_what_no_axis_shows_are_named(run: RecordedRun, tmp_path: Path) -> None:
    limits = (Limit("max_kl", "kl", "at most", 0.1, "--max kl=0.1"), *run.limits)
    figures = run_figures(dataclasses.replace(run, limits=limits))
    for name, shown in (("front", False), ("front_size", False), ("front_latency", True)):
        texts = " ".join(text.get_text() for text in figures[name].texts)
        assert "also limited: --max kl=0.1" in texts
        assert ("--max-size 0.95x" in texts.partition("also limited")[2]) == shown


def test_no_mark_hides_a_point(run: RecordedRun) -> None:
    info = collect_front(run, size_axis())
    cost, height = float(info.front.cost[0]), float(info.front.height[0])
    marked = info._replace(
        references=(Mark("W8A8T8", cost, height),), knee=Mark("knee: trial 1", cost, height)
    )
    [axes] = draw_fronts([marked], HEADING).axes
    shown = ("front", "dominated", "breaks a limit")
    scattered = [found for found in axes.collections if isinstance(found, PathCollection)]
    points = [found for found in scattered if found.get_label().startswith(shown)]
    marks = [found for found in scattered if found not in points]
    beneath = max(mark.get_zorder() for mark in marks if len(mark.get_facecolors()))
    assert beneath < min(point.get_zorder() for point in points)
    assert any(not len(mark.get_facecolors()) for mark in marks)


def test_measured_times_are_joined_to_measured_axes_only(run: RecordedRun) -> None:
    info = collect_front(run, latency_axis(run.latency_source))
    assert len(info.measured.cost) == len(run.front)
    assert len(collect_front(run, size_axis()).measured.cost) == 0
    tabled = dataclasses.replace(
        run, summary={**run.summary, "latency_source": "table:t.csv (measured:torch)"}
    )
    assert len(collect_front(tabled, latency_axis("x")).measured.cost) == len(run.front)
    for source in (
        "model:bops",
        "table:t.csv (model:bops)",
        "table:t.csv (measured:torch, Pixel 8)",
        "measured:openvino",
        "table:phone.csv (mine)",
    ):
        modelled = dataclasses.replace(run, summary={**run.summary, "latency_source": source})
        shown = collect_front(modelled, latency_axis(source))
        assert len(shown.measured.cost) == 0
        assert shown.references == ()


def test_latency_axis_says_modelled() -> None:
    assert (
        latency_axis("model:bops", 1).label == "modelled latency of one image (ms, model:bops, not measured)"
    )
    assert latency_axis("measured:torch", 32).label == "latency of a batch of 32 (ms, measured:torch)"
    assert latency_axis("").label == "latency (ms)"


def with_disasters(run: RecordedRun) -> RecordedRun:
    """The run with its lower half collapsed to 10 % and the rest squeezed together above 97 %."""

    def collapse(top1: np.ndarray) -> np.ndarray:
        return np.where(top1 < 40, 10.0, 97.0 + top1 / 100)

    front = run.front.assign(top1=collapse(run.front["top1"].to_numpy()))
    trials = run.trials.assign(top1=collapse(run.trials["top1"].to_numpy()))
    return dataclasses.replace(run, front=front, trials=trials)


def test_disasters_do_not_flatten_the_front(run: RecordedRun) -> None:
    info = collect_front(with_disasters(run), size_axis())
    window = window_of(info)
    assert 90 < window.bottom < info.front.height.max() < window.top
    assert info.count_below(window.bottom) == int((with_disasters(run).trials["top1"] < 50).sum())


def test_even_front_is_shown_whole(run: RecordedRun) -> None:
    info = collect_front(run, size_axis())
    assert info.floor == pytest.approx(info.front.height.min())
    window = window_of(info)
    assert window.left < info.front.cost.min() < info.front.cost.max() < window.right < 5.36


@pytest.mark.parametrize(
    ("granularity", "titles", "columns"),
    [
        ("encoder", ["all bits"], 12),
        ("encoder-kind", ["weights", "activations", "attention"], 36),
        ("layer", ["weights", "activations", "attention"], 108),
    ],
)
def test_bit_map_is_the_genes(
    tmp_path: Path, run_folder: MakeRun, granularity: Granularity, titles: list[str], columns: int
) -> None:
    run_folder(tmp_path, name="r", granularity=granularity, count=60)
    run = RecordedRun.read(tmp_path, "r")
    info = collect_bit_map(run, everything=True)
    assert [group.title for group in info.groups] == titles
    assert info.levels.shape == (len(info.rows), columns)
    assert info.groups[-1].end == columns
    assert [encoder for encoder, _, _ in info.groups[0].encoders] == list(range(12))
    assert info.formats == (4, 8)
    sizes = [row.size_bytes for row in info.rows]
    assert sizes == sorted(sizes)
    row = run.front.set_index("trial").loc[info.rows[0].trial]
    name = "encoder00" if granularity == "encoder" else run.genes[0].name
    assert info.formats[info.levels[0, 0]] == row[name]
    assert sum(info.formats[level] for level in info.levels[0]) == sum(row[gene.name] for gene in run.genes)


def test_long_bit_map_is_thinned_but_keeps_ends_and_knee(run: RecordedRun) -> None:
    rows = run.front.iloc[np.arange(150) % len(run.front)].assign(trial=np.arange(150))
    rows = rows.assign(size_bytes=np.linspace(7e5, 9e5, 150))
    long = dataclasses.replace(run, front=rows.reset_index(drop=True))
    info = collect_bit_map(long, everything=True)
    shown = [row.trial for row in info.rows]
    assert len(shown) == len(set(shown)) == MAX_ROWS
    assert info.hidden == 110
    assert {0, 149, int(chosen_row(long, "knee")["trial"])} <= set(shown)
    assert sum(row.knee for row in info.rows) == 1


def test_a_bit_map_has_the_shortlist_and_what_stands_behind(run: RecordedRun) -> None:
    info, listed = collect_bit_map(run), shortlist_of(run)
    assert {row.trial for row in info.rows} == set(listed)
    assert info.hidden == len(run.front) - len(listed)
    for row in info.rows:
        alike = len(listed[row.trial].alike)
        assert (f"{alike} alike" in row.behind) == bool(alike)


def test_hypervolume_history(run: RecordedRun) -> None:
    info = collect_hypervolume(run)
    assert info.evaluations.tolist() == list(range(30, 241, 30))
    assert (np.diff(info.hypervolume) >= 0).all()


def test_pictures_are_drawn(run: RecordedRun, tmp_path: Path) -> None:
    paths = write_plots(run, tmp_path)
    assert [path.name for path in paths] == NAMES
    for path in paths:
        pixels = drawn(path)
        assert min(pixels.shape) > 300
        assert 0.01 < (pixels < 200).mean() < 0.6
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)


def test_pictures_go_into_the_run_folder(tmp_path: Path, run_folder: MakeRun) -> None:
    folder = run_folder(tmp_path, name="r", count=30, encoders=2)
    assert write_plots(RecordedRun.read(tmp_path, "r"))[0] == folder / "plots" / "front.png"


@pytest.mark.parametrize("change", ["disasters", "one point", "no front", "no references", "all limits"])
def test_awkward_runs_are_drawn(run: RecordedRun, tmp_path: Path, change: str) -> None:
    limits = tuple(
        Limit(name, column, "at most", bound, "x")
        for name, column, bound in (
            ("max_size", "size_bytes", 8e5),
            ("max_latency", "latency_ms", 3.0),
            ("min_top1", "top1", 90.0),
        )
    )
    changed = {
        "disasters": with_disasters(run),
        "one point": dataclasses.replace(run, front=run.front.iloc[[0]], trials=run.trials.iloc[:5]),
        "no front": dataclasses.replace(
            run, front=run.front.iloc[:0], trials=run.trials.assign(feasible=False), summary={}
        ),
        "no references": dataclasses.replace(run, references=(), limits=()),
        "all limits": dataclasses.replace(run, limits=limits),
    }[change]
    names = [path.name for path in write_plots(changed, tmp_path)]
    assert names == [n for n in NAMES if change != "no front" or n.startswith("front")]
    assert (drawn(tmp_path / "front.png") < 200).mean() > 0.005


def test_nothing_evaluated_draws_nothing(run: RecordedRun, tmp_path: Path) -> None:
    bare = dataclasses.replace(run, front=run.front.iloc[:0], trials=run.trials.iloc[:0], summary={})
    assert write_plots(bare, tmp_path / "plots") == []


def test_unwritable_folder_is_one_line(run: RecordedRun, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BitfrontError, match="cannot write"):
        write_plots(run, tmp_path / "file")


def test_labels_do_not_overlap() -> None:
    with house_style():
        axes = new_figure(5, 4).add_subplot()
        axes.set(xlim=(0, 1), ylim=(0, 1))
        labels = [Label(f"mark {i}", 0.5 + i / 200, 0.5) for i in range(6)]
        areas = place_labels(axes, labels, np.array([[label.x, label.y] for label in labels]))
    assert len(areas) == 6
    for i, one in enumerate(areas):
        assert not any(one.overlaps(other) for other in areas[i + 1 :])


def test_a_picture_is_written_whole_and_leaves_no_parts(tmp_path: Path) -> None:
    figure = new_figure(2.0, 2.0)
    path = save_figure(figure, tmp_path / "plots" / "a.png")
    assert drawn(path).size
    save_figure(figure, path)
    assert [file.name for file in path.parent.iterdir()] == ["a.png"]


def test_two_processes_draw_the_same_run(run: RecordedRun, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from bitfront.search.reports.plots.style import *\n"
        "for number in range(8): save_figure(new_figure(2.0, 2.0), Path(sys.argv[1]) / 'a.png')"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[1] for process in processes] == ["", "", ""]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
