"""What stands between an encoder's products, as operators: norms, activations, gates and rotary positions.

The numbers are those of :mod:`bitfront.evaluators.models.float_stages`, of operators that runtimes fuse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from bitfront.evaluators.deployment.graph.writer import GraphWriter
from bitfront.evaluators.models.float_stages import QUICK
from bitfront.evaluators.models.parts import (
    GELU,
    GELU_TANH,
    QUICK_GELU,
    RELU,
    SILU,
    EncoderParts,
    NormParts,
    RotaryParts,
)


def write_norm(writer: GraphWriter, x: str, parts: NormParts, offset: float = 0.0) -> str:
    """LayerNorm or RMSNorm over the last axis, plus an offset."""
    bias = (parts.bias.double() + offset).float()
    weight = writer.constant(parts.weight.cpu().numpy())
    if parts.centred:
        moved = writer.constant(bias.cpu().numpy())
        return writer.op("LayerNormalization", x, weight, moved, axis=-1, epsilon=float(parts.eps))
    # RMSNormalization is of a later operator set; runtimes make one operator of these.
    squares = writer.op("ReduceMean", writer.op("Pow", x, writer.constant(2.0)), writer.integers(-1))
    root = writer.op("Sqrt", writer.op("Add", squares, writer.constant(float(parts.eps))))
    scaled = writer.op("Mul", writer.op("Div", x, root), weight)
    return writer.op("Add", scaled, writer.constant(bias.cpu().numpy())) if bool(bias.any()) else scaled


def _quick_gelu(writer: GraphWriter, x: str) -> str:
    return writer.op("Mul", x, writer.op("Sigmoid", writer.op("Mul", x, writer.constant(QUICK))))


_ACTIVATIONS: Mapping[str, Callable[[GraphWriter, str], str]] = {
    GELU: lambda writer, x: writer.op("Gelu", x),
    GELU_TANH: lambda writer, x: writer.op("Gelu", x, approximate="tanh"),
    QUICK_GELU: _quick_gelu,
    SILU: lambda writer, x: writer.op("Mul", x, writer.op("Sigmoid", x)),
    RELU: lambda writer, x: writer.op("Relu", x),
}


def write_activation(writer: GraphWriter, x: str, name: str) -> str:
    """The activation of that name."""
    return _ACTIVATIONS[name](writer, x)


def write_hidden(writer: GraphWriter, encoder: EncoderParts, x: str) -> str:
    """The hidden channels ``[..., hidden]`` of what ``fc1`` yields, before their norm."""
    if encoder.gated:
        gate, linear = writer.split(x, [encoder.hidden] * 2, axis=-1)
        x = writer.op("Mul", write_activation(writer, gate, encoder.activation), linear)
    else:
        x = write_activation(writer, x, encoder.activation)
    if encoder.hidden_scales is None:
        return x
    assert encoder.hidden_norm is None, "its weight takes scales in"
    return writer.op("Mul", x, writer.constant(encoder.hidden_scales.cpu().numpy()))


def write_rotation(writer: GraphWriter, rotary: RotaryParts, x: str) -> str:
    """Channels ``[batch, tokens, heads, head_dim]`` turned by their places; pairs are half a head apart."""
    assert rotary.halves, "graphs have no others: see in_halves"
    sines = rotary.sines
    half = sines.shape[-1] // 2
    first, second = writer.split(x, [half] * 2, axis=-1)
    partner = writer.op("Concat", second, first, axis=-1)
    # The sign of a channel's partner goes with the sine.
    signed = torch.cat([-sines[..., :half], sines[..., half:]], -1)
    turned, kept = (
        writer.op("Mul", value, writer.constant(factor.cpu().numpy()))
        for value, factor in ((partner, signed), (x, rotary.cosines))
    )
    return writer.op("Add", kept, turned)


def write_operand(writer: GraphWriter, x: str, norm: NormParts | None, rotary: RotaryParts | None) -> str:
    """Queries or keys ``[batch, tokens, heads, head_dim]``, normalised and turned."""
    normed = x if norm is None else write_norm(writer, x, norm)
    return normed if rotary is None else write_rotation(writer, rotary, normed)
