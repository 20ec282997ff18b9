"""NSGA-II (Deb et al. 2002) by ask and tell, on pymoo."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.evaluator import Evaluator
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.termination import NoTermination
from pymoo.problems.static import StaticProblem

from bitfront.search.engine.protocols import GenomeTuple
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.trial import Trial
from bitfront.search.problem.within_limits import WithinLimits
from bitfront.search.samplers.genomes.history import History
from bitfront.search.samplers.genomes.operators import (
    EncoderCrossover,
    NeverAgain,
    RepairTowardsLimits,
    ResampleMutation,
    encoder_blocks,
    first_population,
)


class Nsga2Sampler:
    """Non-dominated sorting with crowding; feasible before infeasible; never asks for a genome twice.

    Offspring are repaired towards the limits that cost nothing to check; what stays outside is not asked for.

    Args:
        problem: Space, objectives and constraints.
        population: Genomes asked for at a time, and survivors of a generation.
        seed: Seed of everything random.
    """

    # A generation is chosen knowing all of the one before (Deb et al. 2002, section III).
    lag = 0

    def __init__(self, problem: SearchProblem, population: int, seed: int) -> None:
        space = problem.space
        self._problem = problem
        self._population = population
        self._within = WithinLimits(problem)
        self._history = History(space, self._within)
        self._rng = np.random.default_rng(seed)
        # One constraint more than the problem has: a failed candidate violates it by 1.
        self._pymoo_problem = Problem(
            n_var=len(space),
            n_obj=len(problem.objectives),
            n_ieq_constr=len(problem.constraint_names) + 1,
            xl=0,
            xu=np.array(space.widest),
            vtype=int,
        )
        first = first_population(space, population, self._rng, self._within)
        # Where nothing is within the limits, it is asked for what comes near.
        first = first or History(space, self._within).draw(self._rng, population)
        self._algorithm = NSGA2(
            pop_size=population,
            sampling=np.array(first, dtype=np.int64),
            crossover=EncoderCrossover(encoder_blocks(space)),
            mutation=ResampleMutation(space.sizes),
            repair=RepairTowardsLimits(self._within, seed),
            eliminate_duplicates=NeverAgain(self._history),
            seed=seed,
            termination=NoTermination(),
        )
        self._algorithm.setup(self._pymoo_problem)
        self._asked: Population | None = None

    def ask(self) -> list[GenomeTuple]:
        """The next generation; mating is topped up with random unseen genomes where it finds too few.

        It is empty when every genome within the limits was asked for.
        """
        offspring = self._algorithm.ask()
        genomes = [] if offspring is None else [_genome(row) for row in offspring.get("X")]
        genomes = [genome for genome in genomes if self._within.admits(genome) or not len(self._history)]
        self._history.add(genomes)
        self._algorithm.termination.force_termination = False  # set where mating found nothing new
        extra = self._history.draw(self._rng, self._population - len(genomes))
        genomes += extra
        self._asked = Population.new("X", np.array(genomes)) if genomes else None
        return genomes

    def tell(self, trials: Sequence[Trial]) -> None:
        """Survival of the fittest among the parents and these trials."""
        if self._asked is None or len(trials) != len(self._asked):
            raise ValueError("tell() takes one trial for each genome of the last ask()")
        rows = [self._row(trial) for trial in trials]
        static = StaticProblem(
            self._pymoo_problem, F=np.array([f for f, _ in rows]), G=np.array([g for _, g in rows])
        )
        Evaluator().eval(static, self._asked)
        self._algorithm.tell(infills=self._asked)
        self._asked = None

    def _row(self, trial: Trial) -> tuple[list[float], list[float]]:
        """Objectives in minimisation form and constraints; infeasible rows rank by their violation alone."""
        violations = [trial.violations.get(name, 0.0) for name in self._problem.constraint_names]
        failed = 1.0 if trial.state == "failed" else 0.0
        if trial.state != "complete":
            return list(self._problem.box.reference), [*violations, failed]
        return [o.minimised(trial.values) for o in self._problem.objectives], [*violations, failed]


def _genome(row: NDArray[np.int64]) -> GenomeTuple:
    return tuple(int(i) for i in row)
