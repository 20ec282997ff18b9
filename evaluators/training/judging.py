"""What trained weights are worth: on some images of the search split as they go, on the test split last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from bitfront.evaluators.data.images import PreprocessedImages, load_images
from bitfront.evaluators.tasks.metric import Metric, Outputs
from bitfront.evaluators.tasks.quality import standard_errors
from bitfront.evaluators.tasks.task import Task
from bitfront.evaluators.training.images import Sides

# Images of the search split that are looked at after every epoch.
MOST_WATCHED = 1000
BATCH = 64
# Before a metric in the columns of plain weights, and of averaged ones.
PLAIN, AVERAGED = "held_out_", "ema_held_out_"
# Beside the metrics that every evaluation has; of more classes they take longer than an epoch.
_FURTHER, _MOST_CLASSES = ("macro_f1", "roc_auc"), 100


@dataclass(frozen=True)
class Figures:
    """What weights are worth.

    Attributes:
        values: By metric, in its unit.
        errors: Standard errors of these.
    """

    values: Mapping[str, float]
    errors: Mapping[str, float]


class Classify(Protocol):
    """Outputs ``[n, classes]`` of images."""

    def __call__(self, images: PreprocessedImages) -> torch.Tensor:
        """On the CPU."""


class HeldOut:
    """Images that are not trained on, and the task's metrics on them.

    Args:
        sides: Where they are.
        task: What they are judged by.
        data_config: timm's resolved preprocessing of the model.
        classes: Of the model.
        further: Names of metrics beside those that every evaluation has.
    """

    def __init__(
        self,
        sides: Sides,
        task: Task,
        data_config: Mapping[str, object],
        classes: int,
        further: Sequence[str] = (),
    ) -> None:
        self._sides, self._task, self._config = sides, task, data_config
        self.watched = load_images(sides.source, sides.splits.search[:MOST_WATCHED], data_config)
        named = {metric.name for metric in task.metrics}
        usual = [name for name in _FURTHER if name in named and classes <= _MOST_CLASSES]
        measured = task.measured((*usual, *further))
        self._metrics = [metric for metric in measured if metric.of_outputs_alone]

    def curve(self, classify: Classify, prefix: str) -> dict[str, float]:
        """Loss and first metric of the task, by columns that begin with a prefix."""
        outputs = self._outputs(values := classify(self.watched), values, self.watched)
        metrics = [self._task.metric(name) for name in (self._task.loss, self._task.primary)]
        return {f"{prefix}{metric.name}": metric.value(outputs) for metric in metrics}

    def figures(
        self, weights: Mapping[str, Classify]
    ) -> tuple[dict[str, Figures], dict[str, tuple[float, float]], int]:
        """What one or two sets of weights are worth on the test split.

        Args:
            weights: By name; the second one is compared with the first.

        Returns:
            Figures by name; by metric, the difference to the first and its standard error on the same images;
            the number of images.
        """
        images = load_images(self._sides.source, self._sides.splits.test, self._config)
        values = [classify(images) for classify in weights.values()]
        outputs = self._outputs(values[-1], values[0], images)
        errors = standard_errors(outputs, self._metrics)
        first, second = outputs.of_reference(), outputs
        found = [
            Figures(
                {metric.name: metric.value(part) for metric in self._metrics},
                {name: getattr(error, side) for name, error in errors.items()},
            )
            for part, side in ((first, "reference"), (second, "value"))
        ]
        difference = {
            name: (found[1].values[name] - found[0].values[name], error.difference)
            for name, error in errors.items()
        }
        named = dict(zip(weights, found, strict=False))
        return named, difference if len(weights) > 1 else {}, len(images)

    def _outputs(self, values: torch.Tensor, reference: torch.Tensor, images: PreprocessedImages) -> Outputs:
        given = Outputs(values, reference, images.labels, self._sides.source.class_names)
        return self._task.arithmetic.outputs(given)

    @property
    def metric(self) -> Metric:
        """The first metric of the task."""
        return self._task.metric(self._task.primary)


@torch.no_grad()
def outputs_of(module: nn.Module, images: PreprocessedImages) -> torch.Tensor:
    """Outputs of a model in evaluation mode, which is left as it was, in float32 on the CPU."""
    device, training = next(module.parameters()).device, module.training
    module.eval()
    found = [module(batch.to(device)).cpu() for batch, _ in images.batches(BATCH)]
    module.train(training)
    return torch.cat(found)


def pixel_batches(images: PreprocessedImages) -> Iterator[torch.Tensor]:
    """Float pixels from 0 to 255, some at a time."""
    return (part.float() for part in torch.split(images.pixels, BATCH))
