"""The bit configuration: which precision every searched tensor of a model takes, and rules on it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bitfront.spaces.errors import UserError
from bitfront.spaces.precision import MAX_BITS, MIN_BITS
from bitfront.spaces.schemes import SCHEMES, pinned_bits
from bitfront.spaces.sites import EncoderLayers, Kind

FORMAT = "bitfront/bit-config"
VERSION = 1
LayerBits = int | tuple[tuple[str, int], ...]


def collapse(bits: Mapping[str, int]) -> LayerBits:
    """Bits by layer: one number, or sorted pairs where layers differ (equal assignments compare equal)."""
    widths = set(bits.values())
    return widths.pop() if len(widths) == 1 else tuple(sorted(bits.items()))


@dataclass(frozen=True)
class EncoderBits:
    """Bits of one encoder; ``weights`` and ``activations`` are one number, or pairs (layer, bits)."""

    index: int
    name: str
    weights: LayerBits
    activations: LayerBits
    attention: int

    def bits(self, kind: Kind, layer: str) -> int:
        """The width of ``kind`` at ``layer`` (ignored for attention).

        Raises:
            UserError: The widths are given by layer, and ``layer`` is not among them.
        """
        value: LayerBits = getattr(self, kind)
        if isinstance(value, int):
            return value
        by_layer = dict(value)
        if layer not in by_layer:
            raise UserError(
                f"bit config: {self.name} has no {kind} bits for layer {layer}; expected one number for all "
                "layers, or an object with every layer"
            )
        return by_layer[layer]

    def named_layers(self) -> frozenset[str]:
        """Layers whose widths are given by name; none where one number holds for all."""
        maps = (value for value in (self.weights, self.activations) if not isinstance(value, int))
        return frozenset(layer for pairs in maps for layer, _ in pairs)

    def to_json(self) -> dict[str, Any]:
        """This encoder's entry in the ``encoders`` list of the JSON form."""
        return {
            "index": self.index,
            "name": self.name,
            "weights": self.weights if isinstance(self.weights, int) else dict(self.weights),
            "activations": self.activations if isinstance(self.activations, int) else dict(self.activations),
            "attention": self.attention,
        }


@dataclass(frozen=True)
class BitConfig:
    """An assignment of bits to every encoder of a model: what a search finds and an export carries.

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
    def uniform(
        cls, model: str, scheme: str, encoders: Sequence[EncoderLayers], bits: tuple[int, int, int]
    ) -> BitConfig:
        """The same (weights, activations, attention) bits in every encoder."""
        weights, activations, attention = bits
        chosen = tuple(EncoderBits(e.index, e.name, weights, activations, attention) for e in encoders)
        return cls(model, scheme, chosen)

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that identify the assignment (SHA-256 of its canonical JSON)."""
        canonical = json.dumps(self._identity(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def widths(self) -> frozenset[int]:
        """Every searched width that occurs."""
        found: set[int] = set()
        for encoder in self.encoders:
            found.add(encoder.attention)
            for value in (encoder.weights, encoder.activations):
                found.update([value] if isinstance(value, int) else dict(value).values())
        return frozenset(found)

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


def _read_layer_bits(value: object, where: str) -> LayerBits:
    if isinstance(value, dict) and value:
        return collapse({str(k): _read_bits(v, f"{where}.{k}") for k, v in value.items()})
    return _read_bits(value, where)


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
        _read_layer_bits(entry.get("weights"), f"{where}.weights"),
        _read_layer_bits(entry.get("activations"), f"{where}.activations"),
        _read_bits(entry.get("attention"), f"{where}.attention"),
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

    width: int

    @property
    def name(self) -> str:
        """``not_all_4bit`` for width 4."""
        return f"not_all_{self.width}bit"

    def violation(self, config: BitConfig) -> float:
        """1 where every searched width is ``width``, else 0."""
        return 1.0 if config.widths() == {self.width} else 0.0


def mixed_only(widths: tuple[int, ...]) -> tuple[StructuralConstraint, ...]:
    """Constraint 2 as two rules: not all at the lowest, not all at the highest width."""
    return (NotUniform(min(widths)), NotUniform(max(widths)))
