"""Number formats: what a tensor may be held in, by the names that configurations, genes and tables use."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
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
_NAMED = {found.name: found for found in FORMATS.values()}
_LABELLED = {found.label: found for found in FORMATS.values()}
_LABEL = r"(\d{1,3}a?|[a-z]{2}\d{1,3})"
_LETTERS: dict[str, Kind] = {"W": "weights", "A": "activations", "T": "attention"}


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
    values = zip(_LETTERS, triple, strict=True)
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
    found = _NAMED.get(value) if isinstance(value, str) else None
    if isinstance(value, int) and not isinstance(value, bool):
        found = FORMATS.get(value)
    if found is None or kind not in found.kinds:
        raise UserError(
            f"bit config: {where} is {value!r}; expected a whole number from {MIN_BITS} to {MAX_BITS}, or "
            f"one of {', '.join(_others(kind))}"
        )
    return found.key


def named_format(text: str, kind: Kind) -> FormatName:
    """A format as tables have it: a width, or a name.

    Raises:
        ValueError: It is none of such tensors.
    """
    key: FormatName = int(text) if text.isdigit() else _NAMED[text].key if text in _NAMED else text
    if key not in FORMATS or kind not in FORMATS[key].kinds:
        raise ValueError(f"{text!r} is no format of {kind}")
    return key


def _others(kind: Kind) -> list[str]:
    return [found.name for found in FORMATS.values() if kind in found.kinds and not found.plain]


@dataclass(frozen=True)
class Choices:
    """The formats that each kind of tensor may take, narrow to wide.

    Attributes:
        weights: Of weights.
        activations: Of activations.
        attention: Of attention matrices.
    """

    weights: tuple[FormatName, ...]
    activations: tuple[FormatName, ...]
    attention: tuple[FormatName, ...]

    def __post_init__(self) -> None:
        """Puts them in order; raises :class:`UserError` for a format that a kind cannot take."""
        for kind in KINDS:
            values = in_order(getattr(self, kind))
            for value in values:
                if kind not in FORMATS[value].kinds:
                    raise UserError(
                        f"{kind} cannot be {FORMATS[value].name}: choose among whole numbers from "
                        f"{MIN_BITS} to {MAX_BITS} and {', '.join(_others(kind))}"
                    )
            object.__setattr__(self, kind, values)

    @classmethod
    def alike(cls, values: Iterable[FormatName]) -> Choices:
        """The same for all kinds."""
        found = tuple(values)
        return cls(found, found, found)

    def of(self, kind: Kind) -> tuple[FormatName, ...]:
        """Those of a kind."""
        found: tuple[FormatName, ...] = getattr(self, kind)
        return found

    def including(self, values: Mapping[Kind, Iterable[FormatName]]) -> Choices:
        """These and further ones, by kind."""
        return Choices(*(((*self.of(kind), *values.get(kind, ()))) for kind in KINDS))

    @property
    def every(self) -> tuple[FormatName, ...]:
        """All that occur, narrow to wide."""
        return in_order(itertools.chain.from_iterable(self.of(kind) for kind in KINDS))

    @property
    def plain(self) -> bool:
        """Whether all are plain integers."""
        return all(isinstance(value, int) for value in self.every)

    @property
    def texts(self) -> tuple[str, ...]:
        """What :func:`parse_formats` reads them from."""
        return tuple(f"{kind}={','.join(FORMATS[value].name for value in self.of(kind))}" for kind in KINDS)

    @property
    def same(self) -> bool:
        """Whether all kinds have the same ones."""
        return self.weights == self.activations == self.attention

    @property
    def words(self) -> str:
        """Such as ``4, 8``, or ``weights 4, 8, bf16; activations 8, bf16; attention 8``."""
        if self.same:
            return ", ".join(map(str, self.weights))
        return "; ".join(f"{kind} {', '.join(map(str, self.of(kind)))}" for kind in KINDS)


def triples(choices: Choices | Iterable[FormatName]) -> list[Triple]:
    """All combinations of the formats of the three kinds, the widest first."""
    found = choices if isinstance(choices, Choices) else Choices.alike(choices)
    return list(itertools.product(found.weights[::-1], found.activations[::-1], found.attention[::-1]))


def parse_formats(texts: Sequence[str], others: Iterable[FormatName]) -> Choices:
    """Reads formats by kind such as ``weights=int4,int8,bf16``.

    Args:
        texts: ``KIND=FORMAT,...`` for some kinds.
        others: Formats of the kinds that are not named.

    Raises:
        UserError: A text has another form, or names a kind twice, or a format that does not exist or does
            not fit the kind.
    """
    found: dict[str, tuple[FormatName, ...]] = {}
    for text in texts:
        kind, equals, listed = text.partition("=")
        if not equals or kind not in KINDS or kind in found:
            raise UserError(
                f"--formats {text!r}: write each of {', '.join(KINDS)} once, as in "
                "weights=int4,int8,bf16 activations=int8,bf16"
            )
        found[kind] = tuple(_parse_name(name.strip(), text) for name in listed.split(","))
    usual = tuple(others)
    return Choices(*(found.get(kind, usual) for kind in KINDS))


def _parse_name(name: str, text: str) -> FormatName:
    if name not in _NAMED:
        raise UserError(f"--formats {text!r}: {name!r} is no format: choose among {', '.join(_NAMED)}")
    return _NAMED[name].key


def parse_fixed(text: str) -> tuple[tuple[Kind, FormatName], ...]:
    """Reads the formats of kinds that are not searched, such as ``A8T8``, as (kind, format) pairs.

    Raises:
        UserError: The text has another form, names a kind twice, or a format that the kind cannot have.
    """
    pairs = re.findall(f"([WAT]){_LABEL}", _folded(text))
    whole = "".join(letter + name for letter, name in pairs) == _folded(text)
    fixed = {_LETTERS[letter]: _labelled(letter, name, f"--hold {text!r}") for letter, name in pairs}
    if not pairs or not whole or len(fixed) != len(pairs) or len(fixed) == len(KINDS):
        raise UserError(
            f"--hold {text!r} does not say which kinds are fixed: write A8T8 for 8-bit activations and "
            "attention, or one of W4, A8, T8, or two of them; the others are searched"
        )
    return tuple((kind, fixed[kind]) for kind in KINDS if kind in fixed)


def parse_uniform(text: str) -> Triple:
    """Reads a uniform assignment ``W8A8T4`` as (weight, activation, attention) formats.

    Raises:
        UserError: The text has another form, or a format that does not exist or does not fit its kind.
    """
    match = re.fullmatch(f"W{_LABEL}A{_LABEL}T{_LABEL}", _folded(text))
    if match is None:
        raise UserError(
            f"{text!r} is not a uniform assignment: write W8A8T4 for 8-bit weights, "
            "8-bit activations and 4-bit attention"
        )
    w, a, t = (_labelled(*pair, f"{text!r}") for pair in zip(_LETTERS, match.groups(), strict=True))
    return w, a, t


def _folded(text: str) -> str:
    """The letters of kinds in capitals, those of formats in small ones."""
    lower = text.strip().lower()
    return re.sub(r"[wt](?=\d|bf|fp)|a(?=\d|bf|fp)", lambda found: found.group().upper(), lower)


def _labelled(letter: str, name: str, where: str) -> FormatName:
    kind = _LETTERS[letter]
    found = _LABELLED.get(name)
    if found is None or kind not in found.kinds:
        others = ", ".join(other.removeprefix("int") for other in _others(kind))
        raise UserError(
            f"{where}: {letter}{name} is no format of {kind}: use {MIN_BITS} to {MAX_BITS} bits or {others}"
        )
    return found.key
