"""Objectives: what a search makes larger or smaller, and in which unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """

    name: str
    column: str
    direction: Direction
    unit: str

    @property
    def analytic(self) -> bool:
        """Whether the value is known without evaluating the candidate."""
        return self.column in ANALYTIC

    def minimised(self, values: Mapping[str, float]) -> float:
        """The value in minimisation form: negated where larger is better; NaN where it is missing."""
        value = float(values.get(self.column, float("nan")))
        return -value if self.direction == "maximise" else value


OBJECTIVES: dict[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective("top1", "top1", "maximise", "%"),
        Objective("latency", "latency_ms", "minimise", "ms"),
        Objective("size", "size_bytes", "minimise", "bytes"),
        Objective("loss", "loss", "minimise", "nats"),
        Objective("kl", "kl", "minimise", "nats"),
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
