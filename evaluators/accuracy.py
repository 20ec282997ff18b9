"""Accuracy: top-1, top-5, loss and KL divergence of logits, and their comparison with the float model."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Accuracy:
    """How well a model classifies a split.

    Attributes:
        images: Images that were classified.
        top1: Share whose highest logit is the label, in percent; higher is better.
        top5: Share whose label is among the five highest logits, in percent; higher is better.
        loss: Mean cross-entropy in nats; lower is better.
        kl: Mean KL divergence from the float model's softmax to this one's, in nats; lower is better.
        agreement: Share of images given the same class as the float model, in percent; higher is better.
        seconds: Time of the forward passes.
    """

    images: int
    top1: float
    top5: float
    loss: float
    kl: float
    agreement: float
    seconds: float

    @property
    def top1_standard_error(self) -> float:
        """Binomial standard error of ``top1``, in percentage points."""
        share = self.top1 / 100.0
        return 100.0 * math.sqrt(share * (1.0 - share) / self.images)


def accuracy_of_logits(
    logits: torch.Tensor, float_logits: torch.Tensor, labels: torch.Tensor, seconds: float
) -> Accuracy:
    """Scores logits of shape ``[images, classes]`` against labels and the float model's logits.

    With fewer than six classes, top-5 counts every class.
    """
    logits, float_logits = logits.double(), float_logits.double()
    log_p = logits.log_softmax(-1)
    float_log_p = float_logits.log_softmax(-1)
    best = logits.topk(min(5, logits.shape[-1]), dim=-1).indices
    predicted = logits.argmax(-1)

    def percent(hits: torch.Tensor) -> float:
        return 100.0 * float(hits.double().mean())

    return Accuracy(
        images=len(labels),
        top1=percent(predicted == labels),
        top5=percent((best == labels[:, None]).any(-1)),
        loss=float(torch.nn.functional.nll_loss(log_p, labels)),
        kl=max(0.0, float((float_log_p.exp() * (float_log_p - log_p)).sum(-1).mean())),
        agreement=percent(predicted == float_logits.argmax(-1)),
        seconds=seconds,
    )
