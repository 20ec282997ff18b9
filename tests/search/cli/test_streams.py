"""What commands print where stdout and stderr cannot hold every sign, or are closed."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitfront.search.cli.main import main
from bitfront.search.cli.parser import COMMANDS
from bitfront.search.cli.streams import substitute_signs

ENCODINGS = ("ascii", "cp1252", "latin-1")
ALL_ENCODINGS = (*ENCODINGS, "utf-8", "cp437", "koi8-r")
SMALL = (
    "--model",
    "digits_deit",
    "--recipe",
    "fq-vit",
    "--calibration-images",
    "16",
    "--search-images",
    "32",
    "--test-images",
    "32",
)
# What each command prints at most: tables, notes, hints. Latencies are modelled, as quick as can be.
QUICK = {
    "runs": ("--runs-dir", "{runs}"),
    "front": ("--runs-dir", "{runs}"),
    "plot": ("--runs-dir", "{runs}", "--output", "{tmp}/plots"),
    "export": ("--runs-dir", "{runs}", "--output", "{tmp}/knee.json"),
    "latency-table": ("--template", "{tmp}/table.csv"),
}
LONG = {
    "evaluate": (*SMALL, "--latency", "model:bops"),
    "profile": (*SMALL, "--sensitivities", "gradient"),
    "search": (
        *SMALL,
        "--latency",
        "model:bops",
        "--evaluations",
        "4",
        "--workers",
        "1",
        "--run",
        "x",
        "--runs-dir",
        "{tmp}",
    ),
    "train": ("--model", "digits_deit", "--epochs", "1", "--output", "{tmp}/weights.safetensors"),
}


class Captured:
    """stdout and stderr of an encoding."""

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding
        self.streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]

    def texts(self) -> list[str]:
        for stream in self.streams:
            stream.flush()
        return [stream.buffer.getvalue().decode(self.encoding) for stream in self.streams]  # type: ignore[attr-defined]

    def run(self, words: Iterable[str], runs: Path, tmp: Path) -> int:
        """Runs a command that prints to them."""
        with redirect_stdout(self.streams[0]), redirect_stderr(self.streams[1]):
            return main([word.format(runs=runs, tmp=tmp) for word in words])


@pytest.fixture(params=ENCODINGS)
def captured(request: pytest.FixtureRequest) -> Captured:
    return Captured(request.param)


@pytest.mark.parametrize("command", QUICK)
def test_signs_that_are_missing_end_no_command(
    command: str, captured: Captured, runs_dir: Path, tmp_path: Path
) -> None:
    status = captured.run((command, *QUICK[command]), runs_dir, tmp_path)
    out, err = captured.texts()
    assert status == 0, err
    assert "error" not in err
    assert out


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize("command", LONG)
def test_signs_that_are_missing_end_no_long_command(
    command: str, captured: Captured, runs_dir: Path, tmp_path: Path
) -> None:
    status = captured.run((command, *LONG[command]), runs_dir, tmp_path)
    out, err = captured.texts()
    assert status == 0, err
    assert "next: " in err
    assert out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_can_be_read_everywhere(command: str, captured: Captured) -> None:
    assert captured.run((command, "--help"), Path(), Path()) == 0
    assert captured.texts()[0].startswith("usage: ")


def test_what_has_a_spelling_in_ascii_is_spelt(captured: Captured, runs_dir: Path, tmp_path: Path) -> None:
    assert captured.run(("front", "--runs-dir", "{runs}"), runs_dir, tmp_path) == 0
    out, _ = captured.texts()
    assert "* trial " in out
    assert "?" not in out
    assert ("+- s.e." in out) == (captured.encoding == "ascii")


def test_a_mistake_with_signs_of_its_own_is_one_line(
    captured: Captured, runs_dir: Path, tmp_path: Path
) -> None:
    assert (
        captured.run(
            ("front", "\N{GREEK SMALL LETTER MU}x\udcff", "--runs-dir", "{runs}"), runs_dir, tmp_path
        )
        == 2
    )
    for stream in captured.streams:
        stream.flush()
    (line,) = captured.streams[1].buffer.getvalue().splitlines()  # type: ignore[attr-defined]
    assert line.startswith(b"error: ")


def test_how_a_user_has_signs_written_stays(runs_dir: Path) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="xmlcharrefreplace")
    with redirect_stdout(stream):
        assert main(["front", "--runs-dir", str(runs_dir)]) == 0
    stream.flush()
    assert b"&#9733; trial" in stream.buffer.getvalue()  # type: ignore[attr-defined]


@settings(derandomize=True, deadline=None)
@given(text=st.text(st.characters(codec=None)), encoding=st.sampled_from(ALL_ENCODINGS))
def test_any_text_is_written_in_any_encoding(text: str, encoding: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    with redirect_stdout(stream):
        substitute_signs()
        print(text)
    stream.flush()
    written = stream.buffer.getvalue()  # type: ignore[attr-defined]
    if text.isascii():
        assert written == text.encode("ascii") + b"\n"
    assert written.count(b"\n") == text.count("\n") + 1


@pytest.fixture
def process(runs_dir: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A command in a process of its own."""

    def run(shell: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = f'"{sys.executable}" -m bitfront.search.cli front --runs-dir "{runs_dir}" {shell}'
        return subprocess.run(
            ["bash", "-c", command],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **environment},
        )

    return run


@pytest.mark.skipif(sys.platform == "win32", reason="as shells of Unix write it")
class TestProcess:
    def test_the_locale_c(self, process) -> None:
        plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
        done = process("", **plain)
        assert (done.returncode, done.stderr.count("error")) == (0, 0)
        assert "* trial" in done.stdout

    @pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
    def test_streams_that_are_closed(self, process, closed: str) -> None:
        done = process(closed)
        assert done.returncode == 0, done.stderr
        assert "rror" not in done.stderr
        assert ("* trial" in done.stdout or "\N{BLACK STAR} trial" in done.stdout) == (closed == "2>&-")

    @pytest.mark.parametrize("reader", ["| true", "2>&1 | true", "2>&1 >/dev/null | true"])
    def test_readers_that_have_gone(self, process, reader: str) -> None:
        done = process(f"{reader}; exit ${{PIPESTATUS[0]}}")
        assert done.returncode in (0, 141)
        assert done.stderr == ""

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
    def test_a_full_disk_is_one_line(self, process) -> None:
        done = process("> /dev/full")
        assert done.returncode == 1
        told = [line for line in done.stderr.splitlines() if not line.startswith(("next: ", "      "))]
        assert told == ["error: no space left on device; run with --debug for the traceback"]
