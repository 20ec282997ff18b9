"""Structural constraints: what a configuration must satisfy before anything is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bitfront.spaces.config import BitConfig


class StructuralConstraint(Protocol):
    """A rule on configurations alone."""

    @property
    def name(self) -> str:
        """Column name of the violation, such as ``not_all_4bit``."""

    def violation(self, config: BitConfig) -> float:
        """At most 0 where the rule holds; larger is worse."""


@dataclass(frozen=True)
class NotUniform:
    """Forbids one width everywhere.

    Constraint 2 of PoMQ-ViT (Appl. Sci. 2025, 15, 9856): weights, activations and attention are mixed,
    neither all at the lowest nor all at the highest width.
    """

    width: int

    @property
    def name(self) -> str:
        """``not_all_4bit`` for width 4."""
        return f"not_all_{self.width}bit"

    def violation(self, config: BitConfig) -> float:
        """1 where every searched width is ``width``, else 0."""
        return 1.0 if config.widths() == {self.width} else 0.0


def mixed_only(widths: tuple[int, ...]) -> tuple[StructuralConstraint, ...]:
    """Constraint 2 as two rules: not all at the lowest, not all at the highest width."""
    return (NotUniform(min(widths)), NotUniform(max(widths)))
