"""Objectives: what a search makes larger or smaller, and in which unit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bitfront.spaces import UserError

Direction = Literal["maximise", "minimise"]
# Columns that a configuration's costs tell, without evaluating it.
ANALYTIC = ("latency_ms", "size_bytes")


@dataclass(frozen=True)
class Objective:
    """One axis of the front.

    Attributes:
        name: Name on the command line, such as ``latency``.
        column: Name of the measured value, such as ``latency_ms``.
        direction: Which values are better.
        unit: Unit of the value, for people.
        least: Values nearer to the best one than this count as equal where ratios are compared.
        span: Best and worst value of any model with so many classes; None for costs, which have no worst.
        decimals: Of the value in tables; None for six significant digits.
    """

    name: str
    column: str
    direction: Direction
    unit: str
    least: float
    span: Callable[[int], tuple[float, float]] | None = None
    decimals: int | None = None

    @property
    def analytic(self) -> bool:
        """Whether the value is known without evaluating the candidate."""
        return self.column in ANALYTIC

    def minimised(self, values: Mapping[str, float]) -> float:
        """The value in minimisation form: negated where larger is better; NaN where it is missing."""
        value = float(values.get(self.column, float("nan")))
        return -value if self.direction == "maximise" else value


def _nats(classes: int) -> tuple[float, float]:
    """From certainty to a guess."""
    return 0.0, math.log(max(2, classes))


# An objective that is no cost is a field of ``bitfront.evaluators.context.accuracy.Accuracy``.
OBJECTIVES: dict[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective("top1", "top1", "maximise", "%", 0.1, lambda _: (100.0, 0.0), 4),
        Objective("latency", "latency_ms", "minimise", "ms", 1e-9),
        Objective("size", "size_bytes", "minimise", "bytes", 1.0, None, 0),
        Objective("loss", "loss", "minimise", "nats", 1e-3, _nats, 6),
        Objective("kl", "kl", "minimise", "nats", 1e-4, _nats, 6),
    )
}


def parse_objectives(names: str | Sequence[str]) -> tuple[Objective, ...]:
    """The objectives of a list of names, or of a text such as ``top1,size``.

    Raises:
        UserError: A name is unknown or repeated, or there is none.
    """
    parts = [part.strip() for part in (names.split(",") if isinstance(names, str) else names)]
    known = ", ".join(OBJECTIVES)
    for part in parts:
        if part not in OBJECTIVES:
            raise UserError(f"unknown objective {part!r}: choose among {known}, with commas between")
    if not parts or len(set(parts)) != len(parts):
        raise UserError(f"--objectives {','.join(parts)!r}: give each objective once, among {known}")
    return tuple(OBJECTIVES[part] for part in parts)
