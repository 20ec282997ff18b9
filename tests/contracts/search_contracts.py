"""Contracts of the search's protocols: an implementation's test subclasses one and gives its fixture."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from types import ModuleType

import numpy as np
import pytest

from bitfront.search.engine.protocols import AccuracyPool, Completed, Progress, SearchObserver, TrialRecord
from bitfront.search.problem.objectives import ANALYTIC
from bitfront.search.problem.problem import CostModel, SearchProblem
from bitfront.search.problem.spec import RunSpec
from bitfront.search.problem.trial import EvaluationFailure, Trial
from bitfront.search.session.reporter import Reporter
from bitfront.spaces import BitConfig, SearchSpace, StructuralConstraint


def judged(synthetic: ModuleType, problem: SearchProblem, number: int, genome: tuple[int, ...]) -> Trial:
    """The trial of a genome by the formula of the synthetic search."""
    candidate = problem.prepare(genome)
    if not candidate.admissible:
        known = candidate.values, candidate.violations
        return Trial(number, candidate.digest, candidate.genome, "rejected", *known)
    return problem.trial(number, candidate, synthetic.score(candidate.config), 0.0)


class PoolContract:
    """What every :class:`AccuracyPool` does; ``pool`` evaluates by ``score``."""

    @pytest.fixture
    def score(self, synthetic: ModuleType) -> Callable[..., object]:
        """The accuracy of a configuration without 4-bit widths; others fail."""
        import cloudpickle

        cloudpickle.register_pickle_by_value(synthetic)  # for pools whose workers are other processes

        def score(config: BitConfig, required: float | None = None) -> object:
            if 4 in config.formats().every:
                raise RuntimeError("saturated")
            return synthetic.score(config, required)

        return score

    @pytest.fixture
    def pool(self, score: Callable[..., object]) -> AccuracyPool:
        raise NotImplementedError

    def collected(self, pool: AccuracyPool, count: int) -> dict[int, object]:
        found: list[Completed] = []
        for _ in range(600):
            if len(found) < count and (completed := pool.next_completed(0.2)) is not None:
                found.append(completed)
        assert len({key for key, _ in found}) == len(found), "each comes back once"
        return dict(found)

    def test_results_come_back_under_their_keys_and_errors_as_failures(
        self, synthetic: ModuleType, pool: AccuracyPool
    ) -> None:
        space = synthetic.space()
        wide, narrow = synthetic.uniform(space, 8), synthetic.uniform(space, 4)
        assert pool.capacity >= 1
        pool.submit(7, narrow)
        pool.submit(3, wide, -2.0)
        found = self.collected(pool, 2)
        assert found[3] == synthetic.score(wide)
        assert found[7] == EvaluationFailure("RuntimeError: saturated")
        assert pool.next_completed(0.0) is None

    def test_closes_with_work_left(self, synthetic: ModuleType, pool: AccuracyPool) -> None:
        pool.submit(0, synthetic.uniform(synthetic.space(), 8))
        pool.close()


class TrialRecordContract:
    """What every :class:`TrialRecord` does; ``problem`` is a fixture of its trials, ``record`` a new one."""

    @pytest.fixture
    def problem(self, synthetic: ModuleType) -> SearchProblem:
        found: SearchProblem = synthetic.problem(RunSpec(max_drop=2.0))
        return found

    @pytest.fixture
    def record(self, problem: SearchProblem) -> TrialRecord:
        raise NotImplementedError

    def test_finished_trials_come_back_by_number_as_they_were(
        self, synthetic: ModuleType, problem: SearchProblem, record: TrialRecord
    ) -> None:
        rng = np.random.default_rng(0)
        first, second = (problem.prepare(genome) for genome in problem.space.sample(rng, 2))
        assert record.trials == ()
        numbers = [record.begin(first), record.begin(second)]
        assert numbers == [0, 1]
        assert record.begin(first) == 0, "what was begun already keeps its number"
        rejected = record.reject(problem.prepare([0] * len(problem.space)), 0.5)
        assert (rejected.number, rejected.state, rejected.elapsed_s) == (2, "rejected", 0.5)
        later = problem.trial(1, second, synthetic.score(second.config), 1.0)
        record.finish(later)
        assert record.trials == (later, rejected)
        failed = problem.trial(0, first, EvaluationFailure("RuntimeError: saturated"), 2.0)
        record.finish(failed)
        assert record.trials == (failed, later, rejected)


class ObserverContract:
    """What every :class:`SearchObserver` does; the fixture is ``observer``."""

    @pytest.fixture
    def observer(self) -> SearchObserver:
        raise NotImplementedError

    def test_hears_of_trials_and_generations_of_any_kind(
        self, synthetic: ModuleType, observer: SearchObserver
    ) -> None:
        problem = synthetic.problem()
        genome = problem.space.sample(np.random.default_rng(0), 1)[0]
        trial = judged(synthetic, problem, 0, tuple(int(i) for i in genome))
        failed = dataclasses.replace(trial, state="failed", error="no such kernel")
        none = Progress(0, 10, 0, (), 0, 0.0, 0.0, None)
        some = Progress(1, 10, 1, (trial,), 2, 0.1, 3.0, 27.0)
        observer(none, None)
        observer(some, trial)
        observer(none, failed)
        observer(some, None)


class ReporterContract(ObserverContract):
    """What every :class:`Reporter` does; the fixture is ``reporter``."""

    @pytest.fixture
    def reporter(self) -> Reporter:
        raise NotImplementedError

    @pytest.fixture
    def observer(self, reporter: Reporter) -> Iterator[SearchObserver]:
        with reporter.search(10) as observer:
            yield observer

    def test_takes_shares_and_notes_and_lets_errors_through(self, reporter: Reporter) -> None:
        with reporter.stage("preparing") as share:
            share(0.0)
            share(1.0)
        with reporter.stage("a step without shares"):
            pass
        reporter.note("latencies are modelled")
        with pytest.raises(KeyError), reporter.stage("failing"):
            raise KeyError


class CostModelContract:
    """What every :class:`CostModel` does; the fixtures are ``cost`` and ``space``."""

    @pytest.fixture
    def cost(self) -> CostModel:
        raise NotImplementedError

    @pytest.fixture
    def space(self) -> SearchSpace:
        raise NotImplementedError

    def test_prices_are_positive_repeatable_and_no_less_than_the_least(
        self, cost: CostModel, space: SearchSpace
    ) -> None:
        assert cost.latency_source
        assert 0.0 <= cost.latency_noise < 1.0
        least_ms, least_bytes = cost.minimum_latency_ms(space), cost.minimum_size_bytes(space)
        assert least_ms > 0
        assert least_bytes > 0
        for genome in space.sample(np.random.default_rng(0), 8):
            config = space.decode(genome)
            assert cost.latency_ms(config) == cost.latency_ms(config) >= least_ms * (1 - 1e-9)
            assert cost.size_bytes(config) == cost.size_bytes(config) >= least_bytes
            assert cost.size_bytes(config) <= cost.maximum_size_bytes(space)

    def test_further_costs_are_so_too(self, cost: CostModel, space: SearchSpace) -> None:
        for column, further in cost.further.items():
            assert column in ANALYTIC
            assert further.source
            assert further.float_value > 0
            least = further.least(space)
            for genome in space.sample(np.random.default_rng(0), 8):
                config = space.decode(genome)
                assert further.of(config) == further.of(config) >= least * (1 - 1e-9) > 0


class StructuralConstraintContract:
    """What every :class:`StructuralConstraint` does; fixtures ``rule``, ``allowed`` and ``forbidden``."""

    @pytest.fixture
    def rule(self) -> StructuralConstraint:
        raise NotImplementedError

    def test_has_a_column_and_tells_what_it_forbids(
        self, rule: StructuralConstraint, allowed: BitConfig, forbidden: BitConfig
    ) -> None:
        assert rule.name.isidentifier()
        assert rule.violation(allowed) <= 0.0 < rule.violation(forbidden)
