"""What a search had found after some generations that costs no more than what it ended with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bitfront.search.estimation.estimates import ROUNDING, judging_archive
from bitfront.search.problem.objectives import USUAL_COLUMNS
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.trial import Trial
from bitfront.search.session.comparison.document import tight_box

# Those of the ablation in PoMQ-ViT (Appl. Sci. 2025, 15, 9856).
PAPER_GENERATIONS = (2, 5, 10, 20)


@dataclass(frozen=True)
class Mark:
    """Where a search stood after some generations.

    Attributes:
        generations: So many were finished.
        evaluations: Evaluations spent until then.
        hypervolume_share: What the front of these dominates, as a share of what the final front does in the
            tight box from its best to its worst values; by what all evaluations together tell of each. None
            where the final front dominates nothing.
        best: The trial of the best quality, as it was estimated then, among the feasible ones that cost at
            most what the search ended with; None where there was none.
    """

    generations: int
    evaluations: int
    hypervolume_share: float | None
    best: Trial | None


def marked_generations(generations: int) -> tuple[int, ...]:
    """Those of the paper that a search has, and its last one."""
    return tuple(sorted({*(mark for mark in PAPER_GENERATIONS if mark < generations), generations}))


def marks_of(
    problem: SearchProblem, trials: Sequence[Trial], pick: Trial, population: int, generations: int
) -> list[Mark]:
    """Where a search stood at each mark.

    Args:
        problem: What was searched.
        trials: In the order of asking, as they were measured.
        pick: What the search ended with: its time and size are the bounds.
        population: Evaluations of a generation.
        generations: So many were searched.
    """
    paid = [trial for trial in trials if trial.paid]
    quality = next((o for o in problem.objectives if not o.analytic), None)
    whole, found = judging_archive(problem, trials), []
    box = tight_box(problem, whole.front_points) or problem.box
    most = box.share(whole.front_points)
    for count in marked_generations(generations):
        archive = judging_archive(problem, paid[: count * population])
        within = [trial for trial in archive.trials if trial.feasible and _no_costlier(trial, pick)]
        best = min(
            within,
            key=lambda t: (0.0 if quality is None else quality.minimised(t.values), t.values["size_bytes"]),
            default=None,
        )
        spent = min(len(paid), count * population)
        share = box.share(whole.front_points_of(spent)) / most if most else None
        found.append(Mark(count, spent, share, best))
    return found


def _no_costlier(trial: Trial, pick: Trial) -> bool:
    return all(trial.values[cost] <= pick.values[cost] * (1.0 + ROUNDING) for cost in USUAL_COLUMNS)
