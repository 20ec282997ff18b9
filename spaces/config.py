"""The bit configuration: which number format every searched tensor of a model takes, and rules on it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bitfront.spaces.choices import Choices
from bitfront.spaces.errors import UserError
from bitfront.spaces.formats import FormatName, Triple, read_format
from bitfront.spaces.precision import MAX_BITS, MIN_BITS
from bitfront.spaces.schemes import SCHEMES, pinned_bits
from bitfront.spaces.sites import KINDS, EncoderLayers, Kind

FORMAT = "bitfront/bit-config"
VERSION = 1
# A width where integers are plain, or the name of another format: of all layers, or as pairs (layer, format).
LayerBits = FormatName | tuple[tuple[str, FormatName], ...]


def collapse(bits: Mapping[str, FormatName]) -> LayerBits:
    """Formats by layer: one, or sorted pairs where layers differ (equal assignments compare equal)."""
    widths = set(bits.values())
    return widths.pop() if len(widths) == 1 else tuple(sorted(bits.items()))


@dataclass(frozen=True)
class EncoderBits:
    """Formats of one encoder; ``weights`` and ``activations`` are one, or pairs (layer, format)."""

    index: int
    name: str
    weights: LayerBits
    activations: LayerBits
    attention: FormatName

    def bits(self, kind: Kind, layer: str) -> FormatName:
        """The format of ``kind`` at ``layer`` (ignored for attention).

        Raises:
            UserError: The formats are given by layer, and ``layer`` is not among them.
        """
        value: LayerBits = getattr(self, kind)
        if not isinstance(value, tuple):
            return value
        by_layer = dict(value)
        if layer not in by_layer:
            raise UserError(
                f"bit config: {self.name} has no {kind} bits for layer {layer}; expected one value for all "
                "layers, or an object with every layer"
            )
        return by_layer[layer]

    def named_layers(self) -> frozenset[str]:
        """Layers whose formats are given by name; none where one holds for all."""
        maps = (value for value in (self.weights, self.activations) if isinstance(value, tuple))
        return frozenset(layer for pairs in maps for layer, _ in pairs)

    def to_json(self) -> dict[str, Any]:
        """This encoder's entry in the ``encoders`` list of the JSON form."""
        return {
            "index": self.index,
            "name": self.name,
            "weights": _to_json(self.weights),
            "activations": _to_json(self.activations),
            "attention": self.attention,
        }


def _to_json(value: LayerBits) -> FormatName | dict[str, FormatName]:
    return dict(value) if isinstance(value, tuple) else value


@dataclass(frozen=True)
class BitConfig:
    """An assignment of number formats to every encoder of a model: what a search finds and an export carries.

    Attributes:
        model: The model's name.
        scheme: The quantization scheme: ``fq-vit`` or ``deploy``.
        encoders: One entry per encoder, in order.
        pinned: Widths of the tensors that are not searched, as (group, bits) pairs; those of the scheme
            where none are given.
    """

    model: str
    scheme: str
    encoders: tuple[EncoderBits, ...]
    pinned: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        """Takes the scheme's pinned widths; an unknown scheme raises :class:`UserError`."""
        usual = pinned_bits(self.scheme)
        if not self.pinned:
            object.__setattr__(self, "pinned", usual)

    @classmethod
    def uniform(cls, model: str, scheme: str, encoders: Sequence[EncoderLayers], bits: Triple) -> BitConfig:
        """The same formats of (weights, activations, attention) in every encoder."""
        weights, activations, attention = bits
        chosen = tuple(EncoderBits(e.index, e.name, weights, activations, attention) for e in encoders)
        return cls(model, scheme, chosen)

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that identify the assignment (SHA-256 of its canonical JSON)."""
        canonical = json.dumps(self._identity(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def formats(self) -> Choices:
        """Every format that occurs, by kind."""
        found: dict[Kind, set[FormatName]] = {kind: set() for kind in KINDS}
        for encoder in self.encoders:
            found["attention"].add(encoder.attention)
            for kind in KINDS[:2]:
                value: LayerBits = getattr(encoder, kind)
                found[kind].update(dict(value).values() if isinstance(value, tuple) else [value])
        return Choices(*(tuple(found[kind]) for kind in KINDS))

    def _identity(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "scheme": self.scheme,
            "encoders": [encoder.to_json() for encoder in self.encoders],
            "pinned": dict(self.pinned),
        }

    def to_json(
        self, measured: Mapping[str, Any] | None = None, provenance: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The exported form: format, version, the assignment, what was measured, where it came from."""
        return {
            "format": FORMAT,
            "version": VERSION,
            **self._identity(),
            "measured": dict(measured or {}),
            "provenance": dict(provenance or {}),
        }

    @classmethod
    def from_json(cls, document: object) -> BitConfig:
        """Reads the exported form.

        Raises:
            UserError: The document is not a bit config of this version, or an entry is out of range.
        """
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise UserError(f'not a bit config: expected a JSON object with "format": "{FORMAT}"')
        if document.get("version") != VERSION:
            raise UserError(
                f"bit config version {document.get('version')!r} is not supported: expected {VERSION}; "
                "export it again with this version of bitfront"
            )
        model, scheme = document.get("model"), document.get("scheme")
        entries, pinned = document.get("encoders"), document.get("pinned")
        if not isinstance(model, str) or not isinstance(scheme, str):
            raise UserError('bit config: "model" and "scheme" must be strings')
        if not isinstance(entries, list) or not entries:
            raise UserError('bit config: "encoders" must be a list with one entry for each encoder')
        if pinned is not None and not isinstance(pinned, dict):
            raise UserError('bit config: "pinned" must be an object of group names and bits')
        if scheme not in SCHEMES:
            raise UserError(f"bit config: scheme {scheme!r} is unknown: expected {' or '.join(SCHEMES)}")
        usual = dict(pinned_bits(scheme))
        widths = usual if pinned is None else pinned
        if set(widths) != set(usual):
            groups = ", ".join(usual)
            raise UserError(f'bit config: "pinned" must have the groups of scheme {scheme}: {groups}')
        encoders = tuple(_read_encoder(entry, position) for position, entry in enumerate(entries))
        fixed = tuple((str(k), _read_bits(v, f"pinned.{k}")) for k, v in sorted(widths.items()))
        return cls(model, scheme, encoders, fixed)


