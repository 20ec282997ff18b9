"""Modelled latency: every operator takes as long as its products or its data, whichever is longer.

The roofline (Williams et al., Communications of the ACM 52(4), 2009) of a hardware profile, for machines and
precisions that cannot be measured. Operators are an encoder's two LayerNorms, four linear layers and two
attention products; GELU, softmax and residual sums are taken to be part of the product before them. Data are
each operator's weights at their width, what it reads and what it writes; biases and scales are left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from bitfront.evaluators.latency.hardware_profile import HardwareProfile
from bitfront.evaluators.latency.table import Latency, LatencyTable, encoder_shape
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.parts import EncoderParts, LinearParts
from bitfront.evaluators.models.sites import attention_macs
from bitfront.spaces import Triple, pinned_bits, triples

_LOGIT_BITS = 32


@dataclass(frozen=True)
class Operator:
    """One operator on one batch.

    Attributes:
        bits_moved: Bits read and written.
        macs: Multiply-accumulates; 0 where it multiplies no matrices.
        operands: Widths of both operands; None for float.
    """

    bits_moved: int
    macs: int = 0
    operands: tuple[int, int] | None = None


@dataclass(frozen=True)
class Widths:
    """Widths in which a part of a model is held.

    Attributes:
        weights: Of weights.
        activations: Of the inputs of linear layers, and of queries, keys and values.
        attention: Of the attention matrix.
        stream: Of the residual stream.
        whole: Whether it is all float.
    """

    weights: int
    activations: int
    attention: int
    stream: int
    whole: bool = False

    def product(self, first: int, second: int) -> tuple[int, int] | None:
        """Operand widths of a product."""
        return None if self.whole else (first, second)


def encoder_operators(encoder: EncoderParts, widths: Widths, batch: int) -> list[Operator]:
    """The operators of an encoder on a batch."""
    tokens, channels = batch * encoder.tokens, encoder.channels
    inner, hidden = encoder.proj.weight.shape[1], encoder.fc1.weight.shape[0]
    a, stream = tokens * widths.activations, tokens * channels * widths.stream
    macs = batch * attention_macs(encoder)
    matrix = macs // encoder.head_dim * widths.attention
    norm = Operator(stream + a * channels)

    def linear(parts: LinearParts, moved: int) -> Operator:
        size = parts.weight.numel()
        operands = widths.product(widths.weights, widths.activations)
        return Operator(moved + size * widths.weights, tokens * size, operands)

    return [
        norm,
        linear(encoder.qkv, a * channels + 3 * a * inner),
        Operator(2 * a * inner + matrix, macs, widths.product(widths.activations, widths.activations)),
        Operator(matrix + 2 * a * inner, macs, widths.product(widths.attention, widths.activations)),
        linear(encoder.proj, a * inner + 2 * stream),
        norm,
        linear(encoder.fc1, a * channels + a * hidden),
        linear(encoder.fc2, a * hidden + 2 * stream),
    ]


def outer_operators(blueprint: Blueprint, widths: Widths, batch: int) -> list[Operator]:
    """The operators outside the encoders on a batch: patch embedding, patch mergings, norm and heads."""

    def linear(parts: LinearParts, rows: int, output_bits: int) -> Operator:
        (outputs, inputs), size = parts.weight.shape, parts.weight.numel()
        moved = rows * inputs * widths.activations + size * widths.weights + rows * outputs * output_bits
        return Operator(moved, rows * size, widths.product(widths.weights, widths.activations))

    def norm(elements: int) -> Operator:
        return Operator(elements * (widths.stream + widths.activations))

    found = [linear(blueprint.patch, batch * blueprint.patches, widths.stream)]
    for merge in blueprint.merges.values():
        rows = batch * len(merge.rows)
        found.append(norm(rows * merge.reduction.weight.shape[1]))
        found.append(linear(merge.reduction, rows, widths.stream))
    last, readout = blueprint.encoders[-1], blueprint.readout
    tokens = len(readout.tokens) if readout.average is None else last.tokens
    found.append(norm(batch * tokens * last.channels))
    return found + [linear(head, batch, _LOGIT_BITS) for head in readout.heads]


def seconds(profile: HardwareProfile, operators: Iterable[Operator]) -> Fraction:
    """Time of operators one after the other."""
    total = Fraction(0)
    for operator in operators:
        rate = profile.whole_rate if operator.operands is None else profile.rate(*operator.operands)
        computing, moving = operator.macs / rate, Fraction(0)
        if profile.bytes_per_second is not None:
            moving = Fraction(operator.bits_moved, 8) / profile.bytes_per_second
        total += max(computing, moving) + profile.operator_seconds
    return total


def model_table(
    profile: HardwareProfile, blueprint: Blueprint, widths: Sequence[int], scheme: str, batch: int = 1
) -> LatencyTable:
    """A table of modelled times.

    Args:
        profile: The machine.
        blueprint: The model.
        widths: Widths of the search.
        scheme: The quantization scheme: what it leaves in float is moved as such.
        batch: Images of a batch.
    """
    pinned, whole = dict(pinned_bits(scheme)), profile.float_bits
    stream = pinned.get("residual", whole)

    def encoder_seconds(encoder: EncoderParts, held: Widths) -> Fraction:
        return seconds(profile, encoder_operators(encoder, held, batch)) + profile.encoder_seconds

    def entry(duration: Fraction) -> Latency:
        return Latency(float(1000 * duration))

    def at(triple: Triple) -> Widths:
        return Widths(*triple, stream)

    encoders = {
        (encoder_shape(encoder), triple): entry(encoder_seconds(encoder, at(triple)))
        for encoder in blueprint.encoders
        for triple in triples(widths)
    }
    outer = at((pinned["embedding"], pinned["embedding"], pinned["embedding"]))
    in_float = dataclasses.replace(at((whole, whole, whole)), stream=whole, whole=True)
    float_seconds = seconds(profile, outer_operators(blueprint, in_float, batch)) + sum(
        encoder_seconds(encoder, in_float) for encoder in blueprint.encoders
    )
    rest = entry(seconds(profile, outer_operators(blueprint, outer, batch)))
    return LatencyTable(encoders, rest, entry(float_seconds), batch, f"model:{profile.name}", scheme)
