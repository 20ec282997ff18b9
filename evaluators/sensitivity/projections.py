"""What directions of the prediction see of every quantization error, from one pass of gradients for all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bitfront.evaluators.data.images import PreprocessedImages
from bitfront.evaluators.models.float_forward import forward
from bitfront.evaluators.models.sites import LAYER_INPUTS, LAYER_OUTPUTS
from bitfront.evaluators.preparation.fisher import fisher_pair
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.sensitivity.state_errors import SOFTMAX, State, StateErrors
from bitfront.spaces import BitConfig
from bitfront.spaces.space import ATTENTION_LAYER

# Images of 224 x 224 pixels; of smaller ones, which small models see, there are more, and more at a time.
FEWEST, MOST = 64, 256
AT_A_TIME, MOST_AT_A_TIME = 2, 64
_PIXELS = 224 * 224
SEED = 0
Samples = NDArray[np.float64]


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
    first, second = (
        torch.autograd.grad(logits, [tensors[site] for site in sites], direction, retain_graph=number == 0)
        for number, direction in enumerate(fisher_pair(logits, generator).unbind(1))
    )
    count = len(images)  # windows of an image follow one another in the batch
    gradients = {
        site: torch.stack([a.reshape(count, -1), b.reshape(count, -1)], 1)
        for site, a, b in zip(sites, first, second, strict=True)
    }
    return {site: value.detach() for site, value in tensors.items()}, gradients
