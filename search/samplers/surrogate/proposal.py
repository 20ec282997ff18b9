"""Which candidates to evaluate next: NSGA-II on the surrogate, then the expected gain of hypervolume."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.problem import Problem
from pymoo.optimize import minimize

from bitfront.search.engine.protocols import GenomeTuple
from bitfront.search.problem.within_limits import WithinLimits
from bitfront.search.samplers.genomes.operators import (
    EncoderCrossover,
    RepairTowardsLimits,
    ResampleMutation,
    encoder_blocks,
)
from bitfront.spaces import SearchSpace

Array = NDArray[np.float64]
Genomes = NDArray[np.int64]
# Expected objectives in minimisation form, [count, objectives], and violation of the constraints, [count].
Expectation = tuple[Array, Array]
POPULATION = 80
GENERATIONS = 25
# Matings tried for offspring that are new: more would only go round a small space.
MATINGS = 2
# Standard normal values and weights of Gauss-Hermite quadrature with three points.
NODES, WEIGHTS = np.array([-np.sqrt(3.0), 0.0, np.sqrt(3.0)]), np.array([1.0, 4.0, 1.0]) / 6.0


class _Surrogate(Problem):  # type: ignore[misc]  # pymoo is untyped
    def __init__(
        self, space: SearchSpace, foresee: Callable[[Genomes], Expectation], objectives: int
    ) -> None:
        super().__init__(
            n_var=len(space), n_obj=objectives, n_ieq_constr=1, xl=0, xu=np.array(space.widest), vtype=int
        )
        self._foresee = foresee

    def _evaluate(self, x: Genomes, out: dict[str, Array], *_args: object, **_kwargs: object) -> None:
        mean, violation = self._foresee(x)
        out["F"], out["G"] = mean, violation[:, None]


def surrogate_front(
    space: SearchSpace,
    foresee: Callable[[Genomes], Expectation],
    objectives: int,
    start: Genomes,
    seed: int,
    within: WithinLimits,
) -> Genomes:
    """The last population of NSGA-II (Deb et al. 2002) on a surrogate, ``[count, genes]``.

    Args:
        space: The space.
        foresee: The surrogate.
        objectives: Number of objectives.
        start: Genomes of the first population; the best survive if there are too many.
        seed: Seed of mating.
        within: Limits of costs, towards which offspring are repaired.
    """
    algorithm = NSGA2(
        pop_size=POPULATION,
        sampling=start,
        crossover=EncoderCrossover(encoder_blocks(space)),
        mutation=ResampleMutation(space.sizes),
        repair=RepairTowardsLimits(within, seed),
        eliminate_duplicates=True,
    )
    algorithm.mating.n_max_iterations = MATINGS
    problem = _Surrogate(space, foresee, objectives)
    result = minimize(problem, algorithm, ("n_gen", GENERATIONS), seed=seed, copy_algorithm=False)
    found: Genomes = result.pop.get("X").astype(np.int64)
    return found


def chosen_infills(
    candidates: Genomes,
    expectation: Expectation,
    std: Array,
    front: Array,
    taken: Collection[GenomeTuple],
    count: int,
) -> list[GenomeTuple]:
    """Candidates that promise the largest gain of hypervolume, one after the other.

    The gain is its expectation over three outcomes: all uncertain objectives at their means, or all of them a
    root of three standard deviations better or worse. Candidates that are expected to miss a limit come last.
    What is chosen counts as evaluated with its mean from then on, which spreads the batch over the front.

    Args:
        candidates: Genomes, ``[count, genes]``.
        expectation: What the surrogate expects of them.
        std: Standard deviations of the objectives, ``[count, objectives]``.
        front: Objectives of the front so far and of what is being evaluated, ``[points, objectives]``, in
            minimisation form.
        taken: Genomes that may not be chosen.
        count: How many to choose; fewer come back where there are no more.
    """
    keep = [i for i, genome in enumerate(map(_key, candidates)) if genome not in taken]
    _, first = np.unique(candidates[keep], axis=0, return_index=True)
    keep = [keep[i] for i in sorted(first)]
    genomes, mean, violation, std = candidates[keep], expectation[0][keep], expectation[1][keep], std[keep]
    chosen: list[GenomeTuple] = []
    available = np.ones(len(genomes), dtype=bool)
    while len(chosen) < count and available.any():
        gains = np.where(available, _gains(mean, std, violation, front), -np.inf)
        best = int(np.argmax(gains))
        chosen.append(_key(genomes[best]))
        available[best] = False
        front = np.concatenate([front, mean[best][None]])
    return chosen


def _gains(mean: Array, std: Array, violation: Array, front: Array) -> Array:
    """Expected growth of the hypervolume by each candidate, in a box around the front and the candidates."""
    from moocore import Hypervolume

    low = np.minimum(front.min(0), mean.min(0))
    high = np.maximum(front.max(0), mean.max(0))
    span = np.where(high > low, high - low, 1.0)
    volume = Hypervolume(ref=np.full(mean.shape[1], 1.1))
    points = np.clip((front - low) / span, -0.5, None)
    before = volume(points)
    total = np.zeros(len(mean))
    for node, weight in zip(NODES, WEIGHTS, strict=True):
        shifted = np.clip((mean + node * std - low) / span, -0.5, None)
        total += weight * np.array([volume(np.vstack([points, row])) - before for row in shifted])
    # Candidates that are expected to miss a limit come last, by how much they miss it.
    return np.where(violation <= 0.0, total, -violation)


def _key(genome: NDArray[np.int64]) -> GenomeTuple:
    return tuple(int(index) for index in genome)


def stacked(genomes: Sequence[GenomeTuple], genes: int) -> Genomes:
    """Genomes as an int64 array ``[count, genes]``, whatever their count."""
    return np.array(genomes, dtype=np.int64).reshape(-1, genes)
