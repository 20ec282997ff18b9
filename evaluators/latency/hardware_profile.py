"""Hardware profiles: how quickly a machine multiplies and moves data, by name or from TOML files.

A profile says in ``description`` what machine it is and in ``source`` where its figures come from. It has
either ``[macs_per_second]``, with multiply-accumulates per second for ``float`` and for pairs of operand
widths such as ``"8x8"`` or ``"4x8"`` (in either order), or ``bit_operations_per_second``, of which a product
of widths a and b takes a x b. ``[memory]`` (``bytes_per_second``, ``float_bytes``) and ``[overhead]``
(``seconds_per_encoder``, ``seconds_per_operator``) are optional: without them data move in no time, and
nothing is added.
"""

from __future__ import annotations

import itertools
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from bitfront.evaluators.latency.registry import PROFILE_SUFFIX, PROFILES, shipped_profiles
from bitfront.spaces import UserError
from bitfront.spaces.errors import one_line

Pair = tuple[int, int]
_PAIR = re.compile(r"(\d{1,2})x(\d{1,2})")
_WIDEST = 32
_MOST_FLOAT_BYTES = 8
_TOP = ("description", "source", "bit_operations_per_second", "macs_per_second", "memory", "overhead")
_MEMORY = ("bytes_per_second", "float_bytes")
_OVERHEAD = ("seconds_per_encoder", "seconds_per_operator")
_WORDS = {"description": "what machine this is", "source": "where its figures come from"}


@dataclass(frozen=True)
class HardwareProfile:
    """What a machine can do; exact fractions, so that sums do not depend on their order.

    Attributes:
        name: As latency sources name it.
        description: What it describes, and how far to trust it.
        source: Where the figures come from.
        rates: Multiply-accumulates per second by the widths of both operands, the narrower first.
        float_rate: The same for the float model's operands; None where bit operations decide.
        bit_operations: Bit operations per second, in the place of rates.
        float_bits: Bits of a value of the float model, and of what a scheme leaves in float.
        bytes_per_second: Memory bandwidth; None where moving data is free.
        encoder_seconds: Added for every encoder.
        operator_seconds: Added for every operator.
    """

    name: str
    description: str
    source: str
    rates: Mapping[Pair, Fraction] = field(default_factory=dict)
    float_rate: Fraction | None = None
    bit_operations: Fraction | None = None
    float_bits: int = 32
    bytes_per_second: Fraction | None = None
    encoder_seconds: Fraction = Fraction(0)
    operator_seconds: Fraction = Fraction(0)

    def rate(self, first: int, second: int) -> Fraction:
        """Multiply-accumulates per second of operands of these widths."""
        if self.bit_operations is not None:
            return self.bit_operations / (first * second)
        pair = self.pair(first, second)
        return self.whole_rate if pair is None else self.rates[pair]

    @property
    def whole_rate(self) -> Fraction:
        """Multiply-accumulates per second of the float model."""
        if self.bit_operations is not None:
            return self.bit_operations / self.float_bits**2
        assert self.float_rate is not None, "a profile without bit operations has a float rate"
        return self.float_rate

    def pair(self, first: int, second: int) -> Pair | None:
        """The pair whose rate operands of these widths run at: the nearest one that holds both.

        None where there is none, so that they run as float does.
        """
        low, high = sorted((first, second))
        holding = [pair for pair in self.rates if pair[0] >= low and pair[1] >= high]
        return min(holding, key=lambda pair: (pair[0] * pair[1], -self.rates[pair]), default=None)

    def notes(self, widths: Iterable[int]) -> tuple[str, ...]:
        """What must be known of times by this profile, one line each."""
        modelled = f"latencies by model:{self.name} are modelled, not measured: {self.description}"
        missing: dict[str, list[str]] = {}  # pairs that it has no rate for, by what stands in for them
        if self.bit_operations is None:
            for pair in itertools.combinations_with_replacement(sorted(set(widths)), 2):
                if (found := self.pair(*pair)) != pair:
                    stand_in = "float" if found is None else "{}x{}".format(*found)
                    missing.setdefault(stand_in, []).append("{}x{}".format(*pair))
        return (
            f"{modelled} (source: {self.source})",
            *(
                f"model:{self.name} has no rate for operands of {', '.join(pairs)} bits: that of {stand_in} "
                "is taken"
                for stand_in, pairs in missing.items()
            ),
        )


