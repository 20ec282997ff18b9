"""Surrogate-assisted NSGA-II: few evaluations, chosen for the hypervolume that they promise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from bitfront.search.engine.protocols import GenomeTuple
from bitfront.search.estimation.estimates import judging_archive
from bitfront.search.problem.archive import objective_point
from bitfront.search.problem.cost_tables import CostTables
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.trial import Trial
from bitfront.search.problem.within_limits import WithinLimits
from bitfront.search.samplers.genomes.history import History
from bitfront.search.samplers.genomes.operators import stratified_population
from bitfront.search.samplers.surrogate.additive import additive_front
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
        self._costs = CostTables(problem)
        self._within = WithinLimits(problem, self._costs)
        self._history = History(problem.space, self._within)
        self._model = ObjectiveModel(problem, scores)
        # Estimates of all trials change with every one: the archive has the latest of each.
        self._archive = judging_archive(problem)
        self._pending: list[list[GenomeTuple]] = []
        seeds = [] if scores is None else self._additive_optima(scores.additive)
        self._last_population = seeds
        self._first = self._first_design(seeds)

    def ask(self) -> list[GenomeTuple]:
        """The next batch; empty when every genome within the limits has been asked for."""
        if self._first:
            genomes, self._first = self._first[: self._batch], self._first[self._batch :]
        elif sum(trial.state in ("complete", "screened") for trial in self._archive.trials) < ENOUGH:
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
        for trial in trials:
            self._archive.add(trial)

    def take(self, trials: Sequence[Trial]) -> None:
        """Takes trials in that were not asked for; where they are enough for a first design, they are it."""
        self._history.add(trial.genome for trial in trials)
        for trial in trials:
            self._archive.add(trial)
        if sum(trial.state == "complete" for trial in self._archive.trials) >= len(self._first):
            self._first = []

    def _additive_optima(self, additive: Array) -> list[GenomeTuple]:
        """Optima of the sum of scores within costs that are evenly spread over their range and limits."""
        tables = self._costs.by_gene()
        latency, size, *further = (table / (_ranges(table).sum() or 1.0) for table in tables)
        mixed = [*(share * latency + (1.0 - share) * size for share in MIXES), *further]
        room = self._within.bounds - self._costs.base
        limited = [table for table, bound in zip(tables, room, strict=True) if np.isfinite(bound)]
        bounds = [float(bound) for bound in room if np.isfinite(bound)]
        fronts = [
            additive_front(additive, [cost, *limited], SEEDS // len(MIXES), bounds)
            for cost in mixed
            if np.nanmax(cost) > np.nanmin(cost)
        ]
        found = [tuple(map(int, genome)) for front in fronts for genome in front]
        return [genome for genome in dict.fromkeys(found) if self._within.admits(genome)]

    def _first_design(self, seeds: list[GenomeTuple]) -> list[GenomeTuple]:
        """Every so many of the seeds; where limits leave few of them, genomes of all mean widths as well."""
        count = max(FIRST, self._batch)
        if len(seeds) >= count:
            chosen = np.linspace(0, len(seeds) - 1, count).round().astype(int)
            return [seeds[i] for i in self._rng.permutation(chosen)]
        strata = stratified_population(self._problem.space, count, self._rng, self._within)
        return list(dict.fromkeys([*seeds, *strata, *self._within.seeds]))[:count]

    def _proposed(self) -> list[GenomeTuple]:
        self._model.fit([trial for trial in self._archive.trials if trial.state != "rejected"])
        waiting = [genome for batch in self._pending for genome in batch]
        best = [trial.genome for trial in self._archive.front]
        space = self._problem.space
        known = list(dict.fromkeys([*waiting, *best, *self._last_population]))[: POPULATION // 2]
        # In the place of random ones: tight limits leave little else.
        cheapest, flips = self._within.cheapest, self._within.seeds
        flips = tuple(flips[i] for i in self._rng.permutation(len(flips))[: POPULATION // 4])
        start = stacked(list(dict.fromkeys([*known, *cheapest, *flips])), len(space))
        fill = self._within.repaired(space.sample(self._rng, POPULATION - len(start)), self._rng)
        found = surrogate_front(
            space,
            self._expectation,
            len(self._problem.objectives),
            np.concatenate([start, fill]),
            int(self._rng.integers(1 << 31)),
            self._within,
        )
        self._last_population = [tuple(map(int, genome)) for genome in found]
        found = found[[self._within.admits(genome) for genome in self._last_population]]
        if not len(found):
            return []
        points = self._known_points(waiting)
        return chosen_infills(
            found, self._expectation(found), self._deviations(found), points, self._history.seen, self._batch
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
        known = {column: costs[:, i] for i, column in enumerate(self._costs.columns)}
        known |= self._model.mean(genomes)
        signs = [-1.0 if o.direction == "maximise" else 1.0 for o in self._problem.objectives]
        mean = np.stack(
            [sign * known[o.column] for sign, o in zip(signs, self._problem.objectives, strict=True)], axis=1
        )
        violation = np.zeros(len(genomes))
        for limit in self._problem.limits:
            violation += np.maximum(
                limit.violation_of(known[limit.column if limit.analytic else limit.bound]), 0.0
            )
        return mean, violation

    def _deviations(self, genomes: Genomes) -> Array:
        """Standard deviations of the objectives; those that are computed have none."""
        foreseen = self._model.predict(genomes)
        none = np.zeros(len(genomes))
        columns = [none if o.analytic else foreseen[o.column].std for o in self._problem.objectives]
        return np.stack(columns, axis=1)


def _ranges(table: Array) -> Array:
    """The most by which the choices of each gene differ in a table ``[genes, choices]``, ``[genes]``."""
    found: Array = np.nanmax(table, axis=1) - np.nanmin(table, axis=1)
    return found
