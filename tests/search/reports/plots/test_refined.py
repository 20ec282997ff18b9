"""Refined points in the pictures: each on a line from the point that it was, within the picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from refined_cases import write_refined_point

from bitfront.search.reports.plots.front_points import collect_front
from bitfront.search.reports.plots.overlay import overlay_figures
from bitfront.search.reports.plots.run_plots import run_figures
from bitfront.search.reports.plots.style import size_axis
from bitfront.search.reports.plots.window import window_of
from bitfront.search.runs.reader import RecordedRun


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Path]) -> RecordedRun:
    root = tmp_path_factory.mktemp("refined")
    for name in ("one", "two"):
        make_run(root, name=name, count=60, encoders=3)
    front = RecordedRun.read(root, "one").front.sort_values("top1")
    write_refined_point(root, "one", int(front["trial"].iloc[-1]), gain=20.0)  # above all others
    return RecordedRun.read(root, "one")


def test_what_is_collected(run: RecordedRun) -> None:
    info = collect_front(run, size_axis())
    (trial,) = run.refined_front
    assert info.refined.trial.tolist() == [trial]
    own = info.front.trial == trial
    np.testing.assert_allclose(info.refined.cost, info.front.cost[own])
    np.testing.assert_allclose(info.refined.start, info.front.height[own])
    np.testing.assert_allclose(info.refined.height, info.refined.start + 20.0)
    assert info.refined.error.tolist() == [0.4]
    assert window_of(info).top > info.refined.height[0] + 0.4


def test_it_is_drawn_and_named(run: RecordedRun) -> None:
    figure = run_figures(run, only=["front_size"])["front_size"]
    (trial,) = run.refined_front
    (axes,) = figure.axes
    assert f"{trial} refined" in {text.get_text() for text in axes.texts}
    (legend,) = figure.legends
    assert any(text.get_text().startswith("refined, from its point") for text in legend.texts)


def test_a_front_without_any_has_no_such_mark(run: RecordedRun) -> None:
    bare = RecordedRun.read(run.path.parent, "two")
    (legend,) = run_figures(bare, only=["front_size"])["front_size"].legends
    assert not any("refined" in text.get_text() for text in legend.texts)


def test_several_runs_in_one_picture_show_their_searches(run: RecordedRun) -> None:
    other = RecordedRun.read(run.path.parent, "two")
    figures = overlay_figures([run, other], None, only=["front_size"]).figures
    assert not any("refined" in text.get_text() for text in figures["front_size"].axes[0].texts)
