"""Progressive narrowing: part by part of a model, sensitive layers sent back where that costs much."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence

import numpy as np

from bitfront.evaluators.sensitivity.thresholds import Staircase, halving
from bitfront.search.engine.protocols import GenomeTuple
from bitfront.search.estimation.estimates import judging_archive
from bitfront.search.problem.objectives import ESTIMATE
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.trial import Trial
from bitfront.search.problem.within_limits import WithinLimits
from bitfront.search.samplers.genomes.history import History
from bitfront.search.samplers.known_scores import KnownScores
from bitfront.search.samplers.stages import stages_of

# Points by which a model may be worse than float where nothing else was asked for.
USUAL_DROP = 0.5
# Drops of further passes, as powers of two of the first one's, in their order: less and more in turn, then
# those between.
POWERS = (0.0, 2.0, -2.0, 4.0, 1.0, 6.0, 3.0, -1.0, -4.0, 5.0, 0.5, 1.5, 2.5, -0.5, 3.5, 4.5)


class ProgressiveSampler:
    """Narrows a model stage by stage, in ascending order of the genes' sensitivity ``S`` (VQ-ViT).

    A pass begins with all genes at the widest. In each stage (MLP, attention output, queries, keys and
    values, the rest) genes are narrowed in ascending order of ``S`` as far as the drop of the metric that
    counts stays within ``tau``: the whole stage first, and where that drops by more, the most sensitive ones
    go back. How many is found by search in sections, ``population`` evaluations at a time. The next stage
    begins where the last one ended.

    With the evaluations that are left, passes with other ``tau`` follow, then thresholds on ``S`` that hold
    for all genes, then neighbours of the front. Every evaluation counts for the front. There is no tuning
    between stages: what is evaluated is prepared once for all configurations.

    Args:
        problem: The space, and limits that what is asked for satisfies. Its ``stage_drop`` is the first
            ``tau``; where there is none, what a limit on the metric that counts allows, or half a point.
        population: Genomes asked for at a time.
        seed: Seed of the order of neighbours, and of genes that are equally sensitive.
        scores: Has the sensitivities; without them genes are taken in random order.
    """

    # A section is chosen knowing the one before.
    lag = 0

    def __init__(
        self, problem: SearchProblem, population: int, seed: int, scores: KnownScores | None = None
    ) -> None:
        self._problem, self._population = problem, population
        self._within = WithinLimits(problem)
        self._history = History(problem.space, self._within)
        self._archive = judging_archive(problem)
        self._rng = np.random.default_rng(seed)
        self._ranks = (scores or KnownScores()).ranks(len(problem.space), self._rng)
        # Points by genome, infinite where an evaluation failed.
        self._drops: dict[GenomeTuple, float] = {}
        self._batches = self._proposed()

    def ask(self) -> list[GenomeTuple]:
        """The next batch; empty when every genome within the limits was asked for."""
        genomes = next(self._batches, [])
        self._history.add(genomes)
        return genomes or self._history.draw(self._rng, self._population)

    def tell(self, trials: Sequence[Trial]) -> None:
        """Takes the drops of a batch in."""
        self.take(trials)

    def take(self, trials: Sequence[Trial]) -> None:
        """Takes trials in, which need not have been asked for."""
        self._history.add(trial.genome for trial in trials)
        for trial in trials:
            self._archive.add(trial)
            if trial.state != "rejected":
                self._drops[trial.genome] = self._drop(trial)

    def _drop(self, trial: Trial) -> float:
        """By how many points fewer images are decided right than by the float model, as it is estimated."""
        counted, whole = self._problem.task.counted, self._problem.float_counted
        found = trial.values.get(f"{counted}{ESTIMATE}", trial.values.get(counted))
        return math.inf if found is None or trial.state == "failed" else (whole or 0.0) - found

    def _proposed(self) -> Iterator[list[GenomeTuple]]:
        first = self._allowed()
        for power in POWERS:
            yield from self._passed(first * 2.0**power)
        yield from self._by_thresholds()
        while batch := self._neighbours():
            yield batch

    def _allowed(self) -> float:
        """The first ``tau``, in points; above 0, so that other ones are multiples of it."""
        problem, least = self._problem, USUAL_DROP / 10
        if problem.stage_drop is not None:
            return max(least, problem.stage_drop)
        bounds = [limit.threshold for limit in problem.limits if limit.column == problem.task.counted]
        if not bounds or problem.float_counted is None:
            return USUAL_DROP
        return max(least, problem.float_counted - max(bounds))

    def _passed(self, allowed: float) -> Iterator[list[GenomeTuple]]:
        """Batches of one pass through all stages."""
        genome = self._problem.space.widest
        for stage in stages_of(self._problem.space):
            path = Staircase(self._ranks[list(stage.genes)], genome, stage.genes)
            steps = yield from self._steps_within(path, allowed)
            genome = path[steps]

    def _steps_within(self, path: Staircase, allowed: float) -> Generator[list[GenomeTuple], None, int]:
        """Batches that find the most steps of a path whose drop is allowed; returns these."""
        low, high = 0, len(path)
        while high - low > 1:
            parts = min(self._population, high - 1 - low)
            places = np.linspace(low, high - 1, parts + 1).round().astype(int)[1:]
            batch = [path[place] for place in places]
            new = [genome for genome in batch if genome not in self._history and self._within.admits(genome)]
            if new:
                yield new
            for place, genome in zip(places, batch, strict=True):
                if not self._is_allowed(genome, path[0], allowed):
                    high = int(place)
                    break
                low = int(place)
        return low

    def _is_allowed(self, genome: GenomeTuple, base: GenomeTuple, allowed: float) -> bool:
        """Whether narrowing goes on from a genome.

        From one that costs too much to be evaluated it does where it comes nearer to the limits than the
        ``base`` that the stage began with.
        """
        if genome in self._drops:
            return self._drops[genome] <= allowed
        here, there = np.maximum(self._within.excess(np.array([genome, base])), 0.0)
        return any(genome) and bool(here < there)  # the mixed rule forbids the lowest width throughout

    def _by_thresholds(self) -> Iterator[list[GenomeTuple]]:
        """Batches of assignments by thresholds that hold for all genes."""
        path = Staircase(self._ranks, self._problem.space.widest)
        batch: list[GenomeTuple] = []
        for steps in halving(len(path)):
            genome = path[steps]
            if genome not in self._history and self._within.admits(genome):
                batch.append(genome)
            if len(batch) == self._population:
                yield batch
                batch = []
        if batch:
            yield batch

    def _neighbours(self) -> list[GenomeTuple]:
        """Genomes of the front with one gene a step narrower or wider, at random."""
        sizes, found = self._problem.space.sizes, list[GenomeTuple]()
        front = [trial.genome for trial in self._archive.front]
        moves = [
            (number, gene, step)
            for number in range(len(front))
            for gene in range(len(sizes))
            for step in (-1, 1)
        ]
        for move in self._rng.permutation(len(moves)):
            number, gene, step = moves[move]
            index = front[number][gene] + step
            genome = (*front[number][:gene], index, *front[number][gene + 1 :])
            fresh = 0 <= index < sizes[gene] and genome not in self._history and genome not in found
            if fresh and self._within.admits(genome):
                found.append(genome)
            if len(found) == self._population:
                break
        return found
