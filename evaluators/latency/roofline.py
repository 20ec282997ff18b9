"""Modelled latency: every operator takes as long as its products or its data, whichever is longer.

The roofline (Williams et al., Communications of the ACM 52(4), 2009) of a hardware profile, for machines and
precisions that cannot be measured. Operators are an encoder's norms, four linear layers and two attention
products; activations, gates, softmax and residual sums are taken to be part of the product before them, and
rotations of queries and keys of their norms. Data are each operator's weights at their width, what it reads
and what it writes; biases and scales are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from bitfront.evaluators.latency.hardware_profile import HardwareProfile
from bitfront.evaluators.latency.table import Latency, LatencyTable, encoder_shape
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.parts import EncoderParts, LinearParts, PoolParts
from bitfront.evaluators.models.sites import attention_macs
from bitfront.spaces import Choices, FormatName, Triple, number_format, pinned_bits, triples

_LOGIT_BITS = 32


@dataclass(frozen=True)
class Operator:
    """One operator on one batch.

    Attributes:
        bits_moved: Bits read and written.
        macs: Multiply-accumulates; 0 where it multiplies no matrices.
        operands: Widths of both operands; None for float.
        weight_bits: Of the bits moved, those of weights.
    """

    bits_moved: int
    macs: int = 0
    operands: tuple[int, int] | None = None
    weight_bits: int = 0


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
    inner, hidden = encoder.proj.weight.shape[1], encoder.hidden
    a, stream = tokens * widths.activations, tokens * channels * widths.stream
    whole = tokens * widths.stream  # of a tensor that a norm of its own takes, a channel
    macs = batch * attention_macs(encoder)
    matrix = macs // encoder.head_dim * widths.attention
    post = encoder.post_norm
    # Behind a branch a norm takes branch and stream, and yields the stream and the next layer's codes.
    norm = Operator((3 if post else 1) * stream + a * channels)
    updated = stream if post else 2 * stream

    def linear(parts: LinearParts, moved: int) -> Operator:
        size = parts.weight.numel()
        operands = widths.product(widths.weights, widths.activations)
        weights = size * widths.weights
        return Operator(moved + weights, tokens * size, operands, weights)

    def inner_norms(width: int, count: int) -> list[Operator]:
        return [Operator((whole + a) * width)] * count

    turned = encoder.rotary is not None
    altered = sum(turned or parts is not None for parts in (encoder.q_norm, encoder.k_norm))
    behind_context, behind_hidden = (
        int(parts is not None) for parts in (encoder.context_norm, encoder.hidden_norm)
    )
    products = [
        Operator(2 * a * inner + matrix, macs, widths.product(widths.activations, widths.activations)),
        Operator(
            matrix + a * inner + (whole if behind_context else a) * inner,
            macs,
            widths.product(widths.attention, widths.activations),
        ),
    ]
    attention = [
        linear(encoder.qkv, a * channels + ((3 - altered) * a + altered * whole) * inner),
        *inner_norms(inner, altered),
        *products,
        *inner_norms(inner, behind_context),
        linear(encoder.proj, a * inner + updated),
    ]
    mlp = [
        linear(encoder.fc1, a * channels + (whole if behind_hidden else a) * hidden),
        *inner_norms(hidden, behind_hidden),
        linear(encoder.fc2, a * hidden + updated),
    ]
    return [*attention, norm, *mlp, norm] if post else [norm, *attention, norm, *mlp]


def outer_operators(blueprint: Blueprint, widths: Widths, batch: int) -> list[Operator]:
    """The operators outside the encoders on a batch: patch embedding, patch mergings, readout."""
    found = [_outer(widths, blueprint.patch, batch * blueprint.patches, widths.stream)]
    for merge in blueprint.merges.values():
        rows = batch * len(merge.rows)
        outputs, inputs = merge.reduction.weight.shape
        found.append(_norm(widths, rows * inputs))
        found.append(_outer(widths, merge.reduction, rows, widths.stream))
        if merge.post_norm:
            found.append(Operator(2 * rows * outputs * widths.stream))
    last, readout = blueprint.encoders[-1], blueprint.readout
    tokens = len(readout.tokens) if readout.average is None else last.tokens
    if readout.pool is not None:
        tokens = last.tokens - readout.pool.first
    found.append(_norm(widths, batch * tokens * last.channels))
    if readout.pool is not None:
        found += _pool_operators(readout.pool, widths, batch, tokens)
    return found + [_outer(widths, head, batch, _LOGIT_BITS) for head in readout.heads]


def _outer(widths: Widths, parts: LinearParts, rows: int, output_bits: int) -> Operator:
    """A linear layer whose outputs are of so many bits."""
    (outputs, inputs), size = parts.weight.shape, parts.weight.numel()
    weights = size * widths.weights
    moved = rows * inputs * widths.activations + weights + rows * outputs * output_bits
    return Operator(moved, rows * size, widths.product(widths.weights, widths.activations), weights)


def _norm(widths: Widths, elements: int) -> Operator:
    """A norm of the stream, or of what has its width, that yields codes."""
    return Operator(elements * (widths.stream + widths.activations))


def _pool_operators(pool: PoolParts, widths: Widths, batch: int, tokens: int) -> list[Operator]:
    """Attention pooling behind the final norm; its one query's products are float."""
    heads, width = pool.query.shape
    inner, channels = heads * width, len(pool.proj.weight)
    keys = batch * tokens * inner
    norm = [Operator(2 * keys * widths.stream)] if pool.k_norm is not None else []
    product = Operator(keys * widths.stream + batch * (heads * tokens + inner) * widths.stream, keys)
    return [
        _outer(widths, pool.kv, batch * tokens, widths.stream),
        *norm,
        product,
        product,
        _outer(widths, pool.proj, batch, widths.stream),
        *([_norm(widths, batch * channels)] if pool.norm is not None else []),
        _outer(widths, pool.fc1, batch, widths.activations),
        _outer(widths, pool.fc2, batch, widths.stream),
    ]


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
    profile: HardwareProfile,
    blueprint: Blueprint,
    choices: Choices | Sequence[FormatName],
    scheme: str,
    batch: int = 1,
) -> LatencyTable:
    """A table of modelled times.

    Args:
        profile: The machine.
        blueprint: The model.
        choices: Formats of the search; a product of floats runs at a rate of their bits, or as float does.
        scheme: The quantization scheme: what it leaves in float is moved as such.
        batch: Images of a batch.
    """
    found = parts_summed(
        lambda operators: seconds(profile, operators),
        blueprint,
        choices,
        scheme,
        batch,
        float_bits=profile.float_bits,
        of_encoder=profile.encoder_seconds,
    )

    def entry(duration: Fraction) -> Latency:
        return Latency(float(1000 * duration))

    encoders = {key: entry(duration) for key, duration in found.encoders.items()}
    source = f"model:{profile.name}"
    return LatencyTable(encoders, entry(found.rest), entry(found.float_model), batch, source, scheme)


