"""What a benchmark is asked for: configurations, runtimes, baselines and batches, as texts or as values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bitfront.evaluators.deployment.runtimes.registry import runtime_is_installed, runtime_named
from bitfront.evaluators.latency.registry import TIMED_RUNTIMES, TORCH
from bitfront.spaces import SCHEMES, Triple, UserError, parse_uniform
from bitfront.spaces.formats import label
from bitfront.spaces.quantities import parse_duration

# In the order in which they are shown.
RUNTIMES = tuple(reversed(TIMED_RUNTIMES))
UNIFORM = "W8A8T8,W4A8T8,W4A4T4"
BASELINES = "resnet18,mobilenetv3_large_100,convnext_tiny"
BATCHES, LARGEST_BATCH = "1,8", 1024
BUDGET = "10m"
NONE = "none"
Words = str | Sequence[str]


@dataclass(frozen=True)
class BenchOptions:
    """The lists of a benchmark.

    Attributes:
        uniform: Uniform configurations by name.
        runtimes: Installed ones that take part.
        baselines: Other models to compare with; None for the usual ones where images are large enough.
        batches: Images of a batch, ascending.
        budget_s: Seconds for timing.
        notes: Why runtimes are missing.
    """

    uniform: dict[str, Triple]
    runtimes: tuple[str, ...]
    baselines: tuple[str, ...] | None
    batches: tuple[int, ...]
    budget_s: float
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        scheme: str,
        uniform: Words = UNIFORM,
        runtimes: Words | None = None,
        baselines: Words | None = None,
        batches: str | Sequence[int] = BATCHES,
        budget: str | float = BUDGET,
    ) -> BenchOptions:
        """Reads lists: texts with commas between, or sequences.

        Args:
            scheme: The quantization scheme of the configurations.
            uniform: Uniform configurations, or ``none``.
            runtimes: Names out of :data:`RUNTIMES`; None for all that are installed.
            baselines: Models of timm, or ``none``; None for the usual ones.
            batches: Images of a batch.
            budget: Time for timing, such as ``10m``, or in seconds.

        Raises:
            UserError: A list has something else in it, or a runtime is not installed or does not run the
                scheme.
        """
        uniform_formats = map(parse_uniform, _words(uniform, "--uniform"))
        taking_part, notes = _runtimes(runtimes, scheme)
        return cls(
            {label(formats): formats for formats in uniform_formats},
            taking_part,
            None if baselines is None else _words(baselines, "--baselines"),
            _batches(batches),
            parse_duration(budget) if isinstance(budget, str) else budget,
            notes,
        )


def _words(words: Words, option: str) -> tuple[str, ...]:
    """Words between commas, once each; none for ``none``."""
    if not isinstance(words, str):
        return tuple(dict.fromkeys(words))
    found = tuple(dict.fromkeys(word.strip() for word in words.split(",")))
    if found == (NONE,):
        return ()
    if not all(found) or NONE in found:
        raise UserError(f"{option} {words!r} is no list: separate names by commas, or give none")
    return found


def _batches(batches: str | Sequence[int]) -> tuple[int, ...]:
    text = batches if isinstance(batches, str) else ",".join(map(str, batches))
    words = _words(text, "--batches")
    if not words or not all(word.isdecimal() and 0 < int(word) <= LARGEST_BATCH for word in words):
        raise UserError(
            f"--batches {text!r} is no list of numbers from 1 to {LARGEST_BATCH}: give some such as {BATCHES}"
        )
    return tuple(sorted({int(word) for word in words}))


def _runtimes(runtimes: Words | None, scheme: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those asked for, or all that are installed, and a note for each that is not."""
    if runtimes is None:
        missing = [name for name in RUNTIMES if name != TORCH and not runtime_is_installed(name)]
        notes = [
            f"{name} is not installed and left out: pip install 'bitfront[runtimes]'" for name in missing
        ]
        return tuple(name for name in RUNTIMES if name not in missing), tuple(notes)
    names = _words(runtimes, "--runtimes")
    if not names:
        raise UserError(f"--runtimes {runtimes}: give at least one of {', '.join(RUNTIMES)}")
    for name in names:
        if name not in RUNTIMES:
            raise UserError(f"--runtimes: unknown runtime {name!r}: choose from {', '.join(RUNTIMES)}")
        if name != TORCH:
            runtime_named(name)
    graphs = [name for name in names if name != TORCH]
    if graphs and scheme not in TIMED_RUNTIMES[graphs[0]].schemes:
        [runs] = TIMED_RUNTIMES[graphs[0]].schemes
        others = ", ".join(other for other in SCHEMES if other != runs)
        raise UserError(
            f"{graphs[0]} runs scheme {runs} only: give --scheme {runs}, or --runtimes {TORCH} for {others}"
        )
    return names, ()
