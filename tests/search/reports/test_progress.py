"""The display of a running search, on a terminal and without one."""

from __future__ import annotations

import io
import itertools
import re

import pytest
from rich.console import Console
from search_contracts import ReporterContract

from bitfront.search.engine.protocols import Progress
from bitfront.search.problem.objectives import parse_objectives
from bitfront.search.problem.trial import Trial
from bitfront.search.problem.wording import duration
from bitfront.search.reports import progress as display
from bitfront.search.reports import progress as stages
from bitfront.search.reports.progress import ConsoleReporter, SearchProgress

OBJECTIVES = parse_objectives("top1,latency,size")
FRONT = (
    Trial(0, "d", (0,), "complete", {"top1": 98.0, "size_bytes": 900_000.0, "latency_ms": 3.0}, {}),
    Trial(1, "e", (1,), "complete", {"top1": 91.0, "size_bytes": 700_000.0, "latency_ms": 2.0}, {}),
)
FAILED = Trial(2, "f", (2,), "failed", {}, {}, error="out of memory")


def console(terminal: bool) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=terminal, width=200, color_system=None), file


def test_plain_lines_are_rare_and_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(step=2)
    monkeypatch.setattr(display.time, "monotonic", lambda: float(next(clock)))
    target, file = console(terminal=False)
    with SearchProgress(10, target) as shown:
        for done in range(1, 11):
            shown(Progress(done, 10, 1, FRONT, done + 2, 0.25, 1.0, 95.0, OBJECTIVES))
    lines = file.getvalue().splitlines()
    assert 2 <= len(lines) <= 8
    assert lines[0].startswith("1/10 evaluations; 1 min 35 s left; 2 on the front, best 98.00 %")
    assert "smallest 0.7000 MB, fastest 2.000 ms, hypervolume 0.2500, 3 trials" in lines[0]
    assert lines[-1].startswith("10/10 evaluations; 2 on the front")


def test_terminal_shows_bar_and_figures() -> None:
    target, file = console(terminal=True)
    with SearchProgress(10, target) as shown:
        shown(Progress(4, 10, 1, FRONT, 5, 0.5, 1.0, 5.0), FAILED)
    text = file.getvalue()
    assert "4/10" in text
    assert "5 s left" in text
    assert text.rstrip().endswith("1 failed")


def test_empty_front_is_shown() -> None:
    target, file = console(terminal=False)
    with SearchProgress(10, target) as shown:
        shown(Progress(0, 10, 0, (), 0, 0.0, 0.0, None))
    assert "0 on the front, hypervolume 0.0000, 0 trials" in file.getvalue()


def test_nothing_is_left_behind_by_an_error() -> None:
    target, file = console(terminal=False)

    def fail() -> None:
        with SearchProgress(10, target):
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        fail()
    assert file.getvalue() == ""


def test_is_a_search_observer() -> None:
    target, file = console(terminal=False)
    state = Progress(2, 10, 1, FRONT[:1], 2, 0.5, 1.0, 4.0)
    with SearchProgress(10, target) as shown:
        shown(state, FAILED)
        shown(state)
    assert "1 on the front" in file.getvalue()
    assert "1 failed" in file.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (59.4, "59 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_stage_tells_how_long_it_took() -> None:
    target, file = console(terminal=False)
    with ConsoleReporter(target).stage("calibrating m on 128 images") as share:
        share(0.5)
    assert re.fullmatch(r"calibrating m on 128 images \.\.\. \d+\.\d s\n", file.getvalue())


def test_stage_on_a_terminal_has_a_bar_with_share_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(step=30)
    monkeypatch.setattr(stages.time, "monotonic", lambda: float(next(clock)))
    target, file = console(terminal=True)
    with ConsoleReporter(target).stage("preparing m") as share:
        for done in (0.05, 0.15, 0.25):
            share(done)
        target.print("a line above")  # redraws the bar
    text = file.getvalue()
    assert re.search(r"preparing m.*\n.*25%", text)
    # A tenth in 30 s, and three quarters are left.
    assert "about 3 min 45 s left" in text
    assert text.rstrip().endswith("preparing m ... 120.0 s")


def test_stage_without_a_terminal_prints_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(step=4)
    monkeypatch.setattr(stages.time, "monotonic", lambda: float(next(clock)))
    target, file = console(terminal=False)
    with ConsoleReporter(target).stage("preparing m") as share:
        for percent in range(5, 45, 5):
            share(percent / 100)
    lines = file.getvalue().splitlines()
    assert lines == [
        "preparing m ... 15 % after 12 s; about 1 min 08 s left",
        "preparing m ... 30 % after 24 s; about 56 s left",
        "preparing m ... 36.0 s",
    ]


def estimates(reports: list[tuple[float, float]]) -> list[str]:
    """What is said after each report of a time and a share."""
    pace = stages._Pace()
    return [pace.left(share, now) for now, share in reports]


def test_no_time_is_told_before_there_is_ground_for_one() -> None:
    # Loading takes a minute, what comes then ten seconds: a tenth of it tells nothing of a minute.
    assert estimates([(60.0, 0.0), (61.0, 0.1), (62.0, 0.2)]) == ["", "", ""]
    assert estimates([(60.0, 0.02), (61.0, 0.12), (66.0, 0.62)])[2] == "about 4 s left"
    # The first parts take a second, the others a minute each.
    uneven = estimates([(0.0, 0.0), (1.0, 0.05), (2.0, 0.1), (62.0, 0.15), (122.0, 0.2)])
    assert uneven[:3] == [""] * 3
    assert uneven[4] == "about 16 min 00 s left"
    even = estimates([(60.0 * i, 0.1 * i) for i in range(10)])
    assert even[:2] == ["", "about 9 min 00 s left"]
    assert even[9] == "about 1 min 00 s left"


def test_failed_stage_claims_nothing() -> None:
    target, file = console(terminal=False)

    def fail() -> None:
        with ConsoleReporter(target).stage("loading"):
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        fail()
    assert " s" not in file.getvalue()


class TestContract(ReporterContract):
    @pytest.fixture(params=[True, False], ids=["terminal", "plain"])
    def reporter(self, request: pytest.FixtureRequest) -> ConsoleReporter:
        return ConsoleReporter(console(terminal=request.param)[0])
