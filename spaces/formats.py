"""Number formats: what a tensor may be held in, by the names that configurations, genes and tables use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from bitfront.spaces.errors import UserError
from bitfront.spaces.precision import MAX_BITS, MIN_BITS
from bitfront.spaces.sites import KINDS, Kind

# A width stands for the plain integers of so many bits; every other format goes by its name.
FormatName: TypeAlias = int | str
Triple: TypeAlias = tuple[FormatName, FormatName, FormatName]  # of weights, activations and attention


@dataclass(frozen=True)
class NumberFormat:
    """What a tensor is held in.

    Attributes:
        name: Such as ``int4``, ``int8a`` or ``bf16``.
        bits: Of a stored value.
        kinds: The tensors that may take it.
        summary: What it is, in a few words.
        floating: Whether values are floats; products with one are computed in float32.
        zero_points: Whether codes of a weight have a zero point for each output channel.
    """

    name: str
    bits: int
    kinds: tuple[Kind, ...]
    summary: str
    floating: bool = False
    zero_points: bool = False

    @property
    def plain(self) -> bool:
        """Whether it is one of the plain integers, which go by their width."""
        return not self.floating and not self.zero_points

    @property
    def key(self) -> FormatName:
        """What configurations, genes and tables call it: ``8`` for ``int8``, else its name."""
        return self.bits if self.plain else self.name

    @property
    def title(self) -> str:
        """What it is called in texts and legends: ``8 bits``, ``8 bits, zero points`` or ``bfloat16``."""
        if self.floating:
            return {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}[self.name]
        return f"{self.bits} bits{', zero points' * self.zero_points}"

    @property
    def label(self) -> str:
        """What it is called within ``W8aA8T8``: ``8``, ``8a`` or ``bf16``."""
        return self.name.removeprefix("int")


FORMATS: Mapping[FormatName, NumberFormat] = {
    found.key: found
    for found in (
        *(
            NumberFormat(f"int{bits}", bits, KINDS, f"integers of {bits} bits")
            for bits in range(MIN_BITS, MAX_BITS + 1)
        ),
        *(
            NumberFormat(
                f"int{bits}a",
                bits,
                ("weights",),
                f"integers of {bits} bits with a zero point for each output channel",
                zero_points=True,
            )
            for bits in range(MIN_BITS, MAX_BITS + 1)
        ),
        NumberFormat("bf16", 16, KINDS, "bfloat16", floating=True),
        NumberFormat("fp16", 16, KINDS, "IEEE half precision", floating=True),
        NumberFormat("fp32", 32, KINDS, "IEEE single precision", floating=True),
    )
}
_ORDER = {found.key: place for place, found in enumerate(sorted(FORMATS.values(), key=lambda f: f.bits))}
NAMED = {found.name: found for found in FORMATS.values()}
LETTERS = "WAT"  # of weights, activations and attention in assignments


def number_format(value: FormatName) -> NumberFormat:
    """The format of a name or width; KeyError for another."""
    return FORMATS[value]


def multiplies_integers(weights: FormatName, inputs: FormatName) -> bool:
    """Whether a linear layer of these formats is a product of integers."""
    return not FORMATS[weights].floating and not FORMATS[inputs].floating


def order(value: FormatName) -> int:
    """Where a format stands from narrow to wide; of equal bits the plain integers come first."""
    return _ORDER[value]


def in_order(values: Iterable[FormatName]) -> tuple[FormatName, ...]:
    """Formats from narrow to wide, each once."""
    return tuple(sorted(set(values), key=order))


def written_format(value: object) -> FormatName | None:
    """The format that a cell of a table stands for, a number or text; None for an empty cell.

    Raises:
        ValueError: It is no format.
    """
    text = "" if value is None or value != value else str(value).strip().removesuffix(".0")
    found = int(text) if text.isdecimal() else text
    if text and found not in FORMATS:
        raise ValueError(f"{text!r} is no number format")
    return found if text else None


def titled(values: Iterable[FormatName]) -> str:
    """Formats in words, such as ``4, 8 bits`` or ``4 bits, bfloat16``."""
    found = in_order(values)
    if all(isinstance(value, int) for value in found):
        return f"{', '.join(map(str, found))} bits"
    return ", ".join(FORMATS[value].title if value in FORMATS else str(value) for value in found)


def label(triple: Iterable[FormatName]) -> str:
    """What an assignment is called, such as ``W8A8T4`` or ``W8aA8Tbf16``."""
    values = zip(LETTERS, triple, strict=True)
    return "".join(letter + FORMATS[value].label for letter, value in values)


def plain_width(value: FormatName, what: str) -> int:
    """The width of plain integers.

    Args:
        value: A format.
        what: What asks, for the error.

    Raises:
        UserError: It is another format.
    """
    if not isinstance(value, int):
        raise UserError(f"{what} takes plain integers of {MIN_BITS} to {MAX_BITS} bits, not {value}")
    return value


def read_format(value: object, kind: Kind, where: str) -> FormatName:
    """A format as a document has it: a width, or the name of another format.

    Args:
        value: From the document.
        kind: Of the tensor.
        where: Its place, for the error.

    Raises:
        UserError: It is neither, or no format of such tensors.
    """
    found = NAMED.get(value) if isinstance(value, str) else None
    if isinstance(value, int) and not isinstance(value, bool):
        found = FORMATS.get(value)
    if found is None or kind not in found.kinds:
        raise UserError(
            f"bit config: {where} is {value!r}; expected a whole number from {MIN_BITS} to {MAX_BITS}, or "
            f"one of {', '.join(other_names(kind))}"
        )
    return found.key


def named_format(text: str, kind: Kind) -> FormatName:
    """A format as tables have it: a width, or a name.

    Raises:
        ValueError: It is none of such tensors.
    """
    key: FormatName = int(text) if text.isdigit() else NAMED[text].key if text in NAMED else text
    if key not in FORMATS or kind not in FORMATS[key].kinds:
        raise ValueError(f"{text!r} is no format of {kind}")
    return key


def other_names(kind: Kind) -> list[str]:
    """Names of the formats of a kind that are no plain integers."""
    return [found.name for found in FORMATS.values() if kind in found.kinds and not found.plain]