@dataclass(frozen=True)
class Summed:
    """Something of a model's operators, added up.

    Attributes:
        encoders: Of an encoder by (shape, (weights, activations, attention)).
        rest: Of everything outside the encoders, quantized.
        float_model: Of the whole float model.
    """

    encoders: dict[tuple[str, Triple], Fraction]
    rest: Fraction
    float_model: Fraction


def parts_summed(
    of_operators: Callable[[Iterable[Operator]], Fraction],
    blueprint: Blueprint,
    choices: Choices | Sequence[FormatName],
    scheme: str,
    batch: int,
    float_bits: int = 32,
    of_encoder: Fraction = Fraction(0),
) -> Summed:
    """What operators come to in the parts of a model.

    Args:
        of_operators: Sums what operators take, such as seconds.
        blueprint: The model.
        choices: Formats of the search.
        scheme: The quantization scheme: what it leaves in float is moved as such.
        batch: Images of a batch.
        float_bits: Bits of a value of the float model.
        of_encoder: Added for every encoder.
    """
    pinned, whole = dict(pinned_bits(scheme)), float_bits
    stream = pinned.get("residual", whole)

    def encoder_sum(encoder: EncoderParts, held: Widths) -> Fraction:
        return of_operators(encoder_operators(encoder, held, batch)) + of_encoder

    def at(triple: Triple) -> Widths:
        weights, inputs, matrix = (number_format(held).bits for held in triple)
        return Widths(weights, inputs, matrix, stream)

    encoders = {
        (encoder_shape(encoder), triple): encoder_sum(encoder, at(triple))
        for encoder in blueprint.encoders
        for triple in triples(choices)
    }
    outer = at((pinned["embedding"], pinned["embedding"], pinned["embedding"]))
    in_float = Widths(whole, whole, whole, stream=whole, whole=True)
    float_model = of_operators(outer_operators(blueprint, in_float, batch)) + sum(
        encoder_sum(encoder, in_float) for encoder in blueprint.encoders
    )
    return Summed(encoders, of_operators(outer_operators(blueprint, outer, batch)), float_model)
