"""The ``bitfront`` command: reads the arguments, runs the command, turns errors into one line."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import cast

from bitfront.search.cli.options.common import FAILED, INTERRUPTED
from bitfront.search.cli.parser import parse
from bitfront.search.cli.streams import forget_closed_pipes, substitute_signs

PIPE_CLOSED = 141
# What a damaged file has in place of a name may be as long as the file.
LONGEST_MESSAGE = 2000
_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


def exit_status(error: BaseException, debug: bool) -> int:
    """Reports an error and returns the exit status that belongs to it.

    Args:
        error: What ended the command.
        debug: Whether to print the traceback as well.
    """
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 0 if error.code is None else FAILED
    if isinstance(error, BrokenPipeError):
        forget_closed_pipes()
        return PIPE_CLOSED
    if debug:
        traceback.print_exception(error)
    if isinstance(error, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    from bitfront.spaces.errors import BitfrontError, one_line

    if isinstance(error, BitfrontError):
        print(f"error: {one_line(error, LONGEST_MESSAGE)}", file=sys.stderr)
        return error.exit_status
    if isinstance(error, OSError):
        forget_closed_pipes()
    what = f"internal error: {type(error).__name__}: {one_line(error, LONGEST_MESSAGE)}"
    if isinstance(error, OSError) and error.strerror:
        what = error.strerror.lower() + (f": {error.filename}" if error.filename else "")
    print(f"error: {what}; run with --debug for the traceback", file=sys.stderr)
    return FAILED


class StderrHandler(logging.Handler):
    """Writes to whatever ``sys.stderr`` is at the time, so that a live display is not torn."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one record."""
        print(self.format(record), file=sys.stderr)


def log_to_stderr(verbosity: int) -> None:
    """Shows warnings, with verbosity 1 also what is being done, with 2 everything.

    Other packages' records stay at warnings.
    """
    root, library = logging.getLogger(), logging.getLogger("bitfront")
    for handler in [h for h in root.handlers if isinstance(h, StderrHandler)]:
        root.removeHandler(handler)
    handler = StderrHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    level = _LEVELS[min(verbosity, len(_LEVELS) - 1)]
    # A run's log file may lower the library's level meanwhile: what is shown here stays as asked for.
    handler.addFilter(lambda record: record.levelno >= level)
    root.addHandler(handler)
    library.setLevel(level)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: Arguments without the program's name; those of the process by default.

    Returns:
        The exit status: 0 for success, 2 for the user's mistake, 1 for a failure, 130 after Ctrl-C.
    """
    # Threads of torch that spin while they wait would stop every other process of a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = list(sys.argv[1:] if argv is None else argv)
    substitute_signs()
    try:
        args = parse(arguments)
        log_to_stderr(args.verbose)
        status = cast(int, args.handler(args))
        sys.stdout.flush()
    except BaseException as error:
        return exit_status(error, debug="--debug" in arguments)
    return status
