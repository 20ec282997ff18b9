"""The problem that a spec states on the embedded model's own costs: limits that can be met are accepted."""

from __future__ import annotations

import dataclasses
import itertools
import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.latency.costs import ModelCosts
from bitfront.evaluators.latency.hardware_profile import profile_named
from bitfront.evaluators.latency.roofline import model_table
from bitfront.evaluators.latency.table import TableLatency, timed_encoders
from bitfront.evaluators.models.families import blueprint_of
from bitfront.evaluators.models.loading import load_model
from bitfront.evaluators.models.sites import trace_sites
from bitfront.evaluators.packed.layout import SizeModel
from bitfront.evaluators.preparation.recipes import RECIPES
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.references import Reference, References
from bitfront.search.problem.spec import RunSpec
from bitfront.spaces import BitConfig, EncoderLayers, SearchSpace, UserError, triples

OBJECTIVES = ("top1", "size")
MODEL, SCHEME, WIDTHS = "digits_deit", "fq-vit", (4, 8)


@pytest.fixture(scope="module")
def layers() -> list[EncoderLayers]:
    blueprint = blueprint_of(MODEL, load_model(MODEL).module)
    return [EncoderLayers(i, e.name, tuple(e.linear())) for i, e in enumerate(blueprint.encoders)]


@pytest.fixture(scope="module")
def costs() -> ModelCosts:
    blueprint = blueprint_of(MODEL, load_model(MODEL).module)
    table = model_table(profile_named("bops"), blueprint, WIDTHS, SCHEME)
    size = SizeModel(blueprint, trace_sites(blueprint, SCHEME), SCHEME, RECIPES["best"])
    return ModelCosts(TableLatency(table, timed_encoders(blueprint), triples(WIDTHS)), size)


def problem_of(costs: ModelCosts, layers: list[EncoderLayers], **options: Any) -> SearchProblem:
    spec = RunSpec(evaluation=EvaluationSpec(model="digits_deit", scheme="fq-vit", widths=WIDTHS), **options)
    eight = BitConfig.uniform(MODEL, SCHEME, layers, (8, 8, 8))
    references = References(
        Reference("float32", costs.float_latency_ms, costs.float_size_bytes, {"top1": 95.0}, classes=10),
        Reference("W8A8T8", costs.latency_ms(eight), costs.size_bytes(eight), {"top1": 95.0}),
    )
    space = SearchSpace(MODEL, SCHEME, layers, WIDTHS, spec.space, spec.fixed)
    return SearchProblem.from_spec(spec, space, costs, references)


def admissible(problem: SearchProblem, config: BitConfig) -> bool:
    return problem.prepare([int(index) for index in problem.space.encode(config)]).admissible


def test_the_smallest_configuration_can_be_asked_for(costs: ModelCosts, layers: list[EncoderLayers]) -> None:
    problem = problem_of(costs, layers, max_size="0.128MB")
    smallest = BitConfig.uniform(MODEL, SCHEME, layers, (4, 8, 8))
    assert costs.size_bytes(smallest) == 127_666
    assert admissible(problem, smallest)
    assert problem.box.ideal[2] == 127_666
    with pytest.raises(UserError, match=r"nearest achievable .* is 127,666 bytes; raise --max-size$"):
        problem_of(costs, layers, max_size="127kB")


def test_activations_and_attention_can_be_searched_with_weights_of_8_bits(
    costs: ModelCosts, layers: list[EncoderLayers]
) -> None:
    problem = problem_of(costs, layers, hold="W8")
    largest = BitConfig.uniform(MODEL, SCHEME, layers, (8, 4, 4))
    limit = next(limit for limit in problem.limits if limit.name == "at_most_8bit_size")
    assert (
        limit.threshold
        == costs.size_bytes(largest)
        > costs.size_bytes(BitConfig.uniform(MODEL, SCHEME, layers, (8, 8, 8)))
    )
    for activations, attention in itertools.product(WIDTHS, WIDTHS):
        config = BitConfig.uniform(MODEL, SCHEME, layers, (8, activations, attention))
        assert admissible(problem, config) == ((activations, attention) != (8, 8)), config
    genomes = problem.space.sample(np.random.default_rng(0), 20)
    found = [problem.prepare([int(index) for index in genome]) for genome in genomes]
    assert all(candidate.admissible for candidate in found)
    points = [(-90.0, each.values["latency_ms"], each.values["size_bytes"]) for each in found]
    assert problem.box.share(points) > 0.0


def test_the_8_bit_size_stays_the_bound_where_it_can_be_met(
    costs: ModelCosts, layers: list[EncoderLayers]
) -> None:
    eight = costs.size_bytes(BitConfig.uniform(MODEL, SCHEME, layers, (8, 8, 8)))
    for options in ({}, {"hold": "A4"}, {"hold": "A8T8"}, {"space": "layer"}):
        problem = problem_of(costs, layers, **options)
        limit = next(limit for limit in problem.limits if limit.name == "at_most_8bit_size")
        assert limit.threshold == problem.box.reference[2] == eight


@pytest.mark.parametrize(
    ("lifted", "left"),
    [
        ({}, {"faster_than_float", "at_most_8bit_size"}),
        ({"allow_slower": True}, {"at_most_8bit_size"}),
        ({"allow_larger": True}, {"faster_than_float"}),
        ({"allow_slower": True, "allow_larger": True}, set()),
    ],
)
def test_constraints_3_and_4_can_be_lifted(
    synthetic: ModuleType, lifted: dict[str, bool], left: set[str]
) -> None:
    problem = synthetic.problem(RunSpec(objectives=OBJECTIVES, max_latency="2x", **lifted))
    assert {limit.name for limit in problem.limits} == {"max_latency", *left}
    candidate = problem.prepare([0, 1] * (len(problem.space) // 2))
    assert left <= candidate.violations.keys()
    assert not {"faster_than_float", "at_most_8bit_size"} - left & candidate.violations.keys()


def test_a_space_that_is_slower_throughout_can_be_searched_for_its_sizes(
    synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthetic.Cost, "minimum_latency_ms", lambda self, space, *_: 30.0)
    monkeypatch.setattr(synthetic.Cost, "latency_ms", lambda self, config: 30.0)
    spec = RunSpec(objectives=OBJECTIVES)
    references = synthetic.references(synthetic.space())
    assert references.float_model.latency_ms < 30.0
    with pytest.raises(UserError, match=r"constraint 3 .* or with --allow-slower"):
        synthetic.problem(spec)
    problem = synthetic.problem(RunSpec(objectives=OBJECTIVES, allow_slower=True))
    assert problem.prepare([0, 1] * (len(problem.space) // 2)).admissible


def test_a_metric_that_the_images_do_not_define_is_refused(synthetic):
    space = synthetic.space()
    found = synthetic.references(space)
    values = {**found.float_model.values, "sensitivity:7": math.nan}
    base = dataclasses.replace(found.float_model, values=values)
    for spec in (RunSpec(objectives="sensitivity:7,size"), RunSpec(min_metric="sensitivity:7=90")):
        with pytest.raises(UserError, match="sensitivity of 7 is not defined on the 500 search images"):
            SearchProblem.from_spec(spec, space, synthetic.Cost(), References(base, found.eight_bit))
