"""What is known is not evaluated; what was given up early is, where it could matter now."""

from __future__ import annotations

import dataclasses

import pytest
import synthetic_search as synthetic

from bitfront.evaluators.tasks.quality import Quality
from bitfront.search.engine.known_pool import KnownPool
from bitfront.search.engine.protocols import InlinePool
from bitfront.spaces import BitConfig


class Counting:
    """Evaluates, and remembers what."""

    def __init__(self) -> None:
        self.evaluated: list[str] = []

    def __call__(self, config: BitConfig, required: float | None = None) -> Quality:
        self.evaluated.append(config.digest)
        return synthetic.score(config, required)


@pytest.fixture
def evaluate() -> Counting:
    return Counting()


def part_of(config: BitConfig) -> Quality:
    """After 100 of 500 images: 40 points below the float model."""
    return dataclasses.replace(synthetic.score(config), images=100, lost=40, won=0)


def test_known_ones_are_ready_at_once_and_others_are_evaluated(evaluate: Counting) -> None:
    known, other = (synthetic.uniform(synthetic.space(), bits) for bits in (4, 8))
    pool = KnownPool(InlinePool(evaluate), {known.digest: synthetic.score(known)}, 500)
    assert pool.capacity == 1
    pool.submit(7, known, required=-1.0)
    pool.submit(8, other)
    assert pool.next_completed(0.0) == (7, synthetic.score(known))
    assert pool.next_completed(0.0) == (8, synthetic.score(other))
    assert pool.next_completed(0.0) is None
    assert evaluate.evaluated == [other.digest]


@pytest.mark.parametrize(("required", "again"), [(None, True), (-50.0, True), (-5.0, False)])
def test_what_was_given_up_is_evaluated_where_it_could_matter(
    evaluate: Counting, required: float | None, again: bool
) -> None:
    config = synthetic.uniform(synthetic.space(), 4)
    pool = KnownPool(InlinePool(evaluate), {config.digest: part_of(config)}, 500)
    pool.submit(1, config, required)
    key, found = pool.next_completed(0.0) or (None, None)
    assert key == 1
    assert found == (synthetic.score(config) if again else part_of(config))
    assert bool(evaluate.evaluated) == again
