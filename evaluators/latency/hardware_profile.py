"""Hardware profiles: how quickly a machine multiplies and moves data, by name or from TOML files.

A profile says in ``description`` what machine it is and in ``source`` where its figures come from. It has
either ``[macs_per_second]``, with multiply-accumulates per second for ``float`` and for pairs of operand
widths such as ``"8x8"`` or ``"4x8"`` (in either order), or ``bit_operations_per_second``, of which a product
of widths a and b takes a x b. ``[memory]`` (``bytes_per_second``, ``float_bytes``) and ``[overhead]``
(``seconds_per_encoder``, ``seconds_per_operator``) are optional: without them data move in no time, and
nothing is added. ``[energy]`` is optional, too (:mod:`bitfront.evaluators.latency.energy_figures`).
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from bitfront.evaluators.latency.energy_figures import EnergyFigures, read_energy
from bitfront.evaluators.latency.profile_reading import (
    Pair,
    by_pair,
    check_keys,
    positive,
    seconds_of,
    section,
    words,
)
from bitfront.evaluators.latency.registry import PROFILE_SUFFIX, PROFILES, shipped_profiles
from bitfront.spaces import UserError
from bitfront.spaces.errors import one_line

_MOST_FLOAT_BYTES = 8
_TOP = (
    "description",
    "source",
    "bit_operations_per_second",
    "macs_per_second",
    "memory",
    "overhead",
    "energy",
)
_MEMORY = ("bytes_per_second", "float_bytes")
_OVERHEAD = ("seconds_per_encoder", "seconds_per_operator")


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
        energy: What operations and data cost in energy; None where that is not known.
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
    energy: EnergyFigures | None = None

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
    check_keys(document, _TOP)
    memory, overhead = (section(document, key) for key in ("memory", "overhead"))
    check_keys(memory, _MEMORY, "memory.")
    check_keys(overhead, _OVERHEAD, "overhead.")
    if ("macs_per_second" in document) == ("bit_operations_per_second" in document):
        raise ValueError("it needs either [macs_per_second] or bit_operations_per_second")
    rates, operations = section(document, "macs_per_second"), None
    if "bit_operations_per_second" in document:
        operations = positive(document, "bit_operations_per_second")
    elif "float" not in rates or len(rates) < 2:
        raise ValueError('[macs_per_second] needs float and at least one pair of widths, such as "8x8"')
    bandwidth = positive(memory, "bytes_per_second", "memory.") if "bytes_per_second" in memory else None
    per_encoder, per_operator = (seconds_of(overhead, key, "overhead.") for key in _OVERHEAD)
    float_bytes = memory.get("float_bytes", 4)
    if type(float_bytes) is not int or not 1 <= float_bytes <= _MOST_FLOAT_BYTES:
        raise ValueError(
            f"memory.float_bytes is {float_bytes!r}: give a whole number from 1 to {_MOST_FLOAT_BYTES}"
        )
    return HardwareProfile(
        name,
        words(document, "description"),
        words(document, "source"),
        by_pair(rates, "macs_per_second"),
        None if operations else positive(rates, "float", "macs_per_second."),
        operations,
        8 * float_bytes,
        bandwidth,
        per_encoder,
        per_operator,
        read_energy(document),
    )
