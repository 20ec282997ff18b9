"""Integer precisions as values."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bitfront.spaces.errors import UserError

MIN_BITS = 2
MAX_BITS = 8


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
