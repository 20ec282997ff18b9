"""How a refinement learns; values that JSON holds."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from bitfront.spaces import UserError
from bitfront.spaces.errors import one_line

# Images that judge where none are asked for: an eighth of all, within these bounds.
HELD_OUT_SHARE, LEAST_HELD_OUT, MOST_HELD_OUT = 8, 16, 64
LEAST_IMAGES = 32


@dataclass(frozen=True, kw_only=True)
class RefinementSpec:
    """How a refinement learns.

    Attributes:
        encoder_passes: Times that every image is learned from by one encoder after another, before all
            learn together; 0 leaves it out.
        passes: Times that every image is learned from by all encoders together.
        batch: Images of a step.
        rate: Factor of all learning rates.
        held_out: Images that judge whether it helped, and are never learned from; None for an eighth of
            them, from 16 to 64.
        seed: Of the held-out images, the order of the others, and how these are varied.
        threads: Torch threads; None for all CPUs. Results on one thread repeat to the bit.
    """

    encoder_passes: int = 6
    passes: int = 3
    batch: int = 16
    rate: float = 1.0
    held_out: int | None = None
    seed: int = 0
    threads: int | None = None

    def check(self) -> None:
        """Refuses values that nothing can be learned with.

        Raises:
            UserError: One of them.
        """
        least = {"encoder_passes": 0, "passes": 1, "batch": 1, "held_out": 2, "threads": 1, "seed": 0}
        for name, low in least.items():
            value = getattr(self, name)
            if value is None and name in ("held_out", "threads"):
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise UserError(
                    f"{_option(name)} {value!r} is out of range: give a whole number from {low} on"
                )
        if not (isinstance(self.rate, int | float) and math.isfinite(self.rate) and 0 < self.rate <= 100):
            raise UserError(f"--rate {self.rate!r} is out of range: give a number above 0 and up to 100")

    def held_out_of(self, images: int) -> int:
        """How many of so many images judge.

        Raises:
            UserError: There are too few to learn from and to judge by.
        """
        usual = min(max(images // HELD_OUT_SHARE, LEAST_HELD_OUT), MOST_HELD_OUT)
        judging = usual if self.held_out is None else self.held_out
        if images < LEAST_IMAGES or images - judging < LEAST_IMAGES // 2:
            raise UserError(
                f"{images} images are too few to refine with, of which {judging} judge: give at least "
                f"{max(LEAST_IMAGES, judging + LEAST_IMAGES // 2)}"
            )
        return judging

    def to_json(self) -> dict[str, Any]:
        """As :meth:`from_json` reads it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: object) -> RefinementSpec:
        """Reads what :meth:`to_json` wrote; fields that are missing have their defaults.

        Raises:
            UserError: It is none, or a value is out of range.
        """
        try:
            if not isinstance(document, dict):
                raise TypeError(f"it is {type(document).__name__}, not an object")
            spec = cls(**document)
        except TypeError as error:
            raise UserError(f"not the spec of a refinement ({one_line(error, 80)}): refine again") from error
        spec.check()
        return spec


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
