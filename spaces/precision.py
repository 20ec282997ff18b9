"""Integer precisions as values."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bitfront.spaces.errors import UserError
from bitfront.spaces.sites import KINDS, Kind

MIN_BITS = 2
MAX_BITS = 8
_LETTERS: dict[str, Kind] = {"W": "weights", "A": "activations", "T": "attention"}


@dataclass(frozen=True, order=True)
class Precision:
    """An integer type of 2 to 8 bits, such as ``int4`` or ``uint8``.

    Example:
        >>> Precision(4, signed=True).qmin, Precision(4, signed=True).qmax
        (-8, 7)
        >>> Precision(8, signed=False).name
        'uint8'
    """

    bits: int
    signed: bool

    def __post_init__(self) -> None:
        if not MIN_BITS <= self.bits <= MAX_BITS:
            raise UserError(
                f"a precision of {self.bits} bits is not supported: use {MIN_BITS} to {MAX_BITS} bits"
            )

    @property
    def name(self) -> str:
        """The type's usual name, such as ``uint4``."""
        return f"{'int' if self.signed else 'uint'}{self.bits}"

    @property
    def qmin(self) -> int:
        """The smallest code."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def qmax(self) -> int:
        """The largest code."""
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1

    @classmethod
    def parse(cls, name: str) -> Precision:
        """Reads a name such as ``int4``; raises :class:`UserError` for anything else."""
        match = re.fullmatch(r"(u?)int(\d{1,3})", name.strip())
        if match is None:
            raise UserError(f"{name!r} is not a precision: write int4 or uint8, say")
        return cls(int(match.group(2)), signed=not match.group(1))


def parse_bits(text: str) -> tuple[int, ...]:
    """Reads allowed bit widths such as ``4,8``, ascending and without repeats.

    Raises:
        UserError: A part is not a whole number from 2 to 8.
    """
    widths: set[int] = set()
    for part in text.split(","):
        token = part.strip()
        if not re.fullmatch(r"\d{1,3}", token) or not MIN_BITS <= int(token) <= MAX_BITS:
            raise UserError(
                f"--bits {text!r}: {token!r} is not a bit width; "
                f"give whole numbers from {MIN_BITS} to {MAX_BITS} with commas between, such as 4,8"
            )
        widths.add(int(token))
    return tuple(sorted(widths))


def parse_fixed(text: str) -> tuple[tuple[Kind, int], ...]:
    """Reads the widths of kinds that are not searched, such as ``A8T8``, as (kind, bits) pairs.

    Raises:
        UserError: The text has another form, names a kind twice, or has a width outside 2 to 8.
    """
    pairs = re.findall(r"([WAT])(\d{1,3})", text.strip().upper())
    fixed = {_LETTERS[letter]: int(bits) for letter, bits in pairs}
    whole = "".join(letter + bits for letter, bits in pairs) == text.strip().upper()
    if not pairs or not whole or len(fixed) != len(pairs) or len(fixed) == len(KINDS):
        raise UserError(
            f"--hold {text!r} does not say which kinds are fixed: write A8T8 for 8-bit activations and "
            "attention, or one of W4, A8, T8, or two of them; the others are searched"
        )
    for bits in fixed.values():
        if not MIN_BITS <= bits <= MAX_BITS:
            raise UserError(f"--hold {text!r}: bit widths are whole numbers from {MIN_BITS} to {MAX_BITS}")
    return tuple((kind, fixed[kind]) for kind in KINDS if kind in fixed)


def parse_uniform(text: str) -> tuple[int, int, int]:
    """Reads a uniform assignment ``W8A8T4`` as (weight, activation, attention) bits.

    Raises:
        UserError: The text has another form or a width outside 2 to 8.
    """
    match = re.fullmatch(r"W(\d{1,3})A(\d{1,3})T(\d{1,3})", text.strip(), flags=re.IGNORECASE)
    if match is None:
        raise UserError(
            f"{text!r} is not a uniform assignment: write W8A8T4 for 8-bit weights, "
            "8-bit activations and 4-bit attention"
        )
    weights, activations, attention = (int(group) for group in match.groups())
    for bits in (weights, activations, attention):
        if not MIN_BITS <= bits <= MAX_BITS:
            raise UserError(f"{text!r}: {bits} bits is outside {MIN_BITS} to {MAX_BITS}")
    return weights, activations, attention
