"""Fisher information of the prediction: its directions, and how much each token's error matters to it.

To second order the KL divergence from a prediction ``p`` to that of logits moved by ``d`` is ``d^T F d / 2``
with the Fisher information ``F = diag(p) - p p^T`` (as FIMA-Q, arXiv 2506.11543, section 3, uses it): half
the mean square of what a random vector of covariance ``F`` sees of ``d``. ``F`` is ``S S^T`` with
``S = (I - p 1^T) diag(sqrt(p))``. Where every logit has a probability of its own by the sigmoid, the
divergence is the sum of theirs, and ``F = diag(p (1 - p))``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.float_forward import Batches, forward
from bitfront.evaluators.models.sites import LAYER_OUTPUTS

# Of the power iteration; any start and number leave the pair's covariance exact.
ITERATIONS = 20
# Images in one backward pass, which holds all of their intermediate values.
IMAGES = 4
# Every token has at least this share of the average weight: what does not matter for one random direction
# may do so for another.
LEAST_SHARE = 0.1
SEED = 0
LayerKey = tuple[int, str]
TokenWeights = Mapping[LayerKey, list[torch.Tensor]]


def fisher_direction(
    logits: torch.Tensor, generator: torch.Generator, independent: bool = False
) -> torch.Tensor:
    """One random vector for each image, of covariance ``F``, ``[batch, classes]``.

    Args:
        logits: Of the float model, ``[batch, classes]``; ``p`` is their softmax.
        generator: Of the CPU, so that every device sees the same numbers.
        independent: Whether every logit has a probability of its own, and ``p`` is their sigmoid.
    """
    information = _Information(logits.detach(), independent)
    return information.spread(_noise(logits, generator))


def fisher_pair(logits: torch.Tensor, generator: torch.Generator, independent: bool = False) -> torch.Tensor:
    """Two vectors for each image whose outer products add up to ``F`` in the mean, ``[batch, 2, classes]``.

    The first is the principal axis of ``F``, which has most of it where a model wavers between two classes;
    the second is random in the rest. Their squares scatter much less than those of two random vectors.

    Args:
        logits: As in :func:`fisher_direction`.
        generator: As there.
        independent: As there.
    """
    information = _Information(logits.detach(), independent)
    axis = _noise(logits, generator)
    for _ in range(ITERATIONS):
        axis = torch.nn.functional.normalize(information.gather(information.spread(axis)), dim=-1)
    noise = _noise(logits, generator)
    rest = noise - axis * (axis * noise).sum(-1, keepdim=True)
    return torch.stack([information.spread(axis), information.spread(rest)], 1)


def _noise(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(like.shape, generator=generator).to(like.device)


class _Information:
    """The factor ``S`` of the Fisher information of logits ``[batch, classes]``."""

    def __init__(self, logits: torch.Tensor, independent: bool) -> None:
        self._independent = independent
        self._p = logits.sigmoid() if independent else logits.softmax(-1)
        self._root = (self._p * (1.0 - self._p)).sqrt() if independent else self._p.sqrt()

    def spread(self, z: torch.Tensor) -> torch.Tensor:
        """``S z``."""
        scaled = self._root * z
        return scaled if self._independent else scaled - self._p * scaled.sum(-1, keepdim=True)

    def gather(self, y: torch.Tensor) -> torch.Tensor:
        """``S^T y``."""
        return self._root * (y if self._independent else y - (self._p * y).sum(-1, keepdim=True))


def token_weights(blueprint: Blueprint, batches: Batches) -> TokenWeights:
    """Weights by (encoder, layer), for each batch float32 ``[batch * tokens]`` of mean 1.

    To second order the divergence of the quantized from the float prediction is ``e^T J^T F J e / 2`` for
    errors ``e`` of a layer's output, with the Jacobian ``J`` of the logits and the Fisher information ``F``
    of the class probabilities (as FIMA-Q, arXiv 2506.11543, section 3). One random vector of covariance
    ``F``, propagated backwards, estimates its diagonal; a token's weight is the root of its mean over
    channels, which tames the estimate's tail.

    Args:
        blueprint: The float model.
        batches: Yields the batches of normalised images, from the first on at each call.
    """
    generator = torch.Generator().manual_seed(SEED)
    found: dict[LayerKey, list[torch.Tensor]] = {}
    for images in batches():
        parts = [_gradients(blueprint, part, generator) for part in torch.split(images, IMAGES)]
        for key in parts[0]:
            weights = torch.cat([part[key] for part in parts]).sqrt()
            mean, even = weights.mean(), torch.ones_like(weights)
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
    found = squared_gradients(blueprint, images, generator, outputs)
    return {key: found[site].mean(-1).flatten() for site, key in outputs.items()}


def squared_gradients(
    blueprint: Blueprint, images: torch.Tensor, generator: torch.Generator, sites: Collection[str]
) -> dict[str, torch.Tensor]:
    """An estimate of the diagonal of ``J^T F J`` at some sites, each of its tensor's shape.

    Args:
        blueprint: The float model.
        images: Normalised images.
        generator: Of the random vector that is propagated backwards.
        sites: Which.
    """
    kept: dict[str, torch.Tensor] = {}

    def tap(site: str, value: torch.Tensor) -> None:
        if site in sites:
            value.retain_grad()
            kept[site] = value

    with torch.enable_grad():
        logits = forward(blueprint, images.clone().requires_grad_(), tap)
        torch.autograd.backward(logits, fisher_direction(logits, generator, blueprint.independent))
    found = {}
    for site, value in kept.items():
        assert value.grad is not None, "a kept tensor has a gradient"
        found[site] = value.grad.square()
    return found
