"""Which formats each kind of tensor may take, or has everywhere, and how people write that."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bitfront.spaces.errors import UserError
from bitfront.spaces.formats import FORMATS, LETTERS, NAMED, FormatName, Triple, in_order, other_names
from bitfront.spaces.precision import MAX_BITS, MIN_BITS
from bitfront.spaces.sites import KINDS, Kind

_LABELLED = {found.label: found for found in FORMATS.values()}
_LABEL = r"(\d{1,3}a?|[a-z]{2}\d{1,3})"
_KINDS: dict[str, Kind] = dict(zip(LETTERS, KINDS, strict=True))


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
                        f"{MIN_BITS} to {MAX_BITS} and {', '.join(other_names(kind))}"
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
    if name not in NAMED:
        raise UserError(f"--formats {text!r}: {name!r} is no format: choose among {', '.join(NAMED)}")
    return NAMED[name].key


def parse_fixed(text: str) -> tuple[tuple[Kind, FormatName], ...]:
    """Reads the formats of kinds that are not searched, such as ``A8T8``, as (kind, format) pairs.

    Raises:
        UserError: The text has another form, names a kind twice, or a format that the kind cannot have.
    """
    pairs = re.findall(f"([WAT]){_LABEL}", _folded(text))
    whole = "".join(letter + name for letter, name in pairs) == _folded(text)
    fixed = {_KINDS[letter]: _labelled(letter, name, f"--hold {text!r}") for letter, name in pairs}
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
    w, a, t = (_labelled(*pair, f"{text!r}") for pair in zip(_KINDS, match.groups(), strict=True))
    return w, a, t


def _folded(text: str) -> str:
    """The letters of kinds in capitals, those of formats in small ones."""
    lower = text.strip().lower()
    return re.sub(r"[wt](?=\d|bf|fp)|a(?=\d|bf|fp)", lambda found: found.group().upper(), lower)


def _labelled(letter: str, name: str, where: str) -> FormatName:
    kind = _KINDS[letter]
    found = _LABELLED.get(name)
    if found is None or kind not in found.kinds:
        others = ", ".join(other.removeprefix("int") for other in other_names(kind))
        raise UserError(
            f"{where}: {letter}{name} is no format of {kind}: use {MIN_BITS} to {MAX_BITS} bits or {others}"
        )
    return found.key
