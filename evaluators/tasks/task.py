"""Tasks: which metrics judge a model's outputs, what counts as right, and what steers a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bitfront.evaluators.tasks.metric import Metric, Outputs, metric_among
from bitfront.evaluators.tasks.quality import Quality, packed

if TYPE_CHECKING:
    import torch


class Judge(Protocol):
    """The arithmetic of a task, in torch; all of it is per image."""

    def outputs(self, outputs: Outputs) -> Outputs:
        """The same outputs in the form that the task's metrics compute with."""

    def decisions(self, values: torch.Tensor) -> torch.Tensor:
        """What the model decides for each image: int64 ``[images]``, or ``[images, labels]`` of 0 and 1."""

    def right(self, values: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Whether each image is decided as its labels say, bool ``[images]``."""

    def temperature(self, outputs: Outputs) -> float:
        """What outputs have to be divided by for the likeliest labels (Guo et al. 2017, section 4.2)."""

    def expected_right(
        self, values: torch.Tensor, reference: torch.Tensor, temperature: float
    ) -> torch.Tensor:
        """How probably each image is decided right, if the float model's probabilities are.

        Args:
            values: Outputs that decide.
            reference: Those of the float model, of the same shape.
            temperature: What the latter are divided by.

        Returns:
            From 0 to 1, ``[images]``.
        """


@dataclass(frozen=True)
class Task:
    """What is measured beside costs.

    Attributes:
        name: On the command line, such as ``classification``.
        title: For people.
        metrics: All that can be measured; the first ones in the order of tables.
        always: Names of the metrics that every evaluation has.
        primary: Name of the metric that is an objective unless others are asked for.
        counted: Name of the metric that is the share of images decided right, in percent; it is compared in
            pairs, and an evaluation that cannot reach what it has to of it is cut short.
        loss: Name of the metric that training minimises.
        distance: Name of the metric that says how far outputs are from the float model's: finer than the
            others, 0 for the float model, and what steers a search.
        multiple: Whether an image may have any number of labels.
        judge: Where the arithmetic is (``module:name``), so that naming a task loads nothing.
    """

    name: str
    title: str
    metrics: tuple[Metric, ...]
    always: tuple[str, ...]
    primary: str
    counted: str
    loss: str
    distance: str
    multiple: bool
    judge: str

    def metric(self, text: str) -> Metric:
        """The metric that a text names, such as ``macro_f1`` or ``sensitivity:malignant``.

        Raises:
            UserError: There is none of that name.
        """
        return metric_among(self.metrics, text, self.name)

    def measured(self, further: Sequence[str] = ()) -> tuple[Metric, ...]:
        """The metrics of every evaluation, and further ones by their names."""
        return tuple(self.metric(name) for name in dict.fromkeys((*self.always, *further)))

    @property
    def arithmetic(self) -> Judge:
        """The task's arithmetic; loads torch."""
        import pkgutil

        found: Judge = pkgutil.resolve_name(self.judge)
        return found

    def quality(self, outputs: Outputs, further: Sequence[str] = (), seconds: float = 0.0) -> Quality:
        """What outputs are worth.

        Args:
            outputs: Of a model and the float model.
            further: Metrics beside those that every evaluation has.
            seconds: Time of the model's forward passes.

        Raises:
            UserError: There is no such metric, or it is not defined for this data.
        """
        judge = self.arithmetic
        known = judge.outputs(outputs)
        right = judge.right(known.values, known.labels)
        whole = judge.right(known.reference, known.labels)
        expected: float | None = None
        if outputs.temperature is not None:
            found = [
                judge.expected_right(values, known.reference, outputs.temperature())
                for values in (known.values, known.reference)
            ]
            expected = 100.0 * float((found[0] - found[1]).mean())
        return Quality(
            images=len(known),
            values={metric.name: metric.value(known) for metric in self.measured(further)},
            lost=int((whole & ~right).sum()),
            won=int((right & ~whole).sum()),
            seconds=seconds,
            right=packed(right.numpy()),
            expected_difference=expected,
        )
