"""Errors at the command line: one line on stderr and an exit status; a traceback only with ``--debug``."""

from __future__ import annotations

import os
import sys
import traceback

INTERRUPTED = 130
PIPE_CLOSED = 141
FAILURE = 1


def exit_status(error: BaseException, debug: bool) -> int:
    """Reports an error and returns the exit status that belongs to it.

    Args:
        error: What ended the command.
        debug: Whether to print the traceback as well.
    """
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 0 if error.code is None else FAILURE
    if isinstance(error, BrokenPipeError):
        _discard_output()
        return PIPE_CLOSED
    if debug:
        traceback.print_exception(error)
    if isinstance(error, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    from bitfront.spaces.errors import BitfrontError

    if isinstance(error, BitfrontError):
        print(f"error: {one_line(error)}", file=sys.stderr)
        return error.exit_status
    print(f"error: {_internal(error)}; run with --debug for the traceback", file=sys.stderr)
    return FAILURE


def one_line(error: BaseException) -> str:
    """An error's message on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _internal(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f" {error.filename}" if error.filename else ""
        return f"{error.strerror.lower()}:{where}" if where else error.strerror.lower()
    return f"internal error: {type(error).__name__}: {one_line(error)}"


def _discard_output() -> None:
    # The interpreter flushes stdout once more at exit, which would print a second error.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
