"""What the cache knows is taken exactly where an evaluation would come to the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import synthetic_search as synthetic

from bitfront.evaluators.context.kept_evaluations import KeptEvaluations
from bitfront.evaluators.context.screening import growing, hopeless
from bitfront.evaluators.tasks.quality import Quality, packed
from bitfront.search.engine.engine import SearchEngine
from bitfront.search.engine.kept_pool import KeptPool, LookingOn, known_or_made
from bitfront.search.engine.protocols import InlinePool
from bitfront.search.engine.stopping import Budget
from bitfront.search.problem.spec import RunSpec
from bitfront.search.runs.study import StudyRecord
from bitfront.search.samplers.registry import make_sampler
from bitfront.spaces import BitConfig

WHOLE, FIRST, BATCH = 400, 50, 10
FLOAT = np.random.default_rng(0).random(WHOLE) < 0.9
LOOKING_ON = LookingOn(FIRST, WHOLE, BATCH, packed(FLOAT))


class Evaluator:
    """Right images that depend on the configuration alone; gives up on the way as the evaluator does."""

    def __init__(self) -> None:
        self.evaluated: list[str] = []

    def __call__(self, config: BitConfig, required: float | None = None) -> Quality:
        self.evaluated.append(config.digest)
        rng = np.random.default_rng(int(config.digest, 16))
        bits = float(synthetic.bits_of(config).mean())
        right = FLOAT & (rng.random(WHOLE) > (8 - bits) / 8)
        for stop in growing(FIRST, WHOLE, BATCH):
            found = self.of(right[:stop])
            if required is not None and hopeless(found, required):
                break
        return found

    def of(self, right: np.ndarray) -> Quality:
        base = FLOAT[: len(right)]
        lost, won = int((base & ~right).sum()), int((right & ~base).sum())
        top1 = 100.0 * float(right.mean())
        return Quality(len(right), {"top1": top1, "loss": 2.0 - top1 / 100}, lost, won, 1.0, packed(right))


@pytest.fixture
def evaluate() -> Evaluator:
    return Evaluator()


def kept() -> KeptEvaluations:
    return KeptEvaluations(None, "a" * 64, WHOLE, ())


def asked(pool: KeptPool, config: BitConfig, required: float | None) -> Quality:
    pool.submit(3, config, required)
    completed = pool.next_completed(0.0)
    assert completed is not None
    assert isinstance(completed[1], Quality)
    return completed[1]


@pytest.mark.parametrize("before", [None, -5.0, -30.0, -60.0])
@pytest.mark.parametrize("now", [None, -5.0, -30.0, -60.0])
def test_what_comes_back_is_what_an_evaluation_would_have_come_to(
    evaluate: Evaluator, before: float | None, now: float | None
) -> None:
    config = synthetic.uniform(synthetic.space(), 4)
    pool = KeptPool(InlinePool(evaluate), kept(), LOOKING_ON)
    first = asked(pool, config, before)
    again = asked(pool, config, now)
    assert again == Evaluator()(config, now)
    assert not first.known
    assert again.known == (again.images == first.images)
    assert len(evaluate.evaluated) == 2 - again.known


def test_without_right_images_only_whole_evaluations_are_told(evaluate: Evaluator) -> None:
    config = synthetic.uniform(synthetic.space(), 4)
    blind = dataclasses.replace(LOOKING_ON, float_right="")
    pool = KeptPool(InlinePool(evaluate), kept(), blind)
    asked(pool, config, None)
    assert asked(pool, config, None).known
    assert not asked(pool, config, -5.0).known
    short = dataclasses.replace(blind, first_images=WHOLE)  # nothing is given up on the way
    assert short.end(evaluate(config), -5.0) == WHOLE


def test_a_seed_leads_to_the_same_run_with_and_without_what_is_known(evaluate: Evaluator) -> None:
    problem = synthetic.problem(RunSpec(max_drop=60.0))
    shared = kept()

    def searched(seed: int, store: KeptEvaluations) -> list[object]:
        pool = KeptPool(InlinePool(evaluate), store, LOOKING_ON)
        record = StudyRecord.in_memory(problem)
        sampler = make_sampler("nsga2", problem, 8, seed)
        found = SearchEngine(problem, sampler, pool, record, Budget(40)).run()
        known.append(found.to_json()["known_evaluations"])
        assert [trial.known for trial in record.trials] == [trial.known for trial in found.trials]
        return list(found.trials)

    known: list[int] = []
    first = searched(1, shared)
    again = searched(1, shared)
    other, alone = searched(2, shared), searched(2, kept())
    assert first == again
    assert other == alone
    assert known[:2] == [0, 40]
    assert known[2] >= known[3] == 0


def test_failures_are_not_kept() -> None:
    def fail(config: BitConfig, required: float | None) -> Quality:
        raise ValueError("no")

    store, config = kept(), synthetic.uniform(synthetic.space(), 4)
    pool = KeptPool(InlinePool(fail), store, LOOKING_ON)
    for key in (1, 2):
        pool.submit(key, config)
        assert pool.next_completed(0.0) is not None
    assert len(store) == 0


def test_one_evaluation_of_a_whole_split(evaluate: Evaluator) -> None:
    store, config = kept(), synthetic.uniform(synthetic.space(), 8)
    made = [known_or_made(store, config, lambda: evaluate(config)) for _ in range(2)]
    assert [quality.known for quality in made] == [False, True]
    assert not known_or_made(None, config, lambda: evaluate(config)).known
    assert len(evaluate.evaluated) == 2


def test_the_flag_is_in_the_study(tmp_path: Path, evaluate: Evaluator) -> None:
    problem, store = synthetic.problem(RunSpec()), kept()
    genome = (0, *(int(choice) for choice in problem.space.widest[1:]))
    config = problem.space.decode(np.array(genome))
    store.add(config.digest, evaluate(config))
    record = StudyRecord.create(tmp_path, "x", RunSpec(), problem, None)
    sampler = make_sampler("random", problem, 4, 0)
    begin = [[genome]]
    SearchEngine(
        problem, sampler, KeptPool(InlinePool(evaluate), store, LOOKING_ON), record, Budget(3), (), begin
    ).run()
    read = StudyRecord.open(tmp_path, "x", RunSpec(), problem, None)
    assert [trial.known for trial in read.trials] == [True, False, False]
