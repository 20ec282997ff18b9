"""Modelled latency: bit operations at a nominal rate, for machines and precisions that cannot be measured."""

from __future__ import annotations

from collections.abc import Sequence

from bitfront.evaluators.latency.table import Entry, LatencyTable, encoder_shape
from bitfront.evaluators.models.blueprint import Blueprint, EncoderParts
from bitfront.evaluators.sites import attention_macs
from bitfront.spaces import Triple, triples

SOURCE = "model:bops"
# A nominal machine of 10^9 float32 multiply-accumulates a second, each of 32 x 32 bit operations. The rate
# only sets the unit; what is modelled is the ratio of times.
BIT_OPERATIONS_PER_MS = 1024e6
_FLOAT_BITS = 32
_PINNED_BITS = 8


def encoder_bit_operations(encoder: EncoderParts, bits: Triple) -> float:
    """Bit operations of an encoder per image: multiply-accumulates times both operands' widths.

    Linear layers count their tokens; ``q k^T`` multiplies activations by activations, ``attention @ V``
    attention by activations.
    """
    weights, activations, attention = bits
    linear = encoder.tokens * sum(parts.weight.numel() for parts in encoder.linear().values())
    product = attention_macs(encoder)
    return linear * weights * activations + product * activations * (activations + attention)


def _outer_macs(blueprint: Blueprint) -> int:
    heads = sum(head.weight.numel() for head in blueprint.readout.heads)
    merging = sum(len(merge.rows) * merge.reduction.weight.numel() for merge in blueprint.merges.values())
    return blueprint.patches * blueprint.patch.weight.numel() + merging + heads


def model_table(blueprint: Blueprint, widths: Sequence[int]) -> LatencyTable:
    """A table of modelled times for one image.

    Args:
        blueprint: The model.
        widths: Widths of the search.
    """

    def entry(operations: float) -> Entry:
        return Entry(operations / BIT_OPERATIONS_PER_MS)

    float_operations = _outer_macs(blueprint) * _FLOAT_BITS**2 + sum(
        encoder_bit_operations(encoder, (_FLOAT_BITS, _FLOAT_BITS, _FLOAT_BITS))
        for encoder in blueprint.encoders
    )
    encoders = {
        (encoder_shape(encoder), triple): entry(encoder_bit_operations(encoder, triple))
        for encoder in blueprint.encoders
        for triple in triples(widths)
    }
    rest = entry(_outer_macs(blueprint) * _PINNED_BITS**2)
    return LatencyTable(encoders, rest, entry(float_operations), 1, SOURCE)
