"""Values of hardware profiles, checked: what is wrong with one is a ValueError that names it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

Pair = tuple[int, int]
_PAIR = re.compile(r"(\d{1,2})x(\d{1,2})")
_WIDEST = 32
_WORDS = {"description": "what machine this is", "source": "where its figures come from"}


def check_keys(found: Mapping[str, Any], known: Iterable[str], where: str = "") -> None:
    """Refuses keys that are not known; ``where`` stands before their names."""
    unknown = [key for key in found if key not in known]
    if unknown:
        raise ValueError(f"{where}{unknown[0]} is unknown: expected {', '.join(known)}")


def section(document: Mapping[str, Any], key: str, where: str = "") -> Mapping[str, Any]:
    """A section of a document; an empty one where it is absent."""
    found = document.get(key, {})
    if not isinstance(found, dict):
        raise ValueError(f"{where}{key} is {found!r}: write it as a section [{where}{key}]")
    return found


def words(document: Mapping[str, Any], key: str, where: str = "") -> str:
    """A text that has to be there, in one line."""
    value = document.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{where}{key} is missing: say in words {_WORDS[key]}")
    return " ".join(value.split())


def by_pair(found: Mapping[str, Any], where: str) -> dict[Pair, Fraction]:
    """Numbers above 0 by the widths of both operands, the narrower first; ``float`` is left out."""
    pairs: dict[Pair, Fraction] = {}
    for key in found:
        if key == "float":
            continue
        match = _PAIR.fullmatch(key)
        low, high = sorted(map(int, match.groups())) if match else (0, 0)
        if not 1 <= low <= high <= _WIDEST:
            raise ValueError(
                f'{where}.{key} is unknown: expected float, or two widths up to {_WIDEST}, such as "4x8"'
            )
        if (low, high) in pairs:
            raise ValueError(f"{where} has {low}x{high} twice: either order means the same")
        pairs[low, high] = positive(found, key, f"{where}.")
    return pairs


def positive(found: Mapping[str, Any], key: str, where: str = "") -> Fraction:
    """A number above 0."""
    value = _number(found.get(key))
    if value is None or value <= 0:
        raise ValueError(f"{where}{key} is {found.get(key)!r}: give a number above 0")
    return value


def seconds_of(found: Mapping[str, Any], key: str, where: str) -> Fraction:
    """Seconds from 0 up; 0 where they are absent."""
    value = _number(found.get(key, 0))
    if value is None or value < 0:
        raise ValueError(f"{where}{key} is {found[key]!r}: give a number of seconds from 0 up")
    return value


def _number(value: object) -> Fraction | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return Fraction(value)
