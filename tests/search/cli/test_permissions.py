"""Folders that may not be written to, or read: each command names them, in one line, before long work."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from bitfront.search.cli.main import main
from bitfront.search.problem.spec import RunSpec
from bitfront.search.runs.folder import RunFolder

NOBODY = 65534
pytestmark = pytest.mark.skipif(not hasattr(os, "seteuid"), reason="permissions are those of Unix")


@contextmanager
def as_anybody() -> Iterator[None]:
    """Without the rights of root, whom no permission stops."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def place(run_folder: Callable[..., Path]) -> Iterator[Path]:
    """A folder that anybody may look into, with a finished run in ``runs`` and nothing in ``mine``."""
    folder = Path(tempfile.mkdtemp())
    run_folder(folder / "runs", name="small", count=40, encoders=2)
    RunFolder(folder / "runs" / "small").path.joinpath("run.lock").touch()
    (folder / "mine").mkdir()
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    if os.geteuid() != 0:  # else the folders are of another user
        for path in (folder / "runs", folder / "runs" / "small", folder / "mine"):
            path.chmod(0o555)
        (folder / "runs" / "small" / "run.lock").chmod(0o444)
    yield folder
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str], place: Path) -> Callable[..., str]:
    """Runs a command as anybody; gives its one line of an error."""

    def run(*words: str, status: int = 2) -> str:
        given = [word.format(place=place) for word in words]
        main([given[0], "--help"])
        capsys.readouterr()  # what it imports is read with the rights of the tests
        with as_anybody():
            assert main(given) == status
        err = capsys.readouterr().err
        assert [line for line in err.splitlines() if line.startswith("error: ")] == [err.splitlines()[-1]]
        return str(err.splitlines()[-1])

    return run


WRITERS: list[tuple[str, ...]] = [
    ("export", "--runs-dir", "{place}/runs", "--output", "{place}/mine/knee.json"),
    ("export", "--runs-dir", "{place}/runs"),
    ("plot", "--runs-dir", "{place}/runs", "--output", "{place}/mine/plots"),
    ("plot", "--runs-dir", "{place}/runs"),
    ("latency-table", "--template", "{place}/mine/table.csv"),
    ("train", "--output", "{place}/mine/weights.safetensors"),
    ("profile", "--plot", "{place}/mine/genes.png"),
    ("search", "--runs-dir", "{place}/mine/runs"),
    ("search", "--runs-dir", "{place}/mine"),
    ("compare", "--runs-dir", "{place}/mine"),
    ("compare", "--output", "{place}/mine/tables.tex", "--runs-dir", "{place}/runs"),
    ("compare-samplers", "--runs-dir", "{place}/mine"),
    ("bench", "--output", "{place}/mine/bench"),
    ("bench", "--runs-dir", "{place}/mine/runs"),
]


@pytest.fixture(scope="module")
def warm(make_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Everything that commands import late has been imported, with the rights of the tests."""
    root = tmp_path_factory.mktemp("warm")
    make_run(root, name="small", count=40, encoders=2)
    taken = ("--runs-dir", str(root), "--run", "small")
    for words, status in (
        (("export", "--runs-dir", str(root)), 0),
        (("plot", "--runs-dir", str(root)), 0),
        (("front", "--runs-dir", str(root)), 0),
        (("runs", "--runs-dir", str(root)), 0),
        (("search", *taken), 2),
        (("compare", *taken), 2),
        (("compare-samplers", *taken), 2),
        (("bench", "--budget", "x"), 2),
    ):
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            assert main(words) == status


@pytest.mark.parametrize("words", WRITERS, ids=" ".join)
def test_a_folder_that_may_not_be_written_to_is_named(
    warm: Any, told: Callable[..., str], words: Any
) -> None:
    line = told(*words)
    assert line.startswith("error: cannot write ")
    assert "permission denied; make the folder writable, or choose another" in line


def test_a_run_of_another_user_is_not_gone_on_with(warm: Any, told: Callable[..., str], place: Path) -> None:
    RunFolder(place / "runs" / "small").write_spec(RunSpec())
    (place / "runs" / "small" / "spec.json").chmod(0o644)
    line = told("search", "--resume", "small", "--runs-dir", "{place}/runs")
    assert f"cannot write {place}/runs/small/run.lock: permission denied" in line


@pytest.mark.parametrize("name", ["spec.json", "front.csv", "trials.csv", "summary.json", "space.json"])
def test_a_file_that_may_not_be_read_is_named(
    warm: Any, told: Callable[..., str], place: Path, name: str
) -> None:
    (place / "runs" / "small" / name).chmod(0)
    line = told("front", "--runs-dir", "{place}/runs")
    assert f"cannot read {place}/runs/small/{name}: permission denied; have its owner let you read it" in line


def test_runs_that_may_not_be_read(
    warm: Any, told: Callable[..., str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(place / "runs" / "small", place / "runs" / "other")
    (place / "runs" / "other").chmod(0)
    with as_anybody():
        assert main(["runs", "--runs-dir", str(place / "runs")]) == 0
    out = capsys.readouterr().out
    assert "other: damaged: cannot read" in out
    assert "small" in out
    (place / "runs").chmod(0)
    line = told("runs", "--runs-dir", "{place}/runs")
    assert f"cannot read {place}/runs: permission denied" in line


@pytest.mark.parametrize(
    "words",
    [
        ("export", "--runs-dir", "{place}/runs", "--output", "{place}/nowhere/dir/x.json"),
        ("export", "--runs-dir", "{place}/runs", "--output", "{place}/nowhere/x.json"),
        ("plot", "--runs-dir", "{place}/runs", "--output", "{place}/nowhere/dir"),
        ("bench", "--output", "{place}/nowhere/dir"),
        ("latency-table", "--template", "{place}/nowhere/x.csv"),
        ("latency-table", "--output", "{place}/nowhere/x.csv"),
        ("train", "--output", "{place}/nowhere/x.safetensors"),
        ("profile", "--plot", "{place}/nowhere/x.png"),
    ],
    ids=" ".join,
)
def test_a_mistyped_folder_is_not_made(
    place: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word.format(place=place) for word in words]) == 2
    err = capsys.readouterr().err
    assert f"there is no folder {place}/nowhere" in err
    assert err.count("\n") == 1
    assert not (place / "nowhere").exists()
