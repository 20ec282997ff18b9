"""A configuration by thresholds on spectral sensitivities: by shares of genes, a size or a drop."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bitfront.evaluators.progress import ShareDone, unreported
from bitfront.evaluators.sensitivity.thresholds import Indices, Staircase, assigned, quantile_thresholds
from bitfront.search.problem.spec import bitfront_version
from bitfront.spaces import BitConfig, SearchSpace, UserError
from bitfront.spaces.quantities import BYTES, read_quantity

if TYPE_CHECKING:
    from bitfront.evaluators.context.context import EvaluationContext

HOW = "shares such as 0.5 or 0.3,0.7, size=3.2MB, size=0.15x of the float model's, or drop=1 (points)"


@dataclass(frozen=True)
class AssignmentRequest:
    """What thresholds are to come to.

    Attributes:
        text: As it was asked for.
        shares: Of genes that each threshold leaves at or below it; empty where a budget decides.
        size: Largest packed size; a share of the float model's where ``relative``. None for none.
        relative: Whether it is such a share.
        drop: Largest drop of the metric that counts against the float model, in points; None for none.
    """

    text: str
    shares: tuple[float, ...] = ()
    size: float | None = None
    relative: bool = False
    drop: float | None = None

    @classmethod
    def read(cls, text: str) -> AssignmentRequest:
        """Reads what was asked for.

        Raises:
            UserError: The text has another form.
        """
        name, equals, value = text.partition("=")
        try:
            if not equals:
                return cls(text, tuple(float(share) for share in text.split(",")))
            if name == "size":
                share, amount = (read_quantity(value, units) for units in ({"x": 1.0}, BYTES))
                if share or amount:
                    return cls(text, size=share or amount, relative=bool(share))
            if name == "drop" and float(value) >= 0.0:
                return cls(text, drop=float(value))
        except ValueError:
            pass
        raise UserError(f"--assign {text!r} is no assignment: give {HOW}")


@dataclass(frozen=True)
class Assignment:
    """A configuration by thresholds.

    Attributes:
        request: What they were to come to.
        config: The configuration.
        thresholds: On ``S``, ascending, one less than the most formats of a gene: up to the first a gene has
            its narrowest one, and a gene is a step narrower for each that it does not exceed. Minus infinity
            where none is.
        size_bytes: Packed size.
        drop: Of the metric that counts against the float model on the search images, in points; None where it
            was not evaluated.
        evaluations: How many configurations were evaluated to find it.
    """

    request: AssignmentRequest
    config: BitConfig
    thresholds: tuple[float, ...]
    size_bytes: int
    drop: float | None = None
    evaluations: int = 0

    def to_json(self) -> dict[str, Any]:
        """The entry of a profile's document."""
        return {
            "asked": self.request.text,
            "digest": self.config.digest,
            "thresholds": [None if np.isinf(found) else found for found in self.thresholds],
            "size_bytes": self.size_bytes,
            "search_drop": self.drop,
            "evaluations": self.evaluations,
        }

    def document(self, context: EvaluationContext, space: SearchSpace) -> dict[str, Any]:
        """The bit config document, which says under which spec it is to be evaluated."""
        evaluation = context.spec.to_json()
        provenance = {
            "bitfront": bitfront_version(),
            "space": space.granularity,
            "assigned": self.to_json(),
            "recipe": context.spec.recipe,
            "without": list(context.spec.without),
            "evaluation": evaluation,
        }
        return self.config.to_json({"size_bytes": self.size_bytes}, provenance)


def assign(
    context: EvaluationContext,
    space: SearchSpace,
    values: NDArray[np.float64],
    request: AssignmentRequest,
    progress: ShareDone = unreported,
) -> Assignment:
    """The configuration that a request comes to.

    With a size, the widest one within it; with a drop, the narrowest one that bisection finds within it, by
    evaluations of the search images.

    Args:
        context: The prepared model and its data.
        space: Whose genes are assigned widths.
        values: ``S`` of each gene, ``[genes]``.
        request: What is asked for.
        progress: Is told the share that is done.

    Raises:
        UserError: No assignment by thresholds comes to it.
        BitfrontError: A configuration yields NaN, infinity or saturation; the tensor is named.
    """
    if request.shares:
        thresholds = quantile_thresholds(values, request.shares, max(space.sizes))
        return _made(context, space, values, request, assigned(values, thresholds, space.sizes))
    path = Staircase(values, space.widest)

    def made(steps: int) -> Assignment:
        return _made(context, space, values, request, path[steps])

    if request.size is not None:
        largest = request.size * (context.size.float_bytes() if request.relative else 1.0)
        steps = _first(len(path), lambda steps: made(steps).size_bytes <= largest)
        if steps is None:
            least = made(len(path) - 1).size_bytes
            raise UserError(
                f"--assign {request.text}: the smallest assignment has {least:,} bytes: give at least that"
            )
        return made(steps)
    return _within_drop(context, request, len(path), made, progress)


def _within_drop(
    context: EvaluationContext,
    request: AssignmentRequest,
    count: int,
    made: Callable[[int], Assignment],
    progress: ShareDone,
) -> Assignment:
    """The narrowest assignment within a drop, the drop taken to grow along the path."""
    allowed = request.drop or 0.0
    drops: dict[int, float] = {}

    def exceeds(steps: int) -> bool:
        quality = context.quality(made(steps).config, "search")
        drops[steps] = -quality.against_float.difference
        progress(min(0.99, len(drops) / max(1, count.bit_length())))
        return drops[steps] > allowed

    beyond = _first(count, exceeds)
    if beyond == 0:
        raise UserError(
            f"--assign {request.text}: the widest assignment drops by {drops[0]:.2f} points: give more"
        )
    steps = count - 1 if beyond is None else beyond - 1
    return dataclasses.replace(made(steps), drop=drops.get(steps), evaluations=len(drops))


def _first(count: int, holds: Callable[[int], bool]) -> int | None:
    """The first of so many steps for which something holds, as for all beyond; None where it is none."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low if low < count else None


def _made(
    context: EvaluationContext,
    space: SearchSpace,
    values: NDArray[np.float64],
    request: AssignmentRequest,
    genome: Indices,
) -> Assignment:
    config = space.decode(np.array(genome, dtype=np.int64))
    narrowed = np.array(space.widest) - np.array(genome)
    thresholds = tuple(_threshold(values, narrowed, steps) for steps in range(max(space.widest), 0, -1))
    return Assignment(request, config, thresholds, context.size.size_bytes(config))


def _threshold(values: NDArray[np.float64], narrowed: NDArray[np.int64], steps: int) -> float:
    """The largest ``S`` of the genes that are narrowed by so many steps."""
    return float(values[narrowed >= steps].max(initial=-np.inf))
