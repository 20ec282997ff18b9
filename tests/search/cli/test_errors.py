"""What ends a command becomes one line and an exit status."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bitfront.search.cli.commands import runs
from bitfront.search.cli.main import LONGEST_MESSAGE, StderrHandler, exit_status, log_to_stderr, main
from bitfront.spaces import BitfrontError, UserError


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UserError("no such\nmodel"), 2, "error: no such model\n"),
        (BitfrontError("disk full"), 1, "error: disk full\n"),
        (UserError("x" * 100_000), 2, f"error: {'x' * LONGEST_MESSAGE}\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (SystemExit(0), 0, ""),
        (SystemExit(), 0, ""),
        (SystemExit(3), 3, ""),
        (
            ValueError("bad\nshape"),
            1,
            "error: internal error: ValueError: bad shape; run with --debug for the traceback\n",
        ),
        (
            ZeroDivisionError(),
            1,
            "error: internal error: ZeroDivisionError: ZeroDivisionError; run with --debug",
        ),
        (
            OSError(28, "No space left on device", "a.csv"),
            1,
            "error: no space left on device: a.csv; run with",
        ),
    ],
)
def test_errors_are_reported(
    error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status(error, debug=False) == status
    written = capsys.readouterr().err
    assert written.startswith(line)
    assert written.count("\n") == bool(line)


def test_internal_errors_reach_main(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: object) -> int:
        raise RuntimeError("a bug")

    monkeypatch.setattr(runs, "run", broken)
    assert main(["runs"]) == 1
    assert "internal error: RuntimeError: a bug" in capsys.readouterr().err
    assert main(["runs", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_closed_pipe_is_quiet(runs_dir: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "bitfront.search.cli", "front", "--json", "--runs-dir", str(runs_dir)]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.stderr == ""
    assert done.returncode == 141


def test_warnings_are_shown_and_information_only_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("bitfront.test")
    root = logging.getLogger()
    try:
        for verbosity, expected in ((0, ["WARNING: w"]), (1, ["INFO: i", "WARNING: w"])):
            log_to_stderr(verbosity)
            logger.info("i")
            logger.warning("w")
            assert capsys.readouterr().err.splitlines() == expected
        assert sum(isinstance(handler, StderrHandler) for handler in root.handlers) == 1
    finally:
        for handler in [h for h in root.handlers if isinstance(h, StderrHandler)]:
            root.removeHandler(handler)
        logging.getLogger("bitfront").setLevel(logging.NOTSET)
