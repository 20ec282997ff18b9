"""Assignments by thresholds: what is asked for, and what it comes to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.search.session.assignment import Assignment, AssignmentRequest, assign
from bitfront.search.session.specs import config_spec
from bitfront.spaces import BitConfig, SearchSpace, UserError


@pytest.fixture(scope="module")
def context() -> EvaluationContext:
    spec = EvaluationSpec(
        model="digits_deit",
        scheme="fq-vit",
        recipe="fq-vit",
        widths=(4, 6, 8),
        calibration_images=16,
        search_images=64,
        batch_size=64,
        threads=1,
        first_images=64,
    )
    return EvaluationContext.from_spec(spec)


@pytest.fixture(scope="module")
def space(context: EvaluationContext) -> SearchSpace:
    return SearchSpace("digits_deit", "fq-vit", context.encoders, (4, 6, 8), "encoder")


VALUES = np.arange(12.0)[::-1].copy()


def assigned(context: EvaluationContext, space: SearchSpace, text: str) -> Assignment:
    return assign(context, space, VALUES, AssignmentRequest.read(text))


def widths_of(config: BitConfig) -> list[Any]:
    return [encoder.weights for encoder in config.encoders]


def test_shares_of_genes_have_each_width(context: EvaluationContext, space: SearchSpace) -> None:
    found = assigned(context, space, "0.25,0.5")
    assert widths_of(found.config) == [8] * 6 + [6] * 3 + [4] * 3
    assert found.thresholds == (2.0, 5.0)
    assert found.evaluations == 0


def test_a_size_is_met_by_the_widest_within_it(context: EvaluationContext, space: SearchSpace) -> None:
    sizes = {bits: context.size.size_bytes(uniform(context, bits)) for bits in (4, 8)}
    largest = (sizes[4] + sizes[8]) // 2
    found = assigned(context, space, f"size={largest / 1e3:.3f}KB")
    assert found.size_bytes <= largest
    assert found.size_bytes > largest - (sizes[8] - sizes[4]) / 12
    share = largest / context.size.float_bytes()
    assert assigned(context, space, f"size={share:.6f}x").config == found.config
    bits = widths_of(found.config)
    assert bits == sorted(bits, reverse=True)
    with pytest.raises(UserError, match="the smallest assignment has"):
        assigned(context, space, "size=0.01x")


def uniform(context: EvaluationContext, bits: int) -> BitConfig:
    return BitConfig.uniform("digits_deit", "fq-vit", context.encoders, (bits,) * 3)


def test_a_drop_is_met_by_bisection(context: EvaluationContext, space: SearchSpace) -> None:
    found = assigned(context, space, "drop=3")
    assert found.evaluations <= 6
    quality = context.quality(found.config)
    if found.drop is not None:
        assert found.drop == pytest.approx(-quality.against_float.difference)
    assert -quality.against_float.difference <= 3.0


def test_the_document_says_how_to_evaluate_it(context: EvaluationContext, space: SearchSpace) -> None:
    found = assigned(context, space, "0,1")
    document = found.document(context, space)
    assert document["provenance"]["assigned"]["thresholds"] == [None, 11.0]
    assert BitConfig.from_json(document) == found.config
    spec = config_spec(document)
    assert (spec.model, spec.recipe, spec.widths) == ("digits_deit", "fq-vit", (6,))


@pytest.mark.parametrize("text", ["half", "size=", "size=big", "drop=-1", "drop=x", "rank=3"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="is no assignment: give shares such as"):
        AssignmentRequest.read(text)
