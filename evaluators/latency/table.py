"""Latency tables: milliseconds by encoder shape and precision, and the sums of a configuration's entries."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bitfront.evaluators.models.blueprint import Blueprint, EncoderParts
from bitfront.spaces import BitConfig, EncoderBits, Triple, UserError


def encoder_shape(encoder: EncoderParts) -> str:
    """The encoder's shape as text: tokens, channels, heads and hidden channels, such as ``197x192h3m768``.

    Windowed attention adds the tokens of a window, and ``s`` for shifted ones: ``3136x96h3m384w49s``.
    """
    hidden = encoder.fc1.weight.shape[0]
    shape = f"{encoder.tokens}x{encoder.channels}h{encoder.heads}m{hidden}"
    if encoder.window is None:
        return shape
    return f"{shape}w{encoder.window.rows.shape[1]}{'' if encoder.window.mask is None else 's'}"


@dataclass(frozen=True)
class Latency:
    """One time: milliseconds for a batch, and the relative range of its repeats in percent."""

    milliseconds: float
    spread_percent: float = 0.0


@dataclass(frozen=True)
class LatencyTable:
    """Times of a model's parts; lower is better.

    Attributes:
        encoders: Time of an encoder by (shape, (weights, activations, attention)).
        rest: Time of everything outside the encoders, quantized, and of what encoders take longer within a
            model than each by itself.
        float_model: Time of the whole float model.
        batch: Images of a batch; every time is for one batch.
        source: Where the times come from, such as ``measured:torch`` or ``model:bops``.
        scheme: The quantization scheme that they are for; empty where it is not known.
        machine: What ran it, such as the name of a processor; empty where nothing did or it is not known.
    """

    encoders: Mapping[tuple[str, Triple], Latency]
    rest: Latency
    float_model: Latency
    batch: int
    source: str
    scheme: str = ""
    machine: str = ""


class TableLatency:
    """Latency of a model's configurations as the sum of a table's entries.

    An encoder whose layers differ in width (space ``layer``) takes the mean of the entries of its layers'
    widths, weighted by the layers' multiply-accumulates.

    Args:
        table: The times.
        blueprint: The model.
        needed: Precisions that will be asked for.

    Raises:
        UserError: The table lacks an encoder shape or precision of the model.
    """

    def __init__(self, table: LatencyTable, blueprint: Blueprint, needed: Iterable[Triple]) -> None:
        self.table = table
        self._shapes = [encoder_shape(encoder) for encoder in blueprint.encoders]
        self._shares = [_mac_shares(encoder) for encoder in blueprint.encoders]
        for shape, triple in itertools.product(sorted(set(self._shapes)), sorted(needed, reverse=True)):
            if (shape, triple) not in table.encoders:
                w, a, t = triple
                raise UserError(
                    f"the latency table has no entry for encoder shape {shape} at W{w}A{a}T{t}: it "
                    "belongs to another model or other --bits; build one with `bitfront latency-table`"
                )

    @property
    def source(self) -> str:
        """Where the times come from."""
        return self.table.source

    def latency_ms(self, config: BitConfig) -> float:
        """Milliseconds of a batch; lower is better."""
        return self.table.rest.milliseconds + sum(self._encoder_ms(bits) for bits in config.encoders)

    def _encoder_ms(self, bits: EncoderBits) -> float:
        shape = self._shapes[bits.index]
        return sum(
            share
            * self.table.encoders[
                shape, (bits.bits("weights", layer), bits.bits("activations", layer), bits.attention)
            ].milliseconds
            for layer, share in self._shares[bits.index].items()
        )


def _mac_shares(encoder: EncoderParts) -> dict[str, float]:
    sizes = {layer: parts.weight.numel() for layer, parts in encoder.linear().items()}
    return {layer: size / sum(sizes.values()) for layer, size in sizes.items()}
