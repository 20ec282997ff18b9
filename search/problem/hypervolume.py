"""Hypervolume of a front, as a share of a box that is fixed before the first evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bitfront.search.problem.archive import Archive, Point
from bitfront.search.problem.objectives import Objective
from bitfront.search.problem.references import References
from bitfront.search.problem.trial import Trial


@dataclass(frozen=True)
class HypervolumeBox:
    """The box in which fronts are compared; values in minimisation form, one for each objective.

    Attributes:
        objectives: Names of the objectives.
        ideal: The best corner: no candidate can be better.
        reference: The worst corner: a point that is no better than it somewhere counts nothing.
    """

    objectives: tuple[str, ...]
    ideal: tuple[float, ...]
    reference: tuple[float, ...]

    @classmethod
    def fixed(
        cls,
        objectives: Sequence[Objective],
        references: References,
        minima: Mapping[str, float],
        largest_bytes: float,
    ) -> HypervolumeBox:
        """The box that references and analytic minima give.

        Metrics span what they say (top-1 0 to 100 %, loss 0 to that of a guess), size the least of the space
        to the most that is allowed, latency and other costs the least of the space to that of the float or
        the 8-bit model, whichever costs more. None of it depends on what a run finds.

        Args:
            objectives: The axes.
            references: The float and the uniform 8-bit model.
            minima: The least of each cost in the space, by column.
            largest_bytes: Size of the 8-bit model, or what stands in for it (see ``paper_limits``).
        """
        base, eight = references.float_model, references.eight_bit

        def corner(objective: Objective) -> tuple[float, float]:
            column = objective.column
            if column == "size_bytes":
                return _span(minima[column], largest_bytes)
            if objective.span is None:
                found = (base.known(column), eight.known(column))
                return _span(minima[column], max(value for value in found if value is not None))
            best, worst = objective.span(base.classes or 0)
            return (-best, -worst) if objective.direction == "maximise" else (best, worst)

        chosen = [corner(objective) for objective in objectives]
        names = tuple(objective.name for objective in objectives)
        return cls(names, tuple(c[0] for c in chosen), tuple(c[1] for c in chosen))

    def share(self, points: Iterable[Point]) -> float:
        """Share of the box that the points dominate, from 0 to 1; higher is better.

        Exact, by the algorithm of Fonseca et al. (2006) in moocore, which pymoo calls.
        """
        import numpy as np
        from pymoo.indicators.hv import HV

        ideal, reference = np.array(self.ideal), np.array(self.reference)
        unit = (np.array(list(points), dtype=float).reshape(-1, len(ideal)) - ideal) / (reference - ideal)
        unit = np.clip(unit[(unit < 1.0).all(axis=1)], 0.0, None)
        return float(HV(ref_point=np.ones(len(ideal)))(unit)) if len(unit) else 0.0

    @staticmethod
    def in_units(corner: Point, objectives: Sequence[Objective]) -> dict[str, float]:
        """A corner by column, in the columns' own units and directions."""
        pairs = zip(objectives, corner, strict=True)
        return {o.column: 0.0 - value if o.direction == "maximise" else value for o, value in pairs}


def _span(least: float, worst: float) -> tuple[float, float]:
    return (least, worst) if least < worst else (0.0, max(worst, least))


def hypervolume_history(
    trials: Iterable[Trial], objectives: Sequence[Objective], box: HypervolumeBox
) -> list[tuple[int, float]]:
    """Pairs (evaluations, share of the box) after each evaluation, in the order of asking."""
    archive, history, share, paid = Archive(objectives), list[tuple[int, float]](), 0.0, 0
    for trial in sorted(trials, key=lambda t: t.number):
        if archive.add(trial):
            share = box.share(archive.front_points)
        if trial.paid:
            paid += 1
            history.append((paid, share))
    return history
