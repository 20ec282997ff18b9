"""Options that several commands share, and the values they take."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from bitfront.search.runs.names import runs_root

# Exit statuses.
FAILED, INTERRUPTED = 1, 130

if TYPE_CHECKING:
    from bitfront.search.runs.reader import Run

    Subparsers: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]


def command_parser(subparsers: Subparsers, name: str, summary: str, detail: str) -> argparse.ArgumentParser:
    """The parser of a command, with the options that every command has."""
    parser = subparsers.add_parser(
        name,
        help=summary,
        description=detail,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_common_options(parser, default=argparse.SUPPRESS)
    return parser


def add_common_options(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """``--json``, ``--verbose`` and ``--debug``, understood before and after the command."""
    group = parser.add_argument_group("output")
    flag = {"action": "store_true", "default": default or False}
    group.add_argument("--json", help="print one JSON document on stdout and nothing else there", **flag)  # type: ignore[arg-type]
    group.add_argument(
        "-v",
        "--verbose",
        action="count",
        default=default or 0,
        help="log on stderr what is being done; twice for everything",
    )
    group.add_argument("--debug", help="print the traceback of an error", **flag)  # type: ignore[arg-type]


def add_runs_dir(parser: argparse.ArgumentParser) -> None:
    """``--runs-dir``: the folder that holds the runs."""
    parser.add_argument(
        "--runs-dir",
        type=Path,
        default=runs_root(),
        metavar="DIR",
        help="folder of the runs (default: %(default)s; the environment variable BITFRONT_RUNS sets it)",
    )


def add_run_argument(parser: argparse.ArgumentParser) -> None:
    """``[RUN]`` and ``--runs-dir``."""
    parser.add_argument("run", nargs="?", metavar="RUN", help="name of a run (default: the latest)")
    add_runs_dir(parser)


def open_chosen_run(args: argparse.Namespace) -> Run:
    """The run that the arguments name, or the latest one."""
    from bitfront.search.runs.listing import latest_run
    from bitfront.search.runs.reader import open_run

    return open_run(args.runs_dir, args.run or latest_run(args.runs_dir))


def positive(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def positive_or_auto(text: str) -> int | None:
    """A whole number above 0, or None for ``auto``."""
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number above 0 nor auto")
    return int(text)


def natural(text: str) -> int:
    """A whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 up")
    return int(text)


def percentage(text: str) -> float:
    """A number from 0 to 100; a percent sign may follow."""
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 100.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 100")
    return value
