"""How much the error of each token at each linear layer's output matters to the model's prediction."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from bitfront.evaluators.calibration import Batches
from bitfront.evaluators.fisher import fisher_direction
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.float_forward import forward
from bitfront.evaluators.sites import LAYER_OUTPUTS

# Images in one backward pass, which holds all of their intermediate values.
IMAGES = 4
# Every token has at least this share of the average weight: what does not matter for one random direction
# may do so for another.
LEAST_SHARE = 0.1
SEED = 0
LayerKey = tuple[int, str]
TokenWeights = Mapping[LayerKey, list[torch.Tensor]]


def token_weights(blueprint: Blueprint, batches: Batches) -> TokenWeights:
    """Weights by (encoder, layer), for each batch float32 ``[batch * tokens]`` of mean 1.

    To second order the divergence of the quantized from the float prediction is ``e^T J^T F J e / 2`` for
    errors ``e`` of a layer's output, with the Jacobian ``J`` of the logits and the Fisher information ``F``
    of the class probabilities (as FIMA-Q, arXiv 2506.11543, section 3). One random vector of covariance
    ``F``, propagated backwards, estimates its diagonal; a token's weight is the root of its mean over
    channels, which tames the estimate's tail.

    Args:
        blueprint: The float model.
        batches: Yields the batches of normalised images anew at each call.
    """
    generator = torch.Generator().manual_seed(SEED)
    found: dict[LayerKey, list[torch.Tensor]] = {}
    for images in batches():
        parts = [_gradients(blueprint, part, generator) for part in torch.split(images, IMAGES)]
        for key in parts[0]:
            weights = torch.cat([part[key] for part in parts]).sqrt()
            mean = weights.mean()
            even = torch.ones_like(weights)
            shares = weights / mean if mean > 0 else even
            found.setdefault(key, []).append(torch.lerp(shares, even, LEAST_SHARE))
    return found


def _gradients(
    blueprint: Blueprint, images: torch.Tensor, generator: torch.Generator
) -> dict[LayerKey, torch.Tensor]:
    """Mean squared gradient of each token at each layer's output, ``[batch * tokens]``."""
    outputs = {
        f"{encoder.name}.{site}": (index, layer)
        for index, encoder in enumerate(blueprint.encoders)
        for layer, site in LAYER_OUTPUTS.items()
    }
    kept: dict[LayerKey, torch.Tensor] = {}

    def tap(site: str, value: torch.Tensor) -> None:
        if site in outputs:
            value.retain_grad()
            kept[outputs[site]] = value

    with torch.enable_grad():
        logits = forward(blueprint, images.clone().requires_grad_(), tap)
        torch.autograd.backward(logits, fisher_direction(logits, generator))
    gradients = {}
    for key, value in kept.items():
        assert value.grad is not None, "a kept tensor has a gradient"
        gradients[key] = value.grad.square().mean(-1).flatten()
    return gradients
