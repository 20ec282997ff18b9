"""What a run folder shows of a search that goes on."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from bitfront.search.reports.watch import Sight, curve, watch_document, watch_view
from bitfront.search.runs.locks import run_lock
from bitfront.spaces import UserError

MakeRun = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, run_folder: MakeRun) -> Path:
    return run_folder(tmp_path, name="small", count=40, encoders=2)


def begun(folder: Path) -> None:
    """As a search leaves it that is half way."""
    (folder / "summary.json").unlink()
    lines = (folder / "trials.csv").read_text().splitlines(keepends=True)
    (folder / "trials.csv").write_text("".join(lines[:21]))
    steps = [[5, 0.2, 10.0], [10, 0.5, 20.0], [20, 0.8, 40.0]]
    known = {"evaluations": 22, "budget": 40, "trials": 25, "front_points": 3, "generation": 2}
    known |= {"hypervolume": 0.8, "elapsed_s": 40.0, "remaining_s": 60.0}
    (folder / "progress.json").write_text(json.dumps({**known, "history": steps}))


def text(seen: Sight, width: int = 100) -> str:
    file = io.StringIO()
    Console(file=file, width=width).print(watch_view(seen, width, plain=True))
    return file.getvalue()


def test_a_finished_run(folder: Path) -> None:
    seen = Sight.of(folder.parent, "small")
    assert not seen.running
    assert (seen.evaluations, seen.budget, seen.remaining_s) == (40, 40, None)
    assert "40/40 evaluations" in text(seen)
    assert "\N{BLACK STAR} trial" in text(seen)
    assert "1 failed" in text(seen)


def test_a_run_that_goes_on(folder: Path) -> None:
    begun(folder)
    with run_lock(folder):
        seen = Sight.of(folder.parent, "small")
        assert seen.running
        assert (seen.evaluations, seen.budget, seen.measuring) == (22, 40, False)
        assert seen.remaining_s == pytest.approx(60.0, abs=30.0)
        shown = text(seen)
        assert "22/40 evaluations, 40 s searched, about " in shown
        assert "0.8000, 0.2000 after 5 evaluations" in shown
        assert "(running)" in shown
    assert Sight.of(folder.parent, "small").state == "killed"


def test_time_that_has_passed_since_is_taken_off(folder: Path) -> None:
    begun(folder)
    os.utime(folder / "progress.json", (0, 0))
    with run_lock(folder):
        assert Sight.of(folder.parent, "small").remaining_s == 0.0


def test_a_run_of_an_earlier_version_that_goes_on(folder: Path) -> None:
    begun(folder)
    (folder / "progress.json").unlink()
    with run_lock(folder):
        seen = Sight.of(folder.parent, "small")
    assert (seen.evaluations, seen.history, seen.remaining_s) == (20, (), None)
    assert "20/40 evaluations\n" in text(seen)


def test_before_the_first_evaluation(folder: Path) -> None:
    for name in ("trials.csv", "front.csv", "summary.json"):
        (folder / name).unlink()
    with run_lock(folder):
        seen = Sight.of(folder.parent, "small")
        assert "preparing the model" in text(seen)
        assert watch_document(seen)["front"] is None


def test_the_finished_front_is_being_measured(folder: Path) -> None:
    with run_lock(folder):
        seen = Sight.of(folder.parent, "small")
        assert seen.measuring
        assert "the finished front is being measured" in text(seen)


def test_an_empty_front(folder: Path) -> None:
    (folder / "front.csv").write_text((folder / "front.csv").read_text().splitlines()[0] + "\n")
    assert "no point on the front so far" in text(Sight.of(folder.parent, "small"))


def test_rejected_candidates_are_counted_by_their_reasons(folder: Path) -> None:
    header, *rows = (folder / "trials.csv").read_text().splitlines()
    names = header.split(",")
    header += ",violation.mixed"
    state, size = names.index("state"), names.index("violation.max_size")
    changed = []
    for number, row in enumerate(rows):
        cells = row.split(",")
        if number < 5:
            cells[state], cells[size] = "rejected", "0.5" if number < 4 else "-0.5"
        changed.append(",".join([*cells, "1.0" if number in (3, 4) else "-1.0"]))
    (folder / "trials.csv").write_text("\n".join([header, *changed]) + "\n")
    seen = Sight.of(folder.parent, "small")
    assert seen.rejected == {"max_size": 4, "mixed": 2}
    assert "5 rejected before evaluation (max size 4, mixed 2)" in text(seen, 200)


def test_the_document_has_the_front(folder: Path) -> None:
    begun(folder)
    with run_lock(folder):
        found = watch_document(Sight.of(folder.parent, "small"))
    assert (found["running"], found["evaluations"], found["evaluations_budget"]) == (True, 22, 40)
    assert found["hypervolume_history"] == ((5, 0.2), (10, 0.5), (20, 0.8))
    assert found["front"]["run"] == "small"


def test_nothing_is_written(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    text(Sight.of(folder.parent, "small"))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_an_unknown_run(folder: Path) -> None:
    with pytest.raises(UserError, match="did you mean small"):
        Sight.of(folder.parent, "smal")
    shutil.rmtree(folder)
    with pytest.raises(UserError, match="there is no run"):
        Sight.of(folder.parent, "small")


def test_a_curve_rises_with_what_is_still_missing() -> None:
    rising = curve([0.0, 0.9, 0.99, 0.999])
    assert rising[0] == "\N{LOWER ONE EIGHTH BLOCK}"
    assert rising[-1] == "\N{FULL BLOCK}"
    assert list(rising) == sorted(rising)
    assert len(set(rising)) == 4
    assert len(curve([i / 100 for i in range(100)], most=40)) == 40
    assert curve([0.5, 0.5]) == "\N{FULL BLOCK}" * 2
    assert curve([1.0]) == "\N{FULL BLOCK}"