def profile_named(name: str) -> HardwareProfile:
    """A shipped profile by its name, or a file's.

    Raises:
        UserError: There is no such profile, or the file cannot be read, is no TOML, or a value is missing,
            odd or unknown; it is named.
    """
    if name.endswith(PROFILE_SUFFIX):
        path, name = Path(name), Path(name).name
    elif name in shipped_profiles():
        path = PROFILES / f"{name}{PROFILE_SUFFIX}"
    else:
        raise UserError(
            f"unknown latency profile 'model:{name}': choose one of {', '.join(shipped_profiles())}, or give "
            f"a file of your own, such as model:mine{PROFILE_SUFFIX}"
        )
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"profile {path} cannot be read ({one_line(error)}): give a TOML file") from error
    try:
        return _profile(document, name)
    except ValueError as error:
        raise UserError(f"profile {path}: {error}") from error


def _profile(document: Mapping[str, Any], name: str) -> HardwareProfile:
    """The profile of a document; ValueError says what is wrong with it."""
    _check_keys(document, _TOP, "")
    memory, overhead = (_section(document, key) for key in ("memory", "overhead"))
    _check_keys(memory, _MEMORY, "memory.")
    _check_keys(overhead, _OVERHEAD, "overhead.")
    if ("macs_per_second" in document) == ("bit_operations_per_second" in document):
        raise ValueError("it needs either [macs_per_second] or bit_operations_per_second")
    rates, operations = _section(document, "macs_per_second"), None
    if "bit_operations_per_second" in document:
        operations = _positive(document, "bit_operations_per_second")
    elif "float" not in rates or len(rates) < 2:
        raise ValueError('[macs_per_second] needs float and at least one pair of widths, such as "8x8"')
    bandwidth = _positive(memory, "bytes_per_second", "memory.") if "bytes_per_second" in memory else None
    per_encoder, per_operator = (_overhead(overhead, key) for key in _OVERHEAD)
    float_bytes = memory.get("float_bytes", 4)
    if type(float_bytes) is not int or not 1 <= float_bytes <= _MOST_FLOAT_BYTES:
        raise ValueError(
            f"memory.float_bytes is {float_bytes!r}: give a whole number from 1 to {_MOST_FLOAT_BYTES}"
        )
    return HardwareProfile(
        name,
        _text(document, "description"),
        _text(document, "source"),
        _pairs(rates),
        None if operations else _positive(rates, "float", "macs_per_second."),
        operations,
        8 * float_bytes,
        bandwidth,
        per_encoder,
        per_operator,
    )


def _check_keys(section: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    unknown = [key for key in section if key not in known]
    if unknown:
        raise ValueError(f"{where}{unknown[0]} is unknown: expected {', '.join(known)}")


def _section(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    section = document.get(key, {})
    if not isinstance(section, dict):
        raise ValueError(f"{key} is {section!r}: write it as a section [{key}]")
    return section


def _text(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{key} is missing: say in words {_WORDS[key]}")
    return " ".join(value.split())


def _pairs(rates: Mapping[str, Any]) -> dict[Pair, Fraction]:
    found: dict[Pair, Fraction] = {}
    for key in rates:
        if key == "float":
            continue
        match = _PAIR.fullmatch(key)
        low, high = sorted(map(int, match.groups())) if match else (0, 0)
        if not 1 <= low <= high <= _WIDEST:
            raise ValueError(
                f"macs_per_second.{key} is unknown: expected float, or two widths up to {_WIDEST}, such as "
                '"4x8"'
            )
        if (low, high) in found:
            raise ValueError(f"macs_per_second has {low}x{high} twice: either order means the same")
        found[low, high] = _positive(rates, key, "macs_per_second.")
    return found


def _positive(section: Mapping[str, Any], key: str, where: str = "") -> Fraction:
    value = _number(section[key])
    if value is None or value <= 0:
        raise ValueError(f"{where}{key} is {section[key]!r}: give a number above 0")
    return value


def _overhead(section: Mapping[str, Any], key: str) -> Fraction:
    value = _number(section.get(key, 0))
    if value is None or value < 0:
        raise ValueError(f"overhead.{key} is {section[key]!r}: give a number of seconds from 0 up")
    return value


def _number(value: object) -> Fraction | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return Fraction(value)
