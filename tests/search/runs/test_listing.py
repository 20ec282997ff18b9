"""The list of runs: the newest first, damaged ones among them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from bitfront.search.problem.spec import RunSpec
from bitfront.search.runs.folder import RunStore
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


class StopError(Exception):
    """Stands for whatever ends a process."""


class StopAfter:
    def __init__(self, evaluations: int, root: Path) -> None:
        self.evaluations, self.root = evaluations, root
        self.seen: list[tuple[str, int]] = []

    def __call__(self, progress: object, trial: object) -> None:
        (summary,) = list_runs(self.root)
        self.seen.append((summary.status, summary.evaluations))
        if trial is not None and progress.evaluations == self.evaluations:
            raise StopError


@pytest.mark.parametrize("database", [False, True])
def test_a_running_and_a_killed_run_count_what_they_have_evaluated(
    synthetic: ModuleType, tmp_path: Path, database: bool
) -> None:
    root, url = tmp_path / "runs", f"sqlite:///{tmp_path}/study.db" if database else None
    folder, spec = RunStore(root).create("test"), RunSpec(evaluations=20, population=8)
    stop = StopAfter(13, root)
    with pytest.raises(StopError):
        synthetic.search(folder, spec, observers=(stop,), url=url)
    states, counts = zip(*stop.seen, strict=True)
    assert set(states) == {"running"}
    (summary,) = list_runs(root)
    assert summary.status == "killed"
    if database:  # whose table is written after every generation
        assert summary.evaluations >= 8
    else:
        assert list(counts) == sorted(counts)
        assert (counts[-1], summary.evaluations) == (13, 13)
    synthetic.search(folder, spec, resume=True, url=url)
    (summary,) = list_runs(root)
    assert (summary.status, summary.evaluations) == ("finished", 20)


def test_a_finished_run_that_was_gone_on_with_and_killed_is_killed(
    synthetic: ModuleType, tmp_path: Path
) -> None:
    root, spec = tmp_path / "runs", RunSpec(evaluations=10, population=8)
    folder = RunStore(root).create("test")
    synthetic.search(folder, spec)
    longer = RunSpec(evaluations=20, population=8)
    with pytest.raises(StopError):
        synthetic.search(folder, longer, resume=True, observers=(StopAfter(14, root),))
    (summary,) = list_runs(root)
    assert (summary.status, summary.evaluations, summary.budget) == ("killed", 14, 20)
    summary_json = folder.path / "summary.json"
    summary_json.write_text(json.dumps({**json.loads(summary_json.read_text()), "evaluations": 14}))
    assert list_runs(root)[0].status == "finished"
