"""Latency tables: milliseconds of each encoder shape at each precision, the rest and the float model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bitfront.evaluators.models.blueprint import EncoderParts
from bitfront.spaces import Triple


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
class Entry:
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

    encoders: Mapping[tuple[str, Triple], Entry]
    rest: Entry
    float_model: Entry
    batch: int
    source: str
    scheme: str = ""
    machine: str = ""
