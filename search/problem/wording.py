"""Numbers as people read them: sizes in MB, times in ms, shares in percent, an em dash where unknown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from bitfront.evaluators.tasks.metric import DECIMALS, SHARE_DECIMALS
from bitfront.evaluators.tasks.quality import PairedComparison

MISSING = "\N{EM DASH}"
_DIGITS = 4


def megabytes(size_bytes: float, largest: float | None = None) -> str:
    """A size in MB of 10^6 bytes; ``largest`` of a column sets the decimals for all its entries."""
    return _fixed(size_bytes / 1e6, (size_bytes if largest is None else largest) / 1e6)


def milliseconds(value: float, largest: float | None = None) -> str:
    """A time in milliseconds; ``largest`` of a column sets the decimals for all its entries."""
    return _fixed(value, value if largest is None else largest)


def percent(value: float, decimals: int = 2) -> str:
    """A share that is already in percent, or another metric, without its unit."""
    return MISSING if math.isnan(value) else f"{value:.{decimals}f}"


def quality(value: float, unit: str) -> str:
    """A metric with its unit, to as many decimals as chance leaves of a share, or of nats."""
    return f"{percent(value, SHARE_DECIMALS if unit == '%' else DECIMALS)} {unit}".rstrip()


def duration(seconds: float) -> str:
    """A time as ``45 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def points(count: int) -> str:
    """A number of points in words."""
    return {0: "no point", 1: "1 point"}.get(count, f"{count} points")


class Difference(NamedTuple):
    """A difference to the float model.

    Attributes:
        value: In the metric's unit.
        error: Its paired standard error; None where it is not known.
    """

    value: float
    error: float | None = None

    @classmethod
    def of(cls, comparison: PairedComparison) -> Difference:
        """That of a comparison; where all images came out alike, none tells how far chance could move it."""
        changed = comparison.lost + comparison.won
        return cls(comparison.difference, comparison.difference_standard_error if changed else None)


def difference(found: Difference | None, decimals: int = 2) -> str:
    """A difference with its paired standard error."""
    if found is None or math.isnan(found.value):
        return MISSING
    error = "" if found.error is None else f" \N{PLUS-MINUS SIGN} {found.error:.{decimals}f}"
    return f"{found.value:+.{decimals}f}{error}"


def quantization(settings: Mapping[str, Any]) -> str:
    """Scheme, recipe, what was left out of it and an observer of its own, as far as they are recorded."""
    parts = [str(settings.get("scheme") or "")]
    if settings.get("recipe"):
        left_out = ", ".join(settings.get("without") or ())
        parts.append(f"recipe {settings['recipe']}" + (f" without {left_out}" if left_out else ""))
    if settings.get("observer"):
        parts.append(f"observer {settings['observer']}")
    return ", ".join(part for part in parts if part)


def evaluator(described: Mapping[str, Any], chosen: str = "") -> str:
    """What evaluates: batches, threads and kernels; ``chosen`` may say how the former were chosen."""
    threads = "1 thread" if described["threads"] == 1 else f"{described['threads']} threads"
    return f"batches of {described['batch_size']} on {threads}{chosen}; {described['kernels']}"


def is_modelled(latency_source: str) -> bool:
    """Whether times of this source are modelled, also through a table of modelled times."""
    return "model:" in latency_source


def same_source(latency_source: str, measured_source: str) -> bool:
    """Whether times of a source were measured in that runtime, directly or for a table."""
    return latency_source.rstrip(")").endswith(measured_source)


def _fixed(value: float, largest: float) -> str:
    """Four significant digits of the largest value, one decimal at least."""
    if math.isnan(value):
        return MISSING
    digits = _DIGITS - 1 - math.floor(math.log10(largest)) if largest > 0 else 1
    return f"{value:.{min(max(digits, 1), 6)}f}"
