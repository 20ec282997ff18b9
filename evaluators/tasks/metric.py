"""Metrics as data: what is measured of a model's outputs, in which direction and unit, and how surely."""

from __future__ import annotations

import dataclasses
import math
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from bitfront.spaces import UserError

if TYPE_CHECKING:  # names are listed, and options checked, without loading numpy or torch
    import torch

Direction = Literal["maximise", "minimise"]
# Of values for people: chance leaves no more of a share.
SHARE_DECIMALS, DECIMALS = 2, 4
# Between a metric and its argument, as in ``sensitivity:malignant``.
ARGUMENT = ":"


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a model and the float model make of the same images.

    Attributes:
        values: The model's outputs, float64 ``[images, classes]`` for classification.
        reference: Those of the float model, of the same shape.
        labels: What is right, int64: ``[images]``, or ``[images, classes]`` of 0 and 1 where an image may
            have several labels.
        class_names: Name of every class, where the data knows them.
        held_out: Outputs on images that are not among these, for what has to be fitted (a temperature); None
            where there are none.
        temperature: The float model's temperature, fitted on images that are not among these; None where
            there are none.
    """

    values: torch.Tensor
    reference: torch.Tensor
    labels: torch.Tensor
    class_names: tuple[str, ...] | None = None
    held_out: Callable[[], Outputs] | None = None
    temperature: Callable[[], float] | None = None

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    def take(self, rows: torch.Tensor) -> Outputs:
        """Those of some images, which may be repeated; ``rows`` are positions, int64 ``[count]``."""
        return dataclasses.replace(
            self, values=self.values[rows], reference=self.reference[rows], labels=self.labels[rows]
        )

    def of_reference(self) -> Outputs:
        """The float model against itself."""
        return dataclasses.replace(
            self,
            values=self.reference,
            held_out=self.held_out and (lambda: cast(Callable[[], Outputs], self.held_out)().of_reference()),
        )


Compute = Callable[..., "float"]
PerImage = Callable[..., "torch.Tensor"]


@dataclass(frozen=True)
class Metric:
    """One figure of quality: an objective, a limit, a column and an axis may be any of them.

    Attributes:
        name: On the command line, in columns and in JSON, such as ``macro_f1``.
        title: For people, such as ``macro-F1``.
        direction: Which values are better.
        unit: Of the value: ``%``, ``nats`` or nothing.
        ideal: The best value there is.
        worst: The worst value for so many classes, the corner of the hypervolume's box: that of a guess where
            there is no worst one.
        compute: The value of :class:`Outputs`, and of the argument where there is one; a function, or where
            it is found (``module:name``) so that naming a metric loads nothing.
        per_image: The values, float64 ``[images]``, whose mean the metric is; where it is None, standard
            errors come from bootstrap resampling, and no evaluation can be cut short by this metric.
        least: Differences below this count as none where ratios are compared.
        decimals: Of the value in tables.
        argument: What stands behind a colon, such as ``CLASS``; empty for nothing.
        relative: Whether it compares with the float model, whose own value says nothing.
        fitted: Whether something is fitted for it on other images.
    """

    name: str
    title: str
    direction: Direction
    unit: str
    ideal: float
    worst: Callable[[int], float]
    compute: Compute | str
    per_image: PerImage | str | None = None
    least: float = 0.1
    decimals: int = 4
    argument: str = ""
    relative: bool = False
    fitted: bool = False

    @property
    def sign(self) -> float:
        """1 where larger is better, -1 where smaller is."""
        return 1.0 if self.direction == "maximise" else -1.0

    @property
    def of_outputs_alone(self) -> bool:
        """Whether outputs and labels of the images decide it."""
        return not self.relative and not self.fitted

    @property
    def heading(self) -> str:
        """The title with the unit, such as ``top-1 %`` or ``loss (nats)``."""
        return (
            f"{self.title} %"
            if self.unit == "%"
            else f"{self.title} ({self.unit})"
            if self.unit
            else self.title
        )

    @property
    def usage(self) -> str:
        """The name as it is written in an option, such as ``sensitivity:CLASS``."""
        return f"{self.name}{ARGUMENT}{self.argument}" if self.argument else self.name

    def with_argument(self, argument: str) -> Metric:
        """The metric of one argument, such as the sensitivity of one class."""
        compute, per_image = self.compute, self.per_image
        return dataclasses.replace(
            self,
            name=f"{self.name}{ARGUMENT}{argument}",
            title=f"{self.title} of {argument}",
            compute=lambda outputs: _resolved(compute)(outputs, argument),
            per_image=per_image and (lambda outputs: _resolved(per_image)(outputs, argument)),
            argument="",
        )

    def value(self, outputs: Outputs) -> float:
        """The value of some outputs; NaN where it is not defined for them."""
        return float(_resolved(self.compute)(outputs))

    def values_per_image(self, outputs: Outputs) -> torch.Tensor | None:
        """The values whose mean the metric is, float64 ``[images]``; None where it is no mean."""
        return None if self.per_image is None else cast("torch.Tensor", _resolved(self.per_image)(outputs))

    def written(self, value: float) -> str:
        """A value for people, with its unit."""
        return f"{self.number(value)} {self.unit}".rstrip()

    def number(self, value: float, sign: str = "") -> str:
        """A value for tables; ``sign`` is ``+`` for one that always has its sign."""
        return "\N{EM DASH}" if math.isnan(value) else f"{value:{sign}.{self.shown_decimals}f}"

    @property
    def shown_decimals(self) -> int:
        """Decimals for people."""
        return SHARE_DECIMALS if self.unit == "%" else DECIMALS


def _resolved(found: Callable[..., Any] | str) -> Callable[..., Any]:
    return pkgutil.resolve_name(found) if isinstance(found, str) else found


def metric_among(metrics: Sequence[Metric], text: str, task: str) -> Metric:
    """The metric that a text names, such as ``macro_f1`` or ``sensitivity:malignant``.

    Raises:
        UserError: There is none of that name, or its argument is missing or not wanted.
    """
    name, _, argument = text.partition(ARGUMENT)
    found = next((metric for metric in metrics if metric.name == name), None)
    if found is None or bool(found.argument) != bool(argument):
        known = ", ".join(metric.usage for metric in metrics)
        raise UserError(f"unknown metric {text!r} of task {task}: choose among {known}")
    return found.with_argument(argument) if argument else found
