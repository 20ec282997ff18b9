"""Limits: the user's and the paper's bounds on what is measured, as constraints g(x) <= 0."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from bitfront.evaluators.tasks.metric import Metric
from bitfront.evaluators.tasks.task import Task
from bitfront.search.problem.objectives import ANALYTIC, COSTS
from bitfront.search.problem.references import Reference, References
from bitfront.spaces import UserError
from bitfront.spaces.quantities import BYTES, MILLIJOULES, MILLISECONDS, read_quantity

if TYPE_CHECKING:  # the command line knows of limits, and answers without it
    import numpy as np
    from numpy.typing import NDArray

Side = Literal["at most", "at least"]
UNMEASURABLE = 1e6
_UNITS = {cost.column: cost.unit for cost in COSTS.values()}
# By cost, the units that its limit may be written in, and an example.
_WRITTEN: dict[str, tuple[Mapping[str, float], str]] = {
    "latency": (MILLISECONDS, "12ms"),
    "size": (BYTES, "4MB"),
    "energy": (MILLIJOULES, "20mJ"),
}
# What --min-top1 bounds.
TOP1 = "top1"
# Names of the constraints 3 and 4.
FASTER, SMALLER = "faster_than_float", "at_most_8bit_size"
Measured = TypeVar("Measured", float, "NDArray[np.float64]")


@dataclass(frozen=True)
class Limit:
    """A bound on one measured value.

    Attributes:
        name: Name of the constraint, such as ``max_latency``.
        column: The value that is bounded, such as ``latency_ms``.
        side: Whether the value may be at most or at least the threshold.
        threshold: The bound, in the column's unit.
        origin: What asked for it, for messages: ``--max-latency 0.9x``.
        unit: Of the value.
        relative: Whether the threshold moves with the float model's value.
    """

    name: str
    column: str
    side: Side
    threshold: float
    origin: str
    unit: str = "%"
    relative: bool = False

    @property
    def bound(self) -> str:
        """Among a trial's values: what its column holds to with the probability that was asked for."""
        return f"bound.{self.name}"

    def deciding(self, values: Mapping[str, float]) -> float:
        """That where there is one, else what was measured."""
        return float(values.get(self.bound, values[self.column]))

    def told(self, values: Mapping[str, float]) -> str:
        """What is compared with the threshold, with its unit, and what was counted where that differs."""
        text = self.describe(self.deciding(values))
        if self.bound not in values:
            return text
        return f"{text} at the probability asked for ({self.describe(values[self.column])} counted)"

    @property
    def analytic(self) -> bool:
        """Whether the value is known without evaluating the candidate."""
        return self.column in ANALYTIC

    @property
    def label(self) -> str:
        """The limit as its option, or in words where it has none."""
        if self.origin.startswith("--"):
            return self.origin
        if self.name.startswith(("max_", "min_")):
            return f"--{self.name.replace('_', '-')} {self.origin}".strip()
        return self.name.replace("_", " ")

    def to_json(self) -> dict[str, Any]:
        """The object of ``summary.json``."""
        return {
            "name": self.name,
            "column": self.column,
            "side": self.side,
            "bound": self.threshold,
            "text": self.origin,
            "unit": self.unit,
            "relative": self.relative,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Limit:
        """The inverse of :meth:`to_json`; runs of earlier versions have no side, text or unit."""
        column = str(document["column"])
        # Earlier versions knew limits of costs, and of a share in percent.
        usual: Side = "at most" if column in ANALYTIC else "at least"
        side: Side = document.get("side") or usual
        origin, unit = str(document.get("text") or ""), str(document.get("unit", _UNITS.get(column, "%")))
        relative = bool(document.get("relative", False))
        return cls(str(document["name"]), column, side, float(document["bound"]), origin, unit, relative)

    def violation(self, values: Mapping[str, float]) -> float:
        """Relative excess over the threshold: at most 0 where the limit holds, large for NaN."""
        value = self.deciding(values)
        return UNMEASURABLE if math.isnan(value) else self.violation_of(value)

    def violation_of(self, value: Measured) -> Measured:
        """The same of a value, or of an array of values, of this limit's column that is none of NaN."""
        scale = max(abs(self.threshold), 1e-9)
        excess = value - self.threshold if self.side == "at most" else self.threshold - value
        return excess / scale

    def describe(self, value: float) -> str:
        """A value of this limit's column with its unit."""
        if self.unit == "bytes":
            return f"{value:,.0f} bytes"
        if self.column in ANALYTIC:
            return f"{value:.4g} {self.unit}"
        return f"{value:.2f} %" if self.unit == "%" else f"{value:.4g} {self.unit}".rstrip()


@dataclass(frozen=True)
class AskedLimit:
    """A limit as the user asks for it, before anything is known of the float model.

    Its threshold is ``offset`` plus ``share`` of the float model's value.

    Attributes:
        name: Name of the constraint, such as ``max_latency``.
        column: The value that is bounded.
        side: Whether the value may be at most or at least the threshold.
        origin: What asked for it, for messages.
        offset: In the column's unit.
        share: Of the float model's value; 0 where the limit is absolute.
        unit: Of the value.
    """

    name: str
    column: str
    side: Side
    origin: str
    offset: float = 0.0
    share: float = 0.0
    unit: str = "%"

    @property
    def absolute(self) -> bool:
        """Whether the float model does not matter."""
        return self.share == 0.0

    def against(self, float_model: Reference) -> Limit:
        """The limit for a float model; ValueError where its value was not measured."""
        threshold = self.offset
        if not self.absolute:
            value = float_model.known(self.column)
            if value is None:
                raise ValueError(f"{self.origin} needs the float model's {self.column} on the search split")
            threshold += self.share * value
        relative = not self.absolute
        return Limit(self.name, self.column, self.side, threshold, self.origin, self.unit, relative)


def read_limits(
    most_of_costs: Mapping[str, str | None],
    least: Mapping[str, float],
    most: Mapping[str, float],
    drops: Mapping[str, float],
    task: Task,
) -> tuple[AskedLimit, ...]:
    """The limits of ``--max-latency`` and other costs, and of ``--min``, ``--max`` and ``--max-drop``.

    Args:
        most_of_costs: By cost, such as ``12ms`` for ``latency``, or ``0.9x`` of the float model's; None for
            no limit.
        least: Lowest values of metrics of which larger ones are better.
        most: Highest values of metrics of which smaller ones are better.
        drops: By how much metrics may be worse than the float model's.
        task: Whose metrics these are.

    Raises:
        UserError: A text cannot be read, or no model could meet the limit.
    """
    limits: list[AskedLimit] = []
    limits += [_at_most(cost, text) for cost, text in most_of_costs.items() if text is not None]
    for option, bounds, direction in (("--min", least, "maximise"), ("--max", most, "minimise")):
        for name, value in bounds.items():
            metric = task.metric(name)
            if metric.direction != direction:
                other = "--max" if option == "--min" else "--min"
                raise UserError(
                    f"{option} {name}={value:g}: {'smaller' if option == '--min' else 'larger'} values of "
                    f"{metric.title} are better: give {other} {name}=VALUE"
                )
            usual = option == "--min" and name == TOP1
            origin = f"--min-top1 {value:g}" if usual else f"{option} {name}={value:g}"
            _check_bound(metric, origin, value)
            limits.append(_bound(metric, f"{option.strip('-')}_{name}", origin, offset=value))
    for name, value in drops.items():
        metric = task.metric(name)
        usual = name == task.primary
        origin = f"--max-drop {value:g}" if usual else f"--max-drop {name}={value:g}"
        _check_bound(metric, origin, value, drop=True)
        kept = f"max_drop{'' if usual else f'_{name}'}"
        limits.append(_bound(metric, kept, origin, offset=-metric.sign * value, share=1.0))
    return tuple(limits)


def read_bounds(option: str, texts: Sequence[str], usual: str | None = None) -> dict[str, float]:
    """Bounds by metric of texts such as ``macro_f1=70``.

    Args:
        option: For messages.
        texts: What was given.
        usual: The metric of a text that is a number alone; None where there is none.

    Raises:
        UserError: A text is no such bound.
    """
    found: dict[str, float] = {}
    for text in texts:
        name, equals, value = text.rpartition("=")
        name = name if equals else usual or ""
        try:
            bound = float(value.removesuffix("%"))
        except ValueError:
            bound = math.nan
        if not name or not math.isfinite(bound):
            raise UserError(
                f"{option} {text!r} is no bound: write {option} METRIC=VALUE, such as macro_f1=70"
            )
        if name in found:
            raise UserError(
                f"{option} bounds {name} twice, at {found[name]:g} and {bound:g}: give one of them"
            )
        found[name] = bound
    return found


def _bound(metric: Metric, name: str, origin: str, offset: float, share: float = 0.0) -> AskedLimit:
    side: Side = "at least" if metric.direction == "maximise" else "at most"
    return AskedLimit(name, metric.name, side, origin, offset, share, metric.unit)


def _check_bound(metric: Metric, origin: str, value: float, drop: bool = False) -> None:
    """Refuses a share beyond 0 to 100 percent, and a drop below 0."""
    share = metric.unit == "%"
    if (share or drop) and not 0 <= value <= (100.0 if share else math.inf):
        unit = {"%": "percent", "": "a number"}.get(metric.unit, metric.unit)
        given = "percentage points worse than the float model" if drop and share else unit
        raise UserError(
            f"{origin} cannot be met: give {given}, {'from 0 to 100' if share else 'of at least 0'}"
        )


def _at_most(cost: str, text: str) -> AskedLimit:
    option, column, (units, example) = f"--max-{cost}", COSTS[cost].column, _WRITTEN[cost]
    origin = f"{option} {text}"
    share, amount = (read_quantity(str(text), known) for known in ({"x": 1.0}, units))
    if not (share or amount):
        raise UserError(
            f"{option} {text!r} is not a limit: write {example}, or 0.9x for a share of the float model "
            f"(units: {', '.join(units)}, x)"
        )
    return AskedLimit(f"max_{cost}", column, "at most", origin, amount or 0.0, share or 0.0, COSTS[cost].unit)


def paper_limits(references: References, largest_bytes: float | None = None) -> tuple[Limit, ...]:
    """Constraints 3 and 4 of PoMQ-ViT (Appl. Sci. 2025, 15, 9856): faster than float, at most 8-bit size.

    Where weights are fixed at 8 bits, no mixed configuration is as small as the uniform 8-bit model: narrow
    activations and attention add tables of some bytes to the same weights. Whoever fixes the weights searches
    the others, so constraint 4 must not forbid them: its bound is then the largest model of the space, which
    all of them meet.

    Args:
        references: The float and the uniform 8-bit model.
        largest_bytes: The bound of constraint 4; None for the size of the 8-bit model.
    """
    latency, size = references.float_model.latency_ms, float(references.eight_bit.size_bytes)
    size = size if largest_bytes is None else largest_bytes
    faster, smaller = "constraint 3 (faster than the float model)", "constraint 4 (at most the 8-bit size)"
    return (
        Limit(FASTER, "latency_ms", "at most", latency, faster, _UNITS["latency_ms"]),
        Limit(SMALLER, "size_bytes", "at most", size, smaller, _UNITS["size_bytes"]),
    )


def check_achievable(limits: tuple[Limit, ...], minima: Mapping[str, float]) -> None:
    """Refuses limits below the least of a cost in a space; ``minima`` maps columns to that.

    Raises:
        UserError: A limit is out of reach; the message names the nearest achievable value.
    """
    for limit in limits:
        least = minima.get(limit.column)
        if least is not None and limit.violation({limit.column: least}) > 0:
            raise UserError(
                f"{limit.origin} ({limit.describe(limit.threshold)}) cannot be met: the nearest achievable "
                f"value in this space is {limit.describe(least)}; {_remedy(limit)}"
            )


def _remedy(limit: Limit) -> str:
    if limit.name == FASTER:
        return "search with --latency model:bops or a table of the target machine, or with --allow-slower"
    if limit.name == SMALLER:
        return "allow narrower weights with --bits, or search with --allow-larger"
    return f"raise --{limit.name.replace('_', '-')}"
