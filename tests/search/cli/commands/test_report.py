"""``bitfront report``: where the file goes, and what is wrong with what was asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name in ("first", "second"):
        make_run(folder, name=name, count=40, encoders=4)
    return folder


@pytest.fixture
def report(bitfront: Any, root: Path) -> Callable[..., Any]:
    return lambda *words: bitfront("report", *words, "--runs-dir", root)


def test_the_file_lies_in_the_run_folder(report: Any, root: Path) -> None:
    done = report("first")
    assert done.status == 0
    assert done.out.splitlines()[0] == str(root / "first" / "report.html")
    assert "export first --pick knee" in done.out + done.err
    assert (root / "first" / "report.html").stat().st_size > 500_000


def test_several_runs_lie_beside_them(report: Any, root: Path) -> None:
    found = json.loads(report("first", "second", "--json").out)
    assert found["runs"] == ["first", "second"]
    path = root / "first+second" / "report.html"
    assert found == {"runs": ["first", "second"], "report": str(path), "bytes": path.stat().st_size}


def test_another_place(report: Any, tmp_path: Path) -> None:
    assert json.loads(report("first", "--output", tmp_path / "r.html", "--json").out)["run"] == "first"
    assert [file.name for file in tmp_path.iterdir()] == ["r.html"]


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (("first", "--output", "r.pdf"), "ends in .html"),
        (("first", "--output", "there-is-none/r.html"), "there is no folder"),
        (("first", "first"), "named twice"),
        (("frist",), "did you mean first?"),
        (("first", "--images", "-1"), "not a whole number"),
        (("first", "--images", "5"), "leave out --images"),
    ],
)
def test_mistakes_are_one_line(report: Any, words: tuple[str, ...], wrong: str) -> None:
    done = report(*words)
    assert done.status == 2
    assert wrong in done.error


def test_a_run_without_trials(report: Any, root: Path, make_run: Callable[..., Path]) -> None:
    folder = make_run(root, name="empty", count=40, encoders=4)
    for name in ("trials.csv", "front.csv"):
        text = (folder / name).read_text().splitlines()[0]
        (folder / name).write_text(text + "\n")
    assert "has no evaluated trials to show yet" in report("empty").error
