"""Quantities as people write them: sizes such as ``4MB``, times such as ``12ms``, durations, counts."""

from __future__ import annotations

import re
from collections.abc import Mapping

from bitfront.spaces.errors import UserError

BYTES = {
    "b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
    "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30, "tib": 2.0**40,
}  # fmt: skip
MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
MILLIJOULES = {"uj": 1e-3, "mj": 1.0, "j": 1e3}
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0}


def read_quantity(text: str, units: Mapping[str, float]) -> float | None:
    """A number with a unit, such as ``1.5 GiB``, in what ``units`` count; None for a text of another form.

    Args:
        text: Written in upper or lower case.
        units: What one of each unit is, by its name in lower case; an empty name lets the unit be left out.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)", text.strip().lower())
    if match is None or match.group(2) not in units:
        return None
    return float(match.group(1)) * units[match.group(2)]


def parse_duration(text: str) -> float:
    """Reads a duration such as ``10m``, ``90s`` or ``1h30m`` in seconds.

    Raises:
        UserError: The text has another form, or is zero.
    """
    cleaned = text.strip().lower()
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)([hms])", cleaned)
    seconds = sum(float(amount) * _SECONDS[unit] for amount, unit in parts)
    if "".join(amount + unit for amount, unit in parts) != cleaned or seconds <= 0:
        raise UserError(f"{text!r} is not a duration: write 90s, 10m or 1h30m")
    return seconds


def count_of(count: int, noun: str, plural: str | None = None) -> str:
    """A number of things in words, such as ``1 image`` or ``12,000 images``.

    Args:
        count: How many.
        noun: One of them.
        plural: Several of them, where that is not the noun with an s.
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"
