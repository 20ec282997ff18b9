"""The error that each part of an encoder leaves in its float forward pass, at every width it may take."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from bitfront.evaluators.models.sites import LAYER_INPUTS, LAYER_OUTPUTS
from bitfront.evaluators.preparation.log_base import LOG_BITS, logarithmic
from bitfront.evaluators.quantized.kernels.linear import IntegerLinear
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.spaces import EncoderBits, pinned_bits
from bitfront.spaces.space import ATTENTION_LAYER

# Its activation gene covers its output as well: the operands of both attention products.
QKV = "attn.qkv"
# Its output is looked at behind the GELU, where the next layer's gene has not rounded it yet.
GELU_LAYER = "mlp.fc1"
SOFTMAX = "attn.softmax"


@dataclass(frozen=True)
class State:
    """A part of an encoder at chosen widths.

    Attributes:
        encoder: Index of the encoder.
        layer: A linear layer, or ``attn`` for the attention matrix.
        bits: Widths of the layer's weights and of the activations of its gene; of the attention matrix alone.
    """

    encoder: int
    layer: str
    bits: tuple[int, ...]


class StateErrors:
    """Runs every part at every width, with all that is before it in float.

    A linear layer runs on its integer kernel as it was fitted for that pair of widths, so that the
    corrections of weights for the error of activations, and those of biases, count.

    Args:
        prepared: The model.
    """

    def __init__(self, prepared: PreparedModel) -> None:
        self._prepared = prepared
        self._linear = dict(_linears(prepared))
        # Scheme deploy keeps what is added to the stream in float.
        self._residual_bits = dict(pinned_bits(prepared.scheme)).get("residual")

    def of_encoder(
        self, index: int, seen: Mapping[str, torch.Tensor]
    ) -> Iterator[tuple[State, str, torch.Tensor]]:
        """Yields states, the site where each leaves its error, and the error in the shape of that tensor.

        Args:
            index: Of the encoder.
            seen: The float tensors of the model by site.
        """
        name = self._prepared.blueprint.encoders[index].name
        for layer in LAYER_INPUTS:
            site = f"{name}.{LAYER_OUTPUTS[layer]}"
            x = seen[f"{name}.{LAYER_INPUTS[layer]}"]
            for bits, value in self._outputs(index, layer, x):
                yield State(index, layer, bits), site, value.view_as(seen[site]) - seen[site]
        site = f"{name}.{SOFTMAX}"
        for width in self._prepared.widths:
            error = self._attention(index, site, seen[site], width) - seen[site]
            yield State(index, ATTENTION_LAYER, (width,)), site, error

    def _outputs(
        self, index: int, layer: str, x: torch.Tensor
    ) -> Iterator[tuple[tuple[int, int], torch.Tensor]]:
        """What follows takes of a layer, ``[rows, out]``, by the bits of weights and activations."""
        prepared, calibration = self._prepared, self._prepared.calibration
        name = prepared.blueprint.encoders[index].name
        source, out = f"{name}.{LAYER_INPUTS[layer]}", f"{name}.{LAYER_OUTPUTS[layer]}"
        for activations in prepared.widths:
            codes = calibration.codes(source, activations, x.reshape(-1, x.shape[-1]))
            for weights in prepared.widths:
                value = self._linear[index, layer, weights, activations].to_float(
                    codes, calibration.grid(source, activations)
                )
                bits = activations if layer == QKV else self._residual_bits
                if layer == GELU_LAYER:
                    value = F.gelu(value)
                elif bits is not None:
                    value = calibration.quantized(out, bits, value)
                yield (weights, activations), value

    def _attention(self, index: int, site: str, matrix: torch.Tensor, bits: int) -> torch.Tensor:
        if bits > LOG_BITS:
            return self._prepared.calibration.quantized(site, bits, matrix)
        return logarithmic(matrix, self._prepared.log_steps[index] if bits == LOG_BITS else 1.0, bits)


def _linears(prepared: PreparedModel) -> Iterator[tuple[tuple[int, str, int, int], IntegerLinear]]:
    """The linear layers of every encoder by encoder, layer, weight bits and activation bits."""
    encoders, widths = enumerate(prepared.blueprint.encoders), prepared.widths
    for (index, parts), weights, activations in itertools.product(encoders, widths, widths):
        found = prepared.encoder(EncoderBits(index, parts.name, weights, activations, widths[-1]))
        for layer, linear in zip(LAYER_INPUTS, (found.qkv, found.proj, found.fc1, found.fc2), strict=True):
            yield (index, layer, weights, activations), linear
