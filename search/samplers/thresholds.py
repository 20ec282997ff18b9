"""Assignments by thresholds on spectral sensitivities alone: the reference of what is told of evaluations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from bitfront.evaluators.sensitivity.thresholds import LEAD, Staircase, halving
from bitfront.search.engine.protocols import GenomeTuple
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.trial import Trial
from bitfront.search.problem.within_limits import WithinLimits
from bitfront.search.samplers.genomes.history import History
from bitfront.search.samplers.known_scores import KnownScores
from bitfront.search.samplers.stages import stages_of

# How far the thresholds of several widths are apart, in this order.
LEADS = (LEAD, 0.0, 1.0)
# Draws in a row that give nothing new before thresholds count as used up.
TRIES = 200


class ThresholdsSampler:
    """Assigns widths by thresholds on the sensitivity ``S`` of genes; nothing is learnt from evaluations.

    First thresholds that hold for all genes, so many that any first ones are spread from wide to narrow.
    These are few; then thresholds of their own for the weights, activations and attention of each stage of
    the model, drawn at random; and when these are used up, what is left.

    Args:
        problem: The space, and limits that what is asked for satisfies.
        batch: Genomes asked for at a time.
        seed: Seed of the draws, and of the order of genes that are equally sensitive.
        scores: Has the sensitivities; without them genes are taken in random order.
    """

    # Nothing is learnt, so nothing need be waited for.
    lag = 1

    def __init__(
        self, problem: SearchProblem, batch: int, seed: int, scores: KnownScores | None = None
    ) -> None:
        self._space = problem.space
        self._within = WithinLimits(problem)
        self._history = History(self._space, self._within)
        self._rng = np.random.default_rng(seed)
        self._ranks = (scores or KnownScores()).ranks(len(problem.space), self._rng)
        self._batch = batch
        self._assignments = self._assigned()

    def ask(self) -> list[GenomeTuple]:
        """The next batch of unseen genomes; empty when none is left."""
        found: list[GenomeTuple] = []
        for genome in self._assignments:
            self._history.add([genome])
            found.append(genome)
            if len(found) == self._batch:
                return found
        return found + self._history.draw(self._rng, self._batch - len(found))

    def tell(self, trials: Sequence[Trial]) -> None:
        """Nothing is learnt from trials."""

    def _assigned(self) -> Iterator[GenomeTuple]:
        """Assignments that were not asked for and are within the limits."""
        widest = self._space.widest
        # Of two formats there is one threshold.
        for lead in LEADS if max(widest) > 1 else LEADS[:1]:
            common = Staircase(self._ranks, widest, lead=lead)
            yield from filter(self._is_new, (common[steps] for steps in halving(len(common))))
        parts = [
            Staircase(self._ranks[list(stage.genes)], widest, stage.genes)
            for stage in stages_of(self._space, by_kind=True)
        ]
        tries = 0
        while tries < TRIES:
            tries += 1
            drawn = [part[int(self._rng.integers(len(part)))] for part in parts]
            genome = tuple(min(indices) for indices in zip(*drawn, strict=True))
            if self._is_new(genome):
                tries = 0
                yield genome

    def _is_new(self, genome: GenomeTuple) -> bool:
        return genome not in self._history and self._within.admits(genome)
