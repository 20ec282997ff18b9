"""One-flip sensitivities, against evaluations of the same configurations."""

from __future__ import annotations

import numpy as np
import pytest

from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.sensitivity.gene_scores import GeneScores, gene_scores
from bitfront.evaluators.sensitivity.one_flip import OneFlip, one_flips
from bitfront.spaces import SearchSpace


@pytest.fixture(scope="module")
def context() -> EvaluationContext:
    spec = EvaluationSpec(
        model="digits_deit",
        scheme="fq-vit",
        calibration_images=24,
        search_images=64,
        batch_size=64,
        threads=1,
        first_images=64,
    )
    return EvaluationContext.from_spec(spec)


@pytest.fixture(scope="module")
def space(context: EvaluationContext) -> SearchSpace:
    return SearchSpace("digits_deit", "fq-vit", context.encoders, (4, 8), "encoder")


@pytest.fixture(scope="module")
def flips(context: EvaluationContext, space: SearchSpace) -> tuple[OneFlip, ...]:
    return one_flips(context, space)


@pytest.fixture(scope="module")
def scores(context: EvaluationContext, space: SearchSpace) -> GeneScores:
    return gene_scores(context, space)


def test_changes_are_those_of_evaluations(
    context: EvaluationContext, space: SearchSpace, flips: tuple[OneFlip, ...]
) -> None:
    widest = np.ones(12, dtype=np.int64)
    base = context.quality(space.decode(widest))
    for position in (0, 7):
        genome = widest.copy()
        genome[position] = 0
        flipped, found = context.quality(space.decode(genome)), flips[position]
        assert found.name == space.gene_names[position]
        assert found.loss == pytest.approx(flipped["loss"] - base["loss"])
        assert found.distance == pytest.approx(flipped["kl"] - base["kl"])
        assert found.counted.difference == pytest.approx(flipped["top1"] - base["top1"])
        assert found.counted.images == 64
        assert found.divergence > 0.0
    assert [flip.name for flip in flips] == list(space.gene_names)


def test_progress_ends_with_the_last_evaluation(context: EvaluationContext) -> None:
    pair = SearchSpace("digits_deit", "fq-vit", context.encoders, (4, 8), "encoder")
    shares: list[float] = []
    one_flips(context, pair, shares.append)
    assert shares == sorted(shares)
    assert (len(shares), shares[-1]) == (12, 12 / 13)


def test_one_pass_of_gradients_ranks_encoders_as_evaluations_do(
    flips: tuple[OneFlip, ...], scores: GeneScores
) -> None:
    measured, estimated = [flip.divergence for flip in flips], scores.additive[:, 0]
    assert (estimated > 0).all()
    ranks = [np.argsort(np.argsort(values)) for values in (measured, estimated)]
    assert np.corrcoef(*ranks)[0, 1] > 0.7


def test_scores_are_the_same_again_and_progress_is_told(
    context: EvaluationContext, space: SearchSpace, scores: GeneScores
) -> None:
    shares: list[float] = []
    again = gene_scores(context, space, shares.append)
    np.testing.assert_array_equal(again.moments, scores.moments)
    assert shares[-1] == 1.0
