"""One-flip sensitivities: what narrowing each gene alone costs, by evaluating it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bitfront.evaluators.progress import ShareDone, unreported
from bitfront.evaluators.tasks.quality import PairedComparison
from bitfront.evaluators.tasks.task import Task
from bitfront.spaces import SearchSpace

if TYPE_CHECKING:
    from bitfront.evaluators.context.context import EvaluationContext


@dataclass(frozen=True)
class OneFlip:
    """A gene at its lowest width and all others at the widest, against the widest throughout.

    Attributes:
        name: The gene.
        task: What outputs are judged by.
        loss: Change of the task's loss, such as the cross-entropy in nats; lower is better.
        distance: Change of the distance to the float model's outputs, such as the KL divergence in nats.
        divergence: Distance to the outputs at the widest, which gradient scores estimate.
        counted: The paired comparison with the widest, by images that are decided right.
    """

    name: str
    task: Task
    loss: float
    distance: float
    divergence: float
    counted: PairedComparison

    def to_json(self) -> dict[str, Any]:
        """The figures, under the names that JSON documents use."""
        counted = self.task.counted
        return {
            "gene": self.name,
            f"{self.task.loss}_change": self.loss,
            f"{self.task.distance}_change": self.distance,
            "divergence": self.divergence,
            f"{counted}_change": self.counted.difference,
            f"{counted}_change_standard_error": self.counted.difference_standard_error,
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
    task = context.task
    widest = np.array(space.widest, dtype=np.int64)
    widest_outputs = context.outputs(context.logits(space.decode(widest), "search"), "search")
    base = task.quality(widest_outputs)
    found = []
    for position, name in enumerate(space.gene_names):
        progress((position + 1) / (len(space) + 1))
        genome = widest.copy()
        genome[position] = 0
        outputs = context.outputs(context.logits(space.decode(genome), "search"), "search")
        flipped = task.quality(outputs)
        beside = task.quality(dataclasses.replace(outputs, reference=widest_outputs.values))
        loss, distance = (flipped[metric] - base[metric] for metric in (task.loss, task.distance))
        found.append(OneFlip(name, task, loss, distance, beside[task.distance], beside.against_float))
    return tuple(found)
