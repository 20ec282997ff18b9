"""Directions in the space of logits whose covariance is the Fisher information of the prediction.

To second order the KL divergence from a prediction ``p`` to that of logits moved by ``d`` is ``d^T F d / 2``
with the Fisher information ``F = diag(p) - p p^T`` (as FIMA-Q, arXiv 2506.11543, section 3, uses it): half
the mean square of what a random vector of covariance ``F`` sees of ``d``. ``F`` is ``S S^T`` with
``S = (I - p 1^T) diag(sqrt(p))``.
"""

from __future__ import annotations

import torch

# Of the power iteration; any start and number leave the pair's covariance exact.
ITERATIONS = 20


def fisher_direction(logits: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """One random vector for each image, of covariance ``F``, ``[batch, classes]``.

    Args:
        logits: Of the float model, ``[batch, classes]``; ``p`` is their softmax.
        generator: Of the CPU, so that every device sees the same numbers.
    """
    probability = logits.detach().softmax(-1)
    return _spread(probability, _noise(probability, generator))


def fisher_pair(logits: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Two vectors for each image whose outer products add up to ``F`` in the mean, ``[batch, 2, classes]``.

    The first is the principal axis of ``F``, which has most of it where a model wavers between two classes;
    the second is random in the rest. Their squares scatter much less than those of two random vectors.

    Args:
        logits: As in :func:`fisher_direction`.
        generator: Likewise.
    """
    probability = logits.detach().softmax(-1)
    axis = _noise(probability, generator)
    for _ in range(ITERATIONS):
        axis = torch.nn.functional.normalize(_gathered(probability, _spread(probability, axis)), dim=-1)
    noise = _noise(probability, generator)
    rest = noise - axis * (axis * noise).sum(-1, keepdim=True)
    return torch.stack([_spread(probability, axis), _spread(probability, rest)], 1)


def _noise(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(like.shape, generator=generator).to(like.device)


def _spread(probability: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """``S z``."""
    scaled = probability.sqrt() * z
    return scaled - probability * scaled.sum(-1, keepdim=True)


def _gathered(probability: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """``S^T y``."""
    return probability.sqrt() * (y - (probability * y).sum(-1, keepdim=True))
