"""What directions of the prediction see of every quantization error, from one pass of gradients for all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bitfront.evaluators.data.images import PreprocessedImages
from bitfront.evaluators.models.float_forward import forward
from bitfront.evaluators.models.float_stages import hidden, operands
from bitfront.evaluators.models.sites import LAYER_INPUTS, LAYER_OUTPUTS
from bitfront.evaluators.preparation.fisher import fisher_pair
from bitfront.evaluators.preparation.log_base import LOG_BITS, logarithmic
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.quantizers.minifloats import MinifloatGrid
from bitfront.spaces import BitConfig, FormatName, number_format, pinned_bits
from bitfront.spaces.space import ATTENTION_LAYER

# Images of 224 x 224 pixels; of smaller ones, which small models see, there are more, and more at a time.
FEWEST, MOST = 64, 256
AT_A_TIME, MOST_AT_A_TIME = 2, 64
_PIXELS = 224 * 224
SEED = 0
Samples = NDArray[np.float64]
# Its activation gene covers its output as well: the operands of both attention products.
QKV = "attn.qkv"
# Its output is looked at as the hidden channels, where the next layer's gene has not rounded them yet.
HIDDEN_LAYER = "mlp.fc1"
SOFTMAX = "attn.softmax"


def pass_images(images: PreprocessedImages) -> tuple[int, Iterator[torch.Tensor]]:
    """How many images are taken, and their normalised batches ``[batch, channels, rows, columns]``.

    All intermediate values of a batch are held at a time: batches are small.

    Args:
        images: The split; all are taken where there are few.
    """
    height, width = images.pixels.shape[-2:]
    times = max(1, _PIXELS // (height * width))
    count = min(len(images), MOST, FEWEST * times)
    places = np.linspace(0, len(images) - 1, count).round().astype(np.int64)
    parts = torch.split(images.pixels[torch.from_numpy(places)], min(MOST_AT_A_TIME, AT_A_TIME * times))
    return count, (images.normalised(part) for part in parts)


@dataclass(frozen=True, eq=False)
class Projections:
    """Products ``v^T J e`` of directions ``v``, the Jacobian ``J`` of the logits and errors ``e``.

    With directions of covariance ``F``, the Fisher information of the prediction, half the sum of their
    squares estimates ``e^T J^T F J e / 2``: to second order the KL divergence that the whole error tensor
    causes. Scores by squared gradients (the Fisher diagonal) drop the products of its elements. Projections
    add up over parts: those of a configuration are the sum of those of its states.

    Attributes:
        by_state: Projections of each state's error on two directions of each image, ``[images, 2]``.
    """

    by_state: Mapping[State, Samples]

    def of(self, config: BitConfig) -> Samples:
        """Projections of the error of a whole configuration, ``[images, 2]``."""
        return np.asarray(sum(self.by_state[state] for state in states(config)), dtype=np.float64)

    def divergence(self, config: BitConfig, base: BitConfig) -> float:
        """KL divergence, in nats, that a configuration's error beyond that of another one causes."""
        return float(np.square(self.of(config) - self.of(base)).sum(1).mean()) / 2


def states(config: BitConfig) -> Iterator[State]:
    """The state that a configuration puts each part of each encoder in."""
    for encoder in config.encoders:
        for layer in LAYER_INPUTS:
            bits = encoder.bits("weights", layer), encoder.bits("activations", layer)
            yield State(encoder.index, layer, bits)
        yield State(encoder.index, ATTENTION_LAYER, (encoder.attention,))


def project(
    prepared: PreparedModel, batches: Iterable[torch.Tensor], seen: Callable[[int], None] | None = None
) -> Projections:
    """Projects the errors of every part at every width, each with the rest of the model in float.

    Args:
        prepared: The model.
        batches: Normalised images ``[batch, channels, rows, columns]``; all intermediate values of a batch
            are held at a time.
        seen: Is told how many images are done after each batch.
    """
    generator = torch.Generator().manual_seed(SEED)
    errors = StateErrors(prepared)
    found: dict[State, list[torch.Tensor]] = {}
    images = 0
    for batch in batches:
        tensors, gradients = site_gradients(prepared, batch, generator)
        with torch.inference_mode():
            for index in range(len(prepared.blueprint.encoders)):
                for state, site, error in errors.of_encoder(index, tensors):
                    projected = gradients[site] @ error.reshape(len(batch), -1, 1)
                    found.setdefault(state, []).append(projected.squeeze(-1).cpu())
        images += len(batch)
        if seen is not None:
            seen(images)
    by_state = {state: torch.cat(parts).double().numpy() for state, parts in found.items()}
    return Projections(by_state)


