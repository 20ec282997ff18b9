"""Limits: the user's and the paper's bounds on what is measured, as constraints g(x) <= 0."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from bitfront.search.problem.objectives import ANALYTIC
from bitfront.search.problem.references import References
from bitfront.search.problem.spec import RunSpec
from bitfront.spaces import UserError

Side = Literal["at most", "at least"]
_MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_BYTES = {"b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30}
UNMEASURABLE = 1e6
Measured = TypeVar("Measured", float, NDArray[np.float64])


@dataclass(frozen=True)
class Limit:
    """A bound on one measured value.

    Attributes:
        name: Name of the constraint, such as ``max_latency``.
        column: The value that is bounded, such as ``latency_ms``.
        side: Whether the value may be at most or at least the threshold.
        threshold: The bound, in the column's unit.
        origin: What asked for it, for messages: ``--max-latency 0.9x``.
    """

    name: str
    column: str
    side: Side
    threshold: float
    origin: str

    @property
    def analytic(self) -> bool:
        """Whether the value is known without evaluating the candidate."""
        return self.column in ANALYTIC

    def violation(self, values: Mapping[str, float]) -> float:
        """Relative excess over the threshold: at most 0 where the limit holds, large for NaN."""
        value = float(values[self.column])
        return UNMEASURABLE if math.isnan(value) else self.violation_of(value)

    def violation_of(self, value: Measured) -> Measured:
        """The same of a value, or of an array of values, of this limit's column that is none of NaN."""
        scale = max(abs(self.threshold), 1e-9)
        excess = value - self.threshold if self.side == "at most" else self.threshold - value
        return excess / scale

    def describe(self, value: float) -> str:
        """A value of this limit's column with its unit."""
        if self.column == "latency_ms":
            return f"{value:.4g} ms"
        if self.column == "size_bytes":
            return f"{value:,.0f} bytes"
        return f"{value:.2f} %"


def parse_quantity(option: str, text: str, units: Mapping[str, float], reference: float) -> float:
    """Reads ``12ms`` or ``0.9x``: a number with a unit, or a multiple of the float model's value.

    Raises:
        UserError: The text has another form or unit, or is not above zero.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]+)", text.strip())
    unit = match.group(2).lower() if match else ""
    if match is None or unit not in (*units, "x") or float(match.group(1)) <= 0:
        example = "12ms" if "ms" in units else "4MB"
        raise UserError(
            f"{option} {text!r} is not a limit: write {example}, or 0.9x for a share of the float model "
            f"(units: {', '.join(units)}, x)"
        )
    return float(match.group(1)) * (reference if unit == "x" else units[unit])


def user_limits(spec: RunSpec, references: References) -> tuple[Limit, ...]:
    """The limits that a spec asks for, relative ones resolved against the float model.

    Raises:
        UserError: A limit cannot be read or cannot be met by any model.
    """
    base, limits = references.float_model, []
    if spec.max_latency is not None:
        bound = parse_quantity("--max-latency", spec.max_latency, _MILLISECONDS, base.latency_ms)
        limits.append(_at_most("max_latency", "latency_ms", bound, f"--max-latency {spec.max_latency}"))
    if spec.max_size is not None:
        bound = parse_quantity("--max-size", spec.max_size, _BYTES, base.size_bytes)
        limits.append(_at_most("max_size", "size_bytes", bound, f"--max-size {spec.max_size}"))
    if spec.min_top1 is not None:
        check_top1_limits(spec)
        origin = f"--min-top1 {spec.min_top1:g}"
        limits.append(Limit("min_top1", "top1", "at least", spec.min_top1, origin))
    if spec.max_drop is not None:
        check_top1_limits(spec)
        if base.top1 is None:
            raise ValueError("--max-drop needs the float model's top-1 on the search split")
        origin = f"--max-drop {spec.max_drop:g}"
        limits.append(Limit("max_drop", "top1", "at least", base.top1 - spec.max_drop, origin))
    return tuple(limits)


def check_limit_texts(spec: RunSpec) -> None:
    """Raises :class:`UserError` for a limit that cannot be read, before any model is loaded."""
    check_top1_limits(spec)
    if spec.max_latency is not None:
        parse_quantity("--max-latency", spec.max_latency, _MILLISECONDS, 1.0)
    if spec.max_size is not None:
        parse_quantity("--max-size", spec.max_size, _BYTES, 1.0)


def check_top1_limits(spec: RunSpec) -> None:
    """Raises :class:`UserError` for an accuracy limit outside of 0 to 100."""
    for option, value in (("--min-top1", spec.min_top1), ("--max-drop", spec.max_drop)):
        if value is not None and not 0 <= value <= 100:
            what = "percent" if option == "--min-top1" else "percentage points below the float model"
            raise UserError(f"{option} {value:g} cannot be met: give {what}, from 0 to 100")


def paper_limits(references: References) -> tuple[Limit, ...]:
    """Constraints 3 and 4 of PoMQ-ViT (Appl. Sci. 2025, 15, 9856): faster than float, at most 8-bit size."""
    latency, size = references.float_model.latency_ms, float(references.eight_bit.size_bytes)
    return (
        _at_most("faster_than_float", "latency_ms", latency, "constraint 3 (faster than the float model)"),
        _at_most("at_most_8bit_size", "size_bytes", size, "constraint 4 (at most the 8-bit size)"),
    )


def _at_most(name: str, column: str, threshold: float, origin: str) -> Limit:
    return Limit(name, column, "at most", threshold, origin)


def check_achievable(limits: tuple[Limit, ...], minima: Mapping[str, float]) -> None:
    """Refuses limits below the least latency or size of a space; ``minima`` maps columns to those.

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
    if limit.name == "faster_than_float":
        return "search with --latency model:bops or a table of the target machine"
    return f"raise --{limit.name.replace('_', '-')}"
