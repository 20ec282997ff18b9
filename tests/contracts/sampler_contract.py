"""What every sampler keeps: subclass it with a fixture ``make`` to test one."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable

import pytest
import synthetic_search

from bitfront.search.engine.protocols import GenomeTuple, Sampler
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.spec import RunSpec
from bitfront.search.problem.trial import EvaluationFailure, Trial

# Makes a sampler of a problem, the number of candidates that it proposes at a time, and a seed.
Make = Callable[[SearchProblem, int, int], Sampler]


class SamplerContract:
    """Genomes of the space, none twice, the same for the same seed, until nothing is left within limits."""

    evaluations = 100

    @pytest.fixture
    def make(self) -> Make:
        """The sampler under test."""
        raise NotImplementedError("a subclass says how its sampler is made")

    def test_same_seed_same_genomes_and_none_twice(self, make: Make) -> None:
        problem = synthetic_search.problem()
        one, other = (asked(make(problem, 8, 3), problem, self.evaluations) for _ in range(2))
        assert one == other
        assert len(set(one)) == len(one) >= self.evaluations
        assert asked(make(problem, 8, 4), problem, self.evaluations) != one

    def test_genomes_are_of_the_space(self, make: Make) -> None:
        space = synthetic_search.space("encoder", 5, (3, 4, 8))
        problem = synthetic_search.problem(RunSpec(objectives=("top1", "size")), space)
        for genome in asked(make(problem, 6, 0), problem, 20):
            assert len(genome) == len(space)
            assert all(type(index) is int and 0 <= index < 3 for index in genome)

    @pytest.mark.parametrize("widths", [(4, 8), (3, 4, 8)])
    def test_a_small_space_is_exhausted_exactly(self, make: Make, widths: tuple[int, ...]) -> None:
        space = synthetic_search.space("encoder", 4, widths)
        problem = synthetic_search.problem(RunSpec(objectives=("top1", "size")), space)
        genomes = asked(make(problem, 6, 0), problem, 10_000)
        assert len(set(genomes)) == len(genomes)
        assert within(problem) <= set(genomes)

    def test_genes_have_choices_of_their_own(self, make: Make) -> None:
        space = synthetic_search.space("encoder-kind", 2, synthetic_search.UNEVEN)
        assert space.sizes == (3, 2, 3, 2)
        spec = RunSpec(objectives=("top1", "size"), allow_larger=True, allow_slower=True)
        problem = synthetic_search.problem(spec, space)
        genomes, again = (asked(make(problem, 6, 0), problem, 10_000) for _ in range(2))
        assert genomes == again
        assert len(genomes) == len(set(genomes)) == space.cardinality == 36

    def test_failed_and_rejected_candidates_end_nothing(self, make: Make) -> None:
        problem = synthetic_search.problem(
            RunSpec(max_size="0.12x"), synthetic_search.space("encoder-kind", 6)
        )
        genomes = asked(make(problem, 8, 0), problem, 24, failing=3)
        assert len(genomes) >= 24


def within(problem: SearchProblem) -> set[GenomeTuple]:
    """All genomes of a small space that satisfy the constraints which need no evaluation."""
    every = itertools.product(*map(range, problem.space.sizes))
    return {genome for genome in every if problem.prepare(genome).admissible}


def asked(sampler: Sampler, problem: SearchProblem, evaluations: int, failing: int = 0) -> list[GenomeTuple]:
    """Asks until the evaluations are spent or nothing is proposed; tells as late as the sampler allows.

    Args:
        sampler: Is asked and told.
        problem: What it was made for.
        evaluations: Candidates to evaluate; rejected ones do not count.
        failing: One of so many evaluations fails; none where 0.
    """
    genomes: list[GenomeTuple] = []
    untold: deque[list[Trial]] = deque()
    spent = 0
    while spent < evaluations and (batch := sampler.ask()):
        trials = [_trial(problem, len(genomes) + i, genome, failing) for i, genome in enumerate(batch)]
        genomes += batch
        spent += sum(trial.paid for trial in trials)
        untold.append(trials)
        if len(untold) > sampler.lag:
            sampler.tell(untold.popleft())
    return genomes


def _trial(problem: SearchProblem, number: int, genome: GenomeTuple, failing: int) -> Trial:
    candidate = problem.prepare(genome)
    if not candidate.admissible:
        known = (candidate.values, candidate.violations)
        return Trial(number, candidate.digest, candidate.genome, "rejected", *known)
    failed = failing and int(candidate.digest, 16) % failing == 0
    outcome = EvaluationFailure("no such kernel") if failed else synthetic_search.score(candidate.config)
    return problem.trial(number, candidate, outcome, 0.0)
