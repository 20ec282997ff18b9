"""The list of runs: the newest first, damaged ones among them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bitfront.search.runs.listing import latest_run, list_runs, run_names
from bitfront.search.runs.reader import RecordedRun
from bitfront.spaces import UserError

MakeRun = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, run_folder: MakeRun) -> Path:
    return run_folder(tmp_path, name="r", count=40, encoders=2)


def test_no_runs_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="start one with"):
        RecordedRun.read(tmp_path / "absent", "r")
    with pytest.raises(UserError, match="there are no runs"):
        latest_run(tmp_path)


def test_list_runs_is_newest_first_and_survives_damage(folder: Path, run_folder: MakeRun) -> None:
    second = run_folder(folder.parent, name="second", count=20, encoders=1)
    (folder.parent / "stray").mkdir()
    (second / "front.csv").write_text("nonsense")
    for file in folder.iterdir():
        os.utime(file, (1, 1))
    runs = list_runs(folder.parent)
    assert [run.name for run in runs] == ["second", "r"]
    assert runs[0].status == "damaged"
    assert runs[1].front_points > 0
    assert runs[1].evaluations == runs[1].budget == 40
    assert latest_run(folder.parent) == "second"
    shutil.rmtree(second)
    assert run_names(folder.parent) == ["r"]
