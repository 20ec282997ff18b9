"""Progress of a search, and the observers that are told of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bitfront.search.trial import Trial


@dataclass(frozen=True)
class Progress:
    """Where a search stands.

    Attributes:
        evaluations: Distinct configurations evaluated so far.
        evaluations_budget: How many there may be.
        generation: Batches finished.
        front: The front so far, by size.
        trials: Trials so far, with rejected and failed ones.
        hypervolume: Share of the fixed box that the front dominates, from 0 to 1; higher is better.
        elapsed_s: Search time so far in seconds, that of interrupted parts included.
        remaining_s: Estimated search time left in seconds; None before the first evaluation.
    """

    evaluations: int
    evaluations_budget: int
    generation: int
    front: tuple[Trial, ...]
    trials: int
    hypervolume: float
    elapsed_s: float
    remaining_s: float | None


class SearchObserver(Protocol):
    """Is told of a search's progress, in the coordinating process."""

    def on_trial(self, trial: Trial, progress: Progress) -> None:
        """After every evaluation, in the order of completion."""

    def on_generation(self, progress: Progress) -> None:
        """After every batch, and once when the search has ended."""
