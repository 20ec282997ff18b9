"""What a benchmark is asked for: lists on the command line, read before anything is loaded."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bitfront.evaluators.runtimes.runtime import runtime_is_installed, runtime_named
from bitfront.search.cli.bench import RUNTIMES
from bitfront.search.spec import parse_duration
from bitfront.spaces import SCHEMES, Triple, UserError, parse_uniform

NONE = "none"
TORCH = "torch"
GRAPH_SCHEME = "deploy"
LARGEST_BATCH = 1024


@dataclass(frozen=True)
class BenchOptions:
    """The lists of a benchmark.

    Attributes:
        uniform: Uniform configurations by name.
        configs: Files of others.
        runtimes: Installed ones that take part.
        baselines: Other models to compare with.
        batches: Images of a batch, ascending.
        budget_s: Seconds for timing.
        notes: Why runtimes are missing.
    """

    uniform: dict[str, Triple]
    configs: tuple[Path, ...]
    runtimes: tuple[str, ...]
    baselines: tuple[str, ...]
    batches: tuple[int, ...]
    budget_s: float
    notes: tuple[str, ...]

    @classmethod
    def of(cls, args: argparse.Namespace) -> BenchOptions:
        """Reads the arguments.

        Raises:
            UserError: A list has something else in it, or a runtime is not installed or does not run the
                scheme.
        """
        uniform = {
            f"W{w}A{a}T{t}": (w, a, t) for w, a, t in map(parse_uniform, _words(args.uniform, "--uniform"))
        }
        runtimes, notes = _runtimes(args)
        return cls(
            uniform,
            tuple(args.config),
            runtimes,
            _words(args.baselines, "--baselines"),
            _batches(args.batches),
            parse_duration(args.budget),
            notes,
        )


def _words(text: str, option: str) -> tuple[str, ...]:
    """Words between commas, once each; none for ``none``."""
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    if words == (NONE,):
        return ()
    if not all(words) or NONE in words:
        raise UserError(f"{option} {text!r} is no list: separate names by commas, or give none")
    return words


def _batches(text: str) -> tuple[int, ...]:
    words = _words(text, "--batches")
    if not words or not all(word.isdecimal() and 0 < int(word) <= LARGEST_BATCH for word in words):
        raise UserError(
            f"--batches {text!r} is no list of numbers from 1 to {LARGEST_BATCH}: give some such as 1,8"
        )
    return tuple(sorted({int(word) for word in words}))


def _runtimes(args: argparse.Namespace) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those asked for, or all that are installed, and a note for each that is not."""
    if args.runtimes is None:
        missing = [name for name in RUNTIMES if name != TORCH and not runtime_is_installed(name)]
        notes = [
            f"{name} is not installed and left out: pip install 'bitfront[runtimes]'" for name in missing
        ]
        return tuple(name for name in RUNTIMES if name not in missing), tuple(notes)
    names = _words(args.runtimes, "--runtimes")
    if not names:
        raise UserError(f"--runtimes {args.runtimes}: give at least one of {', '.join(RUNTIMES)}")
    for name in names:
        if name not in RUNTIMES:
            raise UserError(f"--runtimes: unknown runtime {name!r}: choose from {', '.join(RUNTIMES)}")
        if name != TORCH:
            runtime_named(name)
    _check_scheme(args.scheme, names)
    return names, ()


def _check_scheme(scheme: str, names: Sequence[str]) -> None:
    graphs = [name for name in names if name != TORCH]
    if graphs and scheme != GRAPH_SCHEME:
        others = ", ".join(other for other in SCHEMES if other != GRAPH_SCHEME)
        raise UserError(
            f"{graphs[0]} runs scheme {GRAPH_SCHEME} only: give --scheme {GRAPH_SCHEME}, or --runtimes "
            f"{TORCH} for {others}"
        )
