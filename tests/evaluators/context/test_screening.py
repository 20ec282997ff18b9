"""Looking at a part of the images first."""

from __future__ import annotations

import dataclasses

import pytest

from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.screening import first_images, growing, hopeless
from bitfront.evaluators.tasks.quality import Quality
from bitfront.spaces import BitConfig


def quality(images: int, lost: int, won: int) -> Quality:
    return Quality(images, {"top1": 90.0}, lost, won, 1.0)


@pytest.mark.parametrize(("whole", "first"), [(10, 10), (511, 511), (512, 256), (1000, 256), (8000, 512)])
def test_a_first_look_is_worth_it_where_there_are_many_images(whole: int, first: int) -> None:
    assert first_images(whole) == first


@pytest.mark.parametrize(
    ("first", "whole", "batch", "steps"),
    [
        (100, 100, 8, [100]),
        (25, 100, 8, [32, 64, 100]),
        (512, 6400, 32, [512, 1024, 2048, 4096, 6400]),
        (32, 64, 8, [32, 64]),
        (3, 10, 64, [10]),
    ],
)
def test_steps_double_and_end_with_whole_batches(
    first: int, whole: int, batch: int, steps: list[int]
) -> None:
    assert list(growing(first, whole, batch)) == steps


def test_hopeless_is_what_lies_two_standard_errors_lower() -> None:
    assert hopeless(quality(400, 60, 4), required=-5.0)
    assert not hopeless(quality(400, 60, 4), required=-11.0)
    assert not hopeless(quality(400, 0, 0), required=0.4), "no image changed among 400 is no proof"
    assert hopeless(quality(400, 0, 0), required=3.0)


class TestContext:
    def narrow(self, context: EvaluationContext) -> BitConfig:
        return BitConfig.uniform(context.spec.model, context.spec.scheme, context.encoders, (4, 4, 4))

    def screening(self, context: EvaluationContext) -> EvaluationContext:
        return dataclasses.replace(
            context, spec=dataclasses.replace(context.spec, batch_size=32, first_images=64)
        )

    def test_a_hopeless_candidate_costs_the_first_images_alone(
        self, digits_context: EvaluationContext
    ) -> None:
        context = self.screening(digits_context)
        found, whole = (context.quality(self.narrow(context), required=required) for required in (50.0, None))
        assert (found.images, whole.images) == (64, 359)
        assert found["kl"] != whole["kl"]

    def test_a_contender_is_judged_as_if_at_once(self, digits_context: EvaluationContext) -> None:
        context = self.screening(digits_context)
        config = self.narrow(context)
        grown, at_once = (
            dataclasses.replace(context.quality(config, required=required), seconds=0.0)
            for required in (-50.0, None)
        )
        assert grown == at_once
