"""How far a search is, written while it runs."""

from __future__ import annotations

import json

import pytest

from bitfront.search.engine.protocols import Progress
from bitfront.search.runs import progress_file
from bitfront.search.runs.folder import RunFolder
from bitfront.search.runs.progress_file import MOST_STEPS, PROGRESS, ProgressWriter, Step, read_progress
from bitfront.spaces import UserError


def at(evaluations: int, hypervolume: float = 0.5) -> Progress:
    return Progress(
        evaluations=evaluations,
        evaluations_budget=50,
        generation=evaluations // 10,
        front=(),
        trials=evaluations + 3,
        hypervolume=hypervolume,
        elapsed_s=2.0 * evaluations,
        remaining_s=100.0 - 2.0 * evaluations,
    )


def test_what_is_written_is_read_again(folder: RunFolder) -> None:
    assert read_progress(folder.path) is None
    writer = ProgressWriter(folder)
    writer.write(at(10, 0.4))
    writer.write(at(20, 0.6))
    found = read_progress(folder.path)
    assert found is not None
    assert (found.evaluations, found.budget, found.trials, found.front_points) == (20, 50, 23, 0)
    assert (found.elapsed_s, found.remaining_s) == (40.0, 60.0)
    assert found.history == (Step(10, 0.4, 20.0), Step(20, 0.6, 40.0))
    assert found.written == (folder.path / PROGRESS).stat().st_mtime


def test_an_observer_writes_now_and_then(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress_file.time, "monotonic", lambda: clock[0])
    writer = ProgressWriter(folder)
    for seconds, evaluations, expected in ((0.0, 1, 1), (1.9, 2, 1), (2.0, 3, 3), (3.0, 4, 3)):
        clock[0] = seconds
        writer(at(evaluations))
        found = read_progress(folder.path)
        assert found is not None
        assert found.evaluations == expected


def test_a_resumed_search_goes_on_with_the_history(folder: RunFolder) -> None:
    first = ProgressWriter(folder)
    first.write(at(10, 0.4))
    first.write(at(20, 0.6))
    ProgressWriter(folder).write(at(20, 0.61))
    ProgressWriter(folder).write(at(30, 0.7))
    found = read_progress(folder.path)
    assert found is not None
    assert [(step.evaluations, step.hypervolume) for step in found.history] == [
        (10, 0.4),
        (20, 0.61),
        (30, 0.7),
    ]


def test_a_long_history_is_thinned_and_keeps_its_end(folder: RunFolder) -> None:
    writer = ProgressWriter(folder)
    for evaluations in range(1, MOST_STEPS + 2):
        writer._add(Step(evaluations, 0.5, 1.0))
    writer.write(at(5000))
    found = read_progress(folder.path)
    assert found is not None
    assert len(found.history) == MOST_STEPS // 2 + 2
    assert [step.evaluations for step in found.history][-2:] == [MOST_STEPS + 1, 5000]
    assert [step.evaluations for step in found.history][:2] == [1, 3]


WORDY = {
    "evaluations": 3,
    "budget": "40",
    "trials": 4,
    "front_points": 2,
    "generation": 1,
    "history": [],
    "hypervolume": 0.5,
    "elapsed_s": 2.0,
    "remaining_s": None,
}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[" * 100_000,
        '{"history": [[1]]}',
        '{"history": [], "speed": 3}',
        '{"history": [[1e999, 0, 0]]}',
        json.dumps(WORDY),
        "[]",
    ],
    ids=lambda text: text[:20],
)
def test_a_damaged_file_is_named_and_does_not_stop_a_search(folder: RunFolder, text: str) -> None:
    (folder.path / PROGRESS).write_text(text)
    with pytest.raises(UserError, match=r"progress\.json is damaged"):
        read_progress(folder.path)
    ProgressWriter(folder).write(at(10))
    assert read_progress(folder.path) is not None
