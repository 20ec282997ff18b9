"""Surrogate-assisted NSGA-II: few evaluations, chosen for the hypervolume that they promise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from bitfront.search.engine.protocols import GenomeTuple
from bitfront.search.problem.archive import Archive, objective_point
from bitfront.search.problem.objectives import ANALYTIC
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.trial import Trial
from bitfront.search.samplers.genomes.history import History
from bitfront.search.samplers.genomes.operators import stratified_population
from bitfront.search.samplers.surrogate.additive import additive_front
from bitfront.search.samplers.surrogate.costs import CostTables
from bitfront.search.samplers.surrogate.objective_model import ObjectiveModel, PriorScores
from bitfront.search.samplers.surrogate.proposal import (
    POPULATION,
    Array,
    Expectation,
    Genomes,
    chosen_infills,
    stacked,
    surrogate_front,
)

# Evaluations of the first design, whatever the space.
FIRST = 8
# Optima of the additive model by which the first populations on the surrogate are seeded.
SEEDS = 36
# Shares of latency in the cost that such optima are within: for size, for both, for latency.
MIXES = (0.0, 0.5, 1.0)
# Least trials with values that a model is fitted to.
ENOUGH = 4


class SurrogateSampler:
    """Proposes what NSGA-II finds best on a surrogate that learns from every evaluation.

    Latency and size are computed, not foreseen; what has to be evaluated is foreseen by Gaussian processes
    (see :class:`ObjectiveModel`). The method is that of surrogate-assisted evolution with infills by
    hypervolume (Emmerich et al. 2006, doi:10.1109/TEVC.2005.859463).

    Args:
        problem: Space, objectives and constraints.
        population: Candidates proposed at a time.
        seed: Seed of everything random.
        scores: Sensitivities that are known before any evaluation; None where there are none.
    """

    # One batch is evaluated while the next is chosen: no worker waits.
    lag = 1

    def __init__(
        self, problem: SearchProblem, population: int, seed: int, scores: PriorScores | None = None
    ) -> None:
        self._problem = problem
        self._batch = population
        self._rng = np.random.default_rng(seed)
        self._history = History(problem.space)
        self._costs = CostTables(problem)
        self._model = ObjectiveModel(problem, scores)
        self._trials: list[Trial] = []
        self._archive = Archive(problem.objectives)
        self._pending: list[list[GenomeTuple]] = []
        self._forbidden = self._uniform_and_forbidden()
        seeds = [] if scores is None else self._additive_optima(scores.additive)
        self._last_population = seeds
        self._first = self._first_design(seeds)

    def ask(self) -> list[GenomeTuple]:
        """The next batch; empty when every genome of the space has been asked for."""
        if self._first:
            genomes, self._first = self._first[: self._batch], self._first[self._batch :]
        elif sum(trial.state in ("complete", "screened") for trial in self._trials) < ENOUGH:
            genomes = []
        else:
            with threadpool_limits(1):  # sums in another order would be another search
                genomes = self._proposed()
        self._history.add(genomes)
        genomes += self._history.draw(self._rng, self._batch - len(genomes))
        if genomes:
            self._pending.append(genomes)
        return genomes

    def tell(self, trials: Sequence[Trial]) -> None:
        """Takes the results of the oldest batch in."""
        self._pending.pop(0)
        self._trials += [trial for trial in trials if trial.state != "rejected"]
        for trial in trials:
            self._archive.add(trial)

    def _additive_optima(self, additive: Array) -> list[GenomeTuple]:
        """Optima of the sum of scores within costs that are evenly spread over their range."""
        latency, size = (table / (np.ptp(table, axis=1).sum() or 1.0) for table in self._costs.by_gene())
        mixed = [share * latency + (1.0 - share) * size for share in MIXES]
        fronts = [additive_front(additive, [cost], SEEDS // len(MIXES)) for cost in mixed if np.ptp(cost) > 0]
        found = [tuple(map(int, genome)) for front in fronts for genome in front]
        return [
            genome
            for genome in dict.fromkeys(found)
            if genome not in self._forbidden and self._problem.prepare(genome).admissible
        ]

    def _first_design(self, seeds: list[GenomeTuple]) -> list[GenomeTuple]:
        """Every so many of the seeds; where limits leave few of them, genomes of all mean widths as well."""
        space, count = self._problem.space, max(FIRST, self._batch)
        if len(seeds) >= count:
            chosen = np.linspace(0, len(seeds) - 1, count).round().astype(int)
            return [seeds[i] for i in self._rng.permutation(chosen)]

        def excess(genome: GenomeTuple) -> float:
            return self._problem.prepare(genome).total_violation

        others = [g for g in stratified_population(space, count, self._rng, excess) if g not in seeds]
        return [*seeds, *others][:count]

    def _uniform_and_forbidden(self) -> set[GenomeTuple]:
        space, found = self._problem.space, set()
        for width in range(len(space.widths)):
            genome = (width,) * len(space)
            config = space.decode(np.array(genome, dtype=np.int64))
            if any(rule.violation(config) > 0.0 for rule in self._problem.structural):
                found.add(genome)
        return found

    def _proposed(self) -> list[GenomeTuple]:
        self._model.fit(self._trials)
        waiting = [genome for batch in self._pending for genome in batch]
        best = [trial.genome for trial in self._archive.front]
        space = self._problem.space
        known = list(dict.fromkeys([*waiting, *best, *self._last_population]))
        start = stacked(known[: POPULATION // 2], len(space))
        fill = space.sample(self._rng, POPULATION - len(start))
        seed = int(self._rng.integers(1 << 31))
        objectives = len(self._problem.objectives)
        found = surrogate_front(space, self._expectation, objectives, np.concatenate([start, fill]), seed)
        self._last_population = [tuple(map(int, genome)) for genome in found]
        taken = {*self._history.seen, *self._forbidden}
        points = self._known_points(waiting)
        return chosen_infills(
            found, self._expectation(found), self._deviations(found), points, taken, self._batch
        )

    def _known_points(self, waiting: list[GenomeTuple]) -> Array:
        """The front, and what is expected of the candidates under way."""
        points = [objective_point(trial, self._problem.objectives) for trial in self._archive.front]
        rows = np.array(points, dtype=np.float64).reshape(-1, len(self._problem.objectives))
        if waiting:
            genomes = stacked(waiting, len(self._problem.space))
            rows = np.concatenate([rows, self._expectation(genomes)[0]])
        return rows if len(rows) else np.array([self._problem.box.reference])

    def _expectation(self, genomes: Genomes) -> Expectation:
        """Objectives in minimisation form, and the sum of relative violations of the limits."""
        costs = self._costs(genomes)
        known = {column: costs[:, i] for i, column in enumerate(ANALYTIC)} | self._model.mean(genomes)
        signs = [-1.0 if o.direction == "maximise" else 1.0 for o in self._problem.objectives]
        mean = np.stack(
            [sign * known[o.column] for sign, o in zip(signs, self._problem.objectives, strict=True)], axis=1
        )
        violation = np.zeros(len(genomes))
        for limit in self._problem.limits:
            violation += np.maximum(limit.violation_of(known[limit.column]), 0.0)
        return mean, violation

    def _deviations(self, genomes: Genomes) -> Array:
        """Standard deviations of the objectives; those that are computed have none."""
        foreseen = self._model.predict(genomes)
        none = np.zeros(len(genomes))
        columns = [none if o.analytic else foreseen[o.column].std for o in self._problem.objectives]
        return np.stack(columns, axis=1)
