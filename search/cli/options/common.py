"""How options are declared, the few that many commands have, and the values they take."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from bitfront.evaluators.latency.registry import LATENCY_LOAD
from bitfront.search.runs.names import runs_root

if TYPE_CHECKING:
    from bitfront.search.session.run import Run

# Exit statuses.
FAILED, INTERRUPTED = 1, 130
# A parser, or a group of its options.
Group: TypeAlias = "argparse._ActionsContainer"


def option(
    group: Group,
    words: str,
    meaning: str,
    kind: Callable[[str], Any] = str,
    default: Any = None,
    choices: Iterable[str] | None = None,
    **more: Any,
) -> None:
    """Adds an option.

    Args:
        group: What it is added to.
        words: How it is written and what stands for its value, such as ``--seed N``; without a value or
            choices it is a switch.
        meaning: Its help; the default is added where the text does not say it.
        kind: Reads a value.
        default: The value where it is left out.
        choices: The values there are.
        more: Other arguments of ``add_argument``.
    """
    name, _, metavar = words.partition(" ")
    if not metavar and choices is None:
        group.add_argument(name, action="store_true", help=meaning)
        return
    if default not in (None, (), []) and "(default:" not in meaning:
        meaning += " (default: %(default)s)"
    values = None if choices is None else tuple(choices)
    group.add_argument(
        name, metavar=metavar or None, help=meaning, type=kind, default=default, choices=values, **more
    )


def add_common_options(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """``--json``, ``--verbose`` and ``--debug``, understood before and after the command."""
    group = parser.add_argument_group("output")
    flag: Any = {"action": "store_true", "default": default or False}
    group.add_argument("--json", help="print one JSON document on stdout and nothing else there", **flag)
    verbose = "log on stderr what is being done; twice for everything"
    group.add_argument("-v", "--verbose", action="count", default=default or 0, help=verbose)
    group.add_argument("--debug", help="print the traceback of an error", **flag)


def add_runs_dir(parser: argparse.ArgumentParser) -> None:
    """``--runs-dir``: the folder that holds the runs."""
    meaning = "folder of the runs (default: %(default)s; the environment variable BITFRONT_RUNS sets it)"
    option(parser, "--runs-dir DIR", meaning, Path, runs_root())


def add_run_argument(parser: argparse.ArgumentParser) -> None:
    """``[RUN]`` and ``--runs-dir``."""
    parser.add_argument("run", nargs="?", metavar="RUN", help="name of a run (default: the latest)")
    add_runs_dir(parser)


def open_chosen_run(args: argparse.Namespace) -> Run:
    """The run that the arguments name, or the latest one."""
    from bitfront.search.session.run import open_run

    return open_run(args.run, runs_dir=args.runs_dir)


def priced_runs(args: argparse.Namespace, run: Run) -> list[Run]:
    """A run by each source that was named, or as it was searched."""
    from bitfront.search.reports.progress import stderr_reporter
    from bitfront.spaces.errors import UserError

    sources = list(dict.fromkeys(args.latency or ()))
    load = {name: getattr(args, name) for name in LATENCY_LOAD}
    for name, number in load.items():
        if not sources and number is not None:
            option = f"--{name.replace('_', '-')} {number}"
            raise UserError(f"{option} needs the source of latencies: give --latency")
    how: Any = {**load, "progress": stderr_reporter()}
    return [run.priced(source, **how) for source in sources] or [run]


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
