"""One-flip sensitivities: what narrowing each gene alone costs, by evaluating it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bitfront.evaluators.context.significance import PairedComparison
from bitfront.evaluators.progress import ShareDone, unreported
from bitfront.spaces import SearchSpace

if TYPE_CHECKING:
    from bitfront.evaluators.context.context import EvaluationContext


@dataclass(frozen=True)
class OneFlip:
    """A gene at its lowest width and all others at the widest, against the widest throughout.

    Attributes:
        name: The gene.
        loss: Change of the cross-entropy, nats; lower is better.
        kl: Change of the KL divergence from the float model's prediction, nats; lower is better.
        divergence: KL divergence from the prediction at the widest, nats, which gradient scores estimate.
        top1: The paired comparison with the widest, in percentage points; higher is better.
    """

    name: str
    loss: float
    kl: float
    divergence: float
    top1: PairedComparison

    def to_json(self) -> dict[str, Any]:
        """The figures, under the names that JSON documents use."""
        return {
            "gene": self.name,
            "loss_change": self.loss,
            "kl_change": self.kl,
            "divergence": self.divergence,
            "top1_change": self.top1.difference,
            "top1_change_standard_error": self.top1.difference_standard_error,
        }


def one_flips(
    context: EvaluationContext, space: SearchSpace, progress: ShareDone = unreported
) -> tuple[OneFlip, ...]:
    """Evaluates every gene at its lowest width on the search split: genes + 1 evaluations, in genome order.

    Args:
        context: The prepared model and its data.
        space: Whose genes are flipped.
        progress: Is told the share that is done.

    Raises:
        BitfrontError: A configuration yields NaN, infinity or saturation; the tensor is named.
    """
    from bitfront.evaluators.context.accuracy import accuracy_of_logits

    labels, whole = context.images("search").labels, context.float_logits("search")
    widest = np.full(len(space), len(space.widths) - 1, dtype=np.int64)
    base_logits = context.logits(space.decode(widest), "search")
    base = accuracy_of_logits(base_logits, whole, labels, 0.0)
    found = []
    for position, name in enumerate(space.gene_names):
        progress((position + 1) / (len(space) + 1))
        genome = widest.copy()
        genome[position] = 0
        logits = context.logits(space.decode(genome), "search")
        flipped = accuracy_of_logits(logits, whole, labels, 0.0)
        beside = accuracy_of_logits(logits, base_logits, labels, 0.0)
        loss, kl = flipped.loss - base.loss, flipped.kl - base.kl
        found.append(OneFlip(name, loss, kl, beside.kl, beside.against_float))
    return tuple(found)