def _read_bits(value: object, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not MIN_BITS <= value <= MAX_BITS:
        raise UserError(
            f"bit config: {where} is {value!r}; expected a whole number from {MIN_BITS} to {MAX_BITS}"
        )
    return value


def _read_layers(entry: Mapping[str, object], kind: Kind, where: str) -> LayerBits:
    value = entry.get(kind)
    if isinstance(value, dict) and value:
        return collapse({str(k): read_format(v, kind, f"{where}.{kind}.{k}") for k, v in value.items()})
    return read_format(value, kind, f"{where}.{kind}")


def _read_encoder(entry: object, position: int) -> EncoderBits:
    where = f"encoders[{position}]"
    if not isinstance(entry, dict):
        raise UserError(f"bit config: {where} must be an object")
    if entry.get("index") != position:
        raise UserError(
            f'bit config: {where} has "index" {entry.get("index")!r}; expected {position} '
            "(encoders are listed in order from 0)"
        )
    if not isinstance(entry.get("name"), str):
        raise UserError(f'bit config: {where} needs a "name", such as "blocks.{position}"')
    return EncoderBits(
        position,
        entry["name"],
        _read_layers(entry, "weights", where),
        _read_layers(entry, "activations", where),
        read_format(entry.get("attention"), "attention", f"{where}.attention"),
    )


class StructuralConstraint(Protocol):
    """A rule on configurations alone."""

    @property
    def name(self) -> str:
        """Column name of the violation, such as ``not_all_4bit``."""

    def violation(self, config: BitConfig) -> float:
        """At most 0 where the rule holds; larger is worse."""


@dataclass(frozen=True)
class NotUniform:
    """Forbids one width everywhere.

    Constraint 2 of PoMQ-ViT (Appl. Sci. 2025, 15, 9856): weights, activations and attention are mixed,
    neither all at the lowest nor all at the highest width.
    """

    width: FormatName

    @property
    def name(self) -> str:
        """``not_all_4bit`` for width 4."""
        return f"not_all_{self.width}bit" if isinstance(self.width, int) else f"not_all_{self.width}"

    def violation(self, config: BitConfig) -> float:
        """1 where every searched tensor has that format, else 0."""
        return 1.0 if config.formats().every == (self.width,) else 0.0


def mixed_only(choices: Choices) -> tuple[StructuralConstraint, ...]:
    """Constraint 2 as two rules: not all in the narrowest, not all in the widest format.

    Where kinds have formats of their own, no one format is that of all.
    """
    if not choices.same:
        return ()
    return NotUniform(choices.weights[0]), NotUniform(choices.weights[-1])
