"""Numbers as people read them: sizes in MB, times in ms, shares in percent, an em dash where unknown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bitfront.evaluators.context.significance import PairedComparison

MISSING = "\N{EM DASH}"
_DIGITS = 4


def megabytes(size_bytes: float, largest: float | None = None) -> str:
    """A size in MB of 10^6 bytes; ``largest`` of a column sets the decimals for all its entries."""
    return _fixed(size_bytes / 1e6, (size_bytes if largest is None else largest) / 1e6)


def milliseconds(value: float, largest: float | None = None) -> str:
    """A time in milliseconds; ``largest`` of a column sets the decimals for all its entries."""
    return _fixed(value, value if largest is None else largest)


def percent(value: float) -> str:
    """A share that is already in percent, without the sign."""
    return MISSING if math.isnan(value) else f"{value:.2f}"


def points(count: int) -> str:
    """A number of points in words."""
    return {0: "no point", 1: "1 point"}.get(count, f"{count} points")


def difference(comparison: PairedComparison | None) -> str:
    """A difference of top-1 in percentage points with its paired standard error."""
    if comparison is None:
        return MISSING
    if comparison.lost + comparison.won == 0:  # no image tells how far chance could move it
        return f"{comparison.difference:+.2f}"
    return f"{comparison.difference:+.2f} \N{PLUS-MINUS SIGN} {comparison.difference_standard_error:.2f}"


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
