"""``bitfront watch``: on a terminal until the search ends, elsewhere once."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bitfront.search.cli.commands import watch
from bitfront.search.reports import console
from bitfront.search.runs.locks import run_lock

Bitfront = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path, run_folder: Callable[..., Path]) -> Path:
    return run_folder(tmp_path, name="small", count=40, encoders=2)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    file = io.StringIO()
    monkeypatch.setattr(
        console, "stdout_console", lambda: Console(file=file, width=100, height=40, force_terminal=True)
    )
    return file


@pytest.fixture
def held(folder: Path) -> Iterator[ExitStack]:
    with ExitStack() as stack:
        stack.enter_context(run_lock(folder))
        yield stack


def test_without_a_terminal_it_prints_once(bitfront: Bitfront, folder: Path, held: ExitStack) -> None:
    found = bitfront("watch", "small", "--runs-dir", folder.parent)
    assert found.status == 0
    assert found.out.count("40/40 evaluations") == 1
    assert "(running)" in found.out


def test_the_latest_run_where_none_is_named(bitfront: Bitfront, folder: Path) -> None:
    found = bitfront("watch", "--runs-dir", folder.parent)
    assert found.out.startswith("small: digits_deit")
    assert "bitfront front small" in found.err


def test_json_is_one_document(bitfront: Bitfront, folder: Path) -> None:
    found = bitfront("watch", "--runs-dir", folder.parent, "--json")
    assert json.loads(found.out)["evaluations"] == 40
    assert found.err == ""


def test_it_looks_again_until_the_search_ends(
    bitfront: Bitfront, folder: Path, held: ExitStack, terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        (folder / "summary.json").write_text(json.dumps({**summary, "evaluations": 40 + len(slept)}))
        if len(slept) == 3:
            held.close()

    monkeypatch.setattr(watch.time, "sleep", sleep)
    found = bitfront("watch", "small", "--runs-dir", folder.parent, "--interval", "0.5")
    assert found.status == 0
    assert slept == [0.5] * 3
    assert "(running)" in terminal.getvalue()
    last = terminal.getvalue().rpartition("(running)")[2]
    assert f"({summary['stopped_because']})" in " ".join(last.split())
    assert "bitfront front small" in found.err


def test_ctrl_c_leaves_the_search_alone(
    bitfront: Bitfront, folder: Path, held: ExitStack, terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    monkeypatch.setattr(watch.time, "sleep", interrupt)
    found = bitfront("watch", "small", "--runs-dir", folder.parent)
    assert found.status == 0
    assert "the search goes on" in found.err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        (("--interval", "0"), "'0' is no number of seconds of at least 0.1"),
        (("--interval", "nan"), "'nan' is no number"),
        (("smal",), "there is no run 'smal'"),
        (("../x",), "../x"),
    ],
)
def test_mistakes(bitfront: Bitfront, folder: Path, options: tuple[str, ...], wrong: str) -> None:
    found = bitfront("watch", *options, "--runs-dir", folder.parent)
    assert found.status == 2
    assert wrong in found.err
    assert found.err.count("\n") == 1
