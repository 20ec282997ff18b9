"""Accuracy of logits against labels and the float model, and when a candidate cannot reach what it has to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from bitfront.evaluators.context.significance import PairedComparison, standard_error

# Below so many images, a first look decides too little to be worth its own step.
FEWEST_FIRST = 256
FIRST_SHARE = 0.25
# Paired standard errors by which a candidate may fall short and still be given more images.
PATIENCE = 2.0


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
        lost: Images that only the float model gets right.
        won: Images that only this model gets right.
    """

    images: int
    top1: float
    top5: float
    loss: float
    kl: float
    agreement: float
    seconds: float
    lost: int
    won: int

    @property
    def top1_standard_error(self) -> float:
        """Binomial standard error of ``top1``, in percentage points."""
        return standard_error(self.top1, self.images)

    @property
    def against_float(self) -> PairedComparison:
        """The comparison with the float model on the same images."""
        return PairedComparison(self.images, self.lost, self.won)

    @property
    def difference(self) -> float:
        """``top1`` less that of the float model, in percentage points; higher is better."""
        return self.against_float.difference

    @property
    def difference_standard_error(self) -> float:
        """Paired standard error of ``difference``, in percentage points."""
        return self.against_float.difference_standard_error

    @property
    def mcnemar_p(self) -> float:
        """P-value of the exact two-sided McNemar test of ``difference``."""
        return self.against_float.mcnemar_p


def accuracy_of_logits(
    logits: torch.Tensor, float_logits: torch.Tensor, labels: torch.Tensor, seconds: float
) -> Accuracy:
    """Scores logits of shape ``[images, classes]`` against labels and the float model's logits.

    With fewer than six classes, top-5 counts every class.
    """
    logits, float_logits = logits.double(), float_logits.double()
    log_p, float_log_p = logits.log_softmax(-1), float_logits.log_softmax(-1)
    best = logits.topk(min(5, logits.shape[-1]), dim=-1).indices
    predicted, float_predicted = logits.argmax(-1), float_logits.argmax(-1)
    right, float_right = predicted == labels, float_predicted == labels

    def percent(hits: torch.Tensor) -> float:
        return 100.0 * float(hits.double().mean())

    return Accuracy(
        images=len(labels),
        top1=percent(right),
        top5=percent((best == labels[:, None]).any(-1)),
        loss=float(torch.nn.functional.nll_loss(log_p, labels)),
        kl=max(0.0, float((float_log_p.exp() * (float_log_p - log_p)).sum(-1).mean())),
        agreement=percent(predicted == float_predicted),
        seconds=seconds,
        lost=int((float_right & ~right).sum()),
        won=int((right & ~float_right).sum()),
    )


def first_images(whole: int) -> int:
    """Images of a first look at a split of ``whole`` images: all of them where there are few."""
    first = max(FEWEST_FIRST, math.ceil(FIRST_SHARE * whole))
    return whole if 2 * first > whole else first


def growing(first: int, whole: int, batch_size: int) -> Iterator[int]:
    """How many images have been seen after each step: ``first``, then twice as many, up to ``whole``.

    Steps end with whole batches, so that each image is classified in the batch it would be in anyway.
    """
    done = min(whole, batch_size * math.ceil(first / batch_size))
    while done < whole:
        yield done
        done = min(whole, 2 * done)
    yield whole


def hopeless(accuracy: Accuracy, required: float) -> bool:
    """Whether a difference to the float model of ``required`` points of top-1 is out of reach.

    It is where the difference on the images seen, which both models classified, lies more than two of its
    standard errors lower. One changed image more than were seen is counted, so that the error is never zero.

    Args:
        accuracy: What was found on the images seen.
        required: Percentage points, usually negative.
    """
    changed = (accuracy.lost + accuracy.won + 1) / accuracy.images
    error = 100.0 * math.sqrt(changed / accuracy.images)
    return accuracy.difference + PATIENCE * error < required
