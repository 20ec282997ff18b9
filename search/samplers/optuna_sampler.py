"""Optuna's samplers behind ask and tell: TPE, NSGA-II and Gaussian processes, without repeats."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Sequence

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import TrialState

from bitfront.search.engine.protocols import GenomeTuple
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.trial import Trial
from bitfront.search.problem.within_limits import WithinLimits
from bitfront.search.samplers.genomes.history import History

# Optuna removes no duplicates; where it has nothing new to say, an unseen genome is drawn. A Gaussian
# process is fitted again for each proposal, so it is asked less often.
TRIES = {"tpe": 10, "nsga2": 10, "gp": 2}
# NSGA-II waits for its generation; the others know of candidates that are still being evaluated.
LAGS = {"tpe": 1, "nsga2": 0, "gp": 1}


class OptunaSampler:
    """Asks a sampler of Optuna that keeps a study of its own in memory.

    That study holds every candidate that was told. Its constraints are one there, as Optuna 5 takes them
    (``Trial.set_constraint``): Optuna's NSGA-II and TPE add violations up anyway, and its Gaussian processes
    would need one more for each. A candidate that was rejected before its evaluation is infeasible, with the
    medians of those told so far for the objectives it lacks, which speak neither for nor against it. Failed
    candidates are failed there too.

    Args:
        name: ``tpe``, ``nsga2`` or ``gp``.
        problem: Space, objectives and constraints.
        population: Genomes asked for at a time, and with ``nsga2`` the survivors of a generation.
        seed: Seed of everything random.
    """

    def __init__(self, name: str, problem: SearchProblem, population: int, seed: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.lag = LAGS[name]
        self._tries = TRIES[name]
        self._problem = problem
        self._population = population
        self._within = WithinLimits(problem)
        self._history = History(problem.space, self._within)
        self._rng = np.random.default_rng(seed)
        self._distributions = _distributions(name, problem)
        directions = [StudyDirection.MINIMIZE] * len(problem.objectives)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = _sampler(name, population, seed)
            self._study = optuna.create_study(sampler=sampler, directions=directions)
        self._batches: deque[list[optuna.Trial]] = deque()
        self._told = _Told(problem)

    def ask(self) -> list[GenomeTuple]:
        """The next batch of unseen genomes; empty when none within the limits is left.

        Where Optuna proposes none within them, the last one is a random one that is.
        """
        first, batch = not len(self._history), list[optuna.Trial]()
        while len(batch) < self._population and not self._history.exhausted:
            trial = self._propose()
            if trial is None:
                break
            batch.append(trial)
        if batch and not any(self._within.admits(self._genome(trial)) for trial in batch):
            drawn = self._drawn()
            if drawn is not None:
                self._study.tell(batch.pop(), state=TrialState.FAIL)
                batch.append(drawn)
            elif not first:
                batch = []
        if batch:
            self._batches.append(batch)
        return [self._genome(trial) for trial in batch]

    def tell(self, trials: Sequence[Trial]) -> None:
        """Tells Optuna what became of the oldest batch."""
        if not self._batches or len(trials) != len(self._batches[0]):
            raise ValueError("tell() takes one trial for each genome of the oldest ask()")
        for handle, trial in zip(self._batches.popleft(), trials, strict=True):
            if trial.state == "failed":
                self._study.tell(handle, state=TrialState.FAIL)
                continue
            handle.set_constraint("violation", _violation(trial))
            self._study.tell(handle, self._told.filled(trial))

    def _propose(self) -> optuna.Trial | None:
        """A trial whose genome is new: Optuna's, or a random one where it repeats itself."""
        for _ in range(self._tries):
            trial = self._study.ask(self._distributions)
            genome = self._genome(trial)
            if genome not in self._history:
                self._history.add([genome])
                return trial
            self._study.tell(trial, state=TrialState.FAIL)
        return self._drawn()

    def _drawn(self) -> optuna.Trial | None:
        """A trial of a random unseen genome within the limits; None where there is none."""
        drawn = self._history.draw(self._rng, 1)
        if not drawn:
            return None
        self._study.enqueue_trial(dict(zip(self._distributions, drawn[0], strict=True)))
        return self._study.ask(self._distributions)

    def _genome(self, trial: optuna.Trial) -> GenomeTuple:
        return tuple(int(trial.params[name]) for name in self._distributions)


class _Told:
    """Objectives (minimised) of candidates, and medians of them for what others lack."""

    def __init__(self, problem: SearchProblem) -> None:
        self._problem = problem
        self._seen: list[list[float]] = [[] for _ in problem.objectives]

    def filled(self, trial: Trial) -> list[float]:
        """All objectives of a trial; remembers those that are its own."""
        values, worst = [], self._problem.box.reference
        for objective, seen, corner in zip(self._problem.objectives, self._seen, worst, strict=True):
            if trial.state != "rejected" or objective.analytic:
                seen.append(objective.minimised(trial.values))
                values.append(seen[-1])
            else:
                values.append(float(np.median(seen)) if seen else corner)
        return values


def _violation(trial: Trial) -> float:
    """All constraints as one: the sum of what is violated, or how near the nearest one is (at most 0)."""
    return trial.total_violation or max(trial.violations.values(), default=0.0)


def _sampler(name: str, population: int, seed: int) -> BaseSampler:
    """Optuna's sampler with its own defaults but for the seed and the size of a generation."""
    if name == "tpe":
        # Gene by gene, as is its default for several objectives, it would rank all trials for each gene:
        # 0.7 s for a candidate of 36 genes after 100 trials, against 0.02 s.
        return TPESampler(seed=seed, multivariate=True)
    if name == "nsga2":
        return NSGAIISampler(population_size=population, seed=seed)
    return GPSampler(seed=seed, deterministic_objective=True)


def _distributions(name: str, problem: SearchProblem) -> dict[str, BaseDistribution]:
    """Indices of choices by gene: a scale for distances between them (``gp``), categories for the others."""

    def distribution(size: int) -> BaseDistribution:
        return IntDistribution(0, size - 1) if name == "gp" else CategoricalDistribution(range(size))

    space = problem.space
    return {gene: distribution(size) for gene, size in zip(space.gene_names, space.sizes, strict=True)}
