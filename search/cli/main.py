"""The ``bitfront`` command: reads the arguments, runs the command, turns errors into one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import cast

from bitfront.search.cli.errors import exit_status
from bitfront.search.cli.logs import log_to_stderr
from bitfront.search.cli.parser import parse


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
    try:
        args = parse(arguments)
        log_to_stderr(args.verbose)
        status = cast(int, args.handler(args))
        sys.stdout.flush()
    except BaseException as error:
        return exit_status(error, debug="--debug" in arguments)
    return status