def site_gradients(
    prepared: PreparedModel, images: torch.Tensor, generator: torch.Generator
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The float tensors of some images by site, and the gradients of two directions where errors arise.

    Args:
        prepared: The model.
        images: Normalised, ``[batch, channels, rows, columns]``.
        generator: Of the directions.

    Returns:
        Tensors by site, and gradients ``[batch, 2, elements]`` by site.
    """
    encoders = prepared.blueprint.encoders
    sites = [f"{encoder.name}.{site}" for encoder in encoders for site in (*LAYER_OUTPUTS.values(), SOFTMAX)]
    tensors: dict[str, torch.Tensor] = {}
    with torch.enable_grad():
        inputs = images.to(prepared.kernels.device, copy=True).requires_grad_()
        logits = forward(prepared.blueprint, inputs, tensors.__setitem__)
    pair = fisher_pair(logits, generator, prepared.blueprint.independent)
    first, second = (
        torch.autograd.grad(logits, [tensors[site] for site in sites], direction, retain_graph=number == 0)
        for number, direction in enumerate(pair.unbind(1))
    )
    count = len(images)  # windows of an image follow one another in the batch
    gradients = {
        site: torch.stack([a.reshape(count, -1), b.reshape(count, -1)], 1)
        for site, a, b in zip(sites, first, second, strict=True)
    }
    return {site: value.detach() for site, value in tensors.items()}, gradients


@dataclass(frozen=True)
class State:
    """A part of an encoder at chosen widths.

    Attributes:
        encoder: Index of the encoder.
        layer: A linear layer, or ``attn`` for the attention matrix.
        bits: Formats of the layer's weights and of its gene's activations; of the attention matrix alone.
    """

    encoder: int
    layer: str
    bits: tuple[FormatName, ...]


class StateErrors:
    """Runs every part at every width, with all that is before it in float.

    A linear layer runs on its integer kernel as it was fitted for that pair of widths, so that the
    corrections of weights for the error of activations, and those of biases, count.

    Args:
        prepared: The model.
    """

    def __init__(self, prepared: PreparedModel) -> None:
        self._prepared = prepared
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
        for held in self._prepared.choices.attention:
            error = self._attention(index, site, seen[site], held) - seen[site]
            yield State(index, ATTENTION_LAYER, (held,)), site, error

    def _outputs(
        self, index: int, layer: str, x: torch.Tensor
    ) -> Iterator[tuple[tuple[FormatName, FormatName], torch.Tensor]]:
        """What follows takes of a layer, ``[batch, tokens, out]``, by the formats of weights and input."""
        prepared, calibration = self._prepared, self._prepared.calibration
        encoder = prepared.blueprint.encoders[index]
        name = encoder.name
        source, out = f"{name}.{LAYER_INPUTS[layer]}", f"{name}.{LAYER_OUTPUTS[layer]}"
        for activations in prepared.choices.activations:
            rows = x.reshape(-1, x.shape[-1])
            if isinstance(activations, int):
                entering = calibration.codes(source, activations, rows)
            else:
                entering = calibration.quantized(source, activations, rows)
            for weights in prepared.choices.weights:
                value = prepared.linear(index, layer, weights, activations)(entering)
                value = value.view(*x.shape[:-1], -1)
                bits: FormatName | None = activations if layer == QKV else self._residual_bits
                if layer == QKV:
                    value = operands(encoder, value)
                if layer == HIDDEN_LAYER:
                    value = hidden(encoder, value)
                elif bits is not None:
                    value = calibration.quantized(out, bits, value)
                yield (weights, activations), value

    def _attention(self, index: int, site: str, matrix: torch.Tensor, held: FormatName) -> torch.Tensor:
        bits, affine = number_format(held).bits, self._prepared.calibration.affine
        if bits > LOG_BITS or isinstance(affine.get((site, bits)), MinifloatGrid):
            return self._prepared.calibration.quantized(site, held, matrix)
        return logarithmic(matrix, self._prepared.log_steps[index] if bits == LOG_BITS else 1.0, bits)
