"""The least and greatest costs of spaces against those of all their configurations."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from bitfront.evaluators.latency.costs import ModelCosts
from bitfront.evaluators.latency.hardware_profile import profile_named
from bitfront.evaluators.latency.roofline import model_table
from bitfront.evaluators.latency.table import (
    Latency,
    LatencyTable,
    TableLatency,
    encoder_shape,
    timed_encoders,
)
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.families import blueprint_of
from bitfront.evaluators.models.loading import load_model
from bitfront.evaluators.models.sites import trace_sites
from bitfront.evaluators.packed.layout import SizeModel
from bitfront.evaluators.preparation.recipes import RECIPES
from bitfront.spaces import (
    BitConfig,
    Choices,
    EncoderLayers,
    Kind,
    NotUniform,
    SearchSpace,
    StructuralConstraint,
    mixed_only,
    triples,
)

Fixed = tuple[tuple[Kind, int], ...]
W8: Fixed = (("weights", 8),)
A4: Fixed = (("activations", 4),)


def layers_of(blueprint: Blueprint) -> list[EncoderLayers]:
    return [EncoderLayers(i, e.name, tuple(e.linear())) for i, e in enumerate(blueprint.encoders)]


def costs_of(blueprint: Blueprint, widths: tuple[int, ...], recipe: str, seed: int) -> ModelCosts:
    """Sizes of a model, and latencies drawn at random."""
    rng = np.random.default_rng(seed)
    encoders = {
        (shape, triple): Latency(float(rng.uniform(1.0, 2.0)))
        for shape in {encoder_shape(encoder) for encoder in blueprint.encoders}
        for triple in triples(widths)
    }
    table = LatencyTable(encoders, Latency(0.7), Latency(9.0), 1, "drawn")
    size = SizeModel(blueprint, trace_sites(blueprint, "fq-vit"), "fq-vit", RECIPES[recipe])
    return ModelCosts(TableLatency(table, timed_encoders(blueprint), triples(widths)), size)


def configurations(space: SearchSpace, rules: tuple[StructuralConstraint, ...]) -> list[BitConfig]:
    """All that satisfy the rules."""
    every = itertools.product(*map(range, space.sizes))
    configs = [space.decode(np.array(genome)) for genome in every]
    return [config for config in configs if all(rule.violation(config) <= 0 for rule in rules)]


@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize(
    ("granularity", "encoders", "widths", "fixed"),
    [
        ("encoder", 3, (4, 8), ()),
        ("encoder", 1, (3, 4, 8), ()),
        ("encoder-kind", 2, (4, 8), ()),
        ("encoder-kind", 1, (2, 3, 5, 8), ()),
        ("encoder-kind", 3, (4, 8), W8),
        ("encoder-kind", 3, (4, 8), A4),
        ("layer", 1, (4, 8), ()),
        ("layer", 2, (4, 8), A4 + W8),
        ("layer", 1, (3, 4, 8), W8),
    ],
)
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_least_is_that_of_all_configurations(
    blueprint: Blueprint,
    recipe: str,
    granularity: str,
    encoders: int,
    widths: tuple[int, ...],
    fixed: Fixed,
    mixed: bool,
) -> None:
    part = dataclasses.replace(blueprint, encoders=blueprint.encoders[:encoders])
    costs = costs_of(part, widths, recipe, seed=encoders)
    space = SearchSpace("small", "fq-vit", layers_of(part), widths, granularity, fixed)  # type: ignore[arg-type]
    rules = mixed_only(space.choices) if mixed else ()
    allowed = configurations(space, rules)
    assert len(allowed) > 0
    sizes = [costs.size_bytes(config) for config in allowed]
    assert costs.minimum_size_bytes(space, rules) == min(sizes)
    assert costs.maximum_size_bytes(space) == max(map(costs.size_bytes, configurations(space, ())))
    times = [costs.latency_ms(config) for config in allowed]
    assert costs.minimum_latency_ms(space, rules) == pytest.approx(min(times), rel=1e-12)


def monotonous(bits: tuple[int, int, int]) -> float:
    """Milliseconds for which the lowest widths are the least, so that constraint 2 forbids the least."""
    weights, activations, attention = bits
    return 1.0 + 0.1 * weights + 0.03 * activations + 0.02 * attention + 0.001 * weights * attention


@pytest.mark.parametrize(("granularity", "encoders"), [("encoder", 3), ("encoder-kind", 2), ("layer", 1)])
def test_where_the_quickest_is_uniform_the_least_change_counts(
    blueprint: Blueprint, granularity: str, encoders: int
) -> None:
    part = dataclasses.replace(blueprint, encoders=blueprint.encoders[:encoders])
    shapes = {encoder_shape(encoder) for encoder in part.encoders}
    times = {(shape, bits): Latency(monotonous(bits)) for shape in shapes for bits in triples((4, 8))}
    table = LatencyTable(times, Latency(0.7), Latency(9.0), 1, "drawn")
    costs = ModelCosts(
        TableLatency(table, timed_encoders(part), triples((4, 8))),
        SizeModel(part, trace_sites(part, "fq-vit"), "fq-vit"),
    )
    space = SearchSpace("small", "fq-vit", layers_of(part), (4, 8), granularity)  # type: ignore[arg-type]
    rules = mixed_only(Choices.alike((4, 8)))
    least = min(map(costs.latency_ms, configurations(space, rules)))
    assert costs.minimum_latency_ms(space, rules) == pytest.approx(least, rel=1e-12)
    assert costs.minimum_latency_ms(space) < least
    # Without a recipe the smallest is uniform, too.
    smallest = min(map(costs.size_bytes, configurations(space, rules)))
    assert costs.minimum_size_bytes(space, rules) == smallest >= costs.minimum_size_bytes(space)


def test_rules_that_nothing_satisfies_are_left_out_of_account(blueprint: Blueprint) -> None:
    part = dataclasses.replace(blueprint, encoders=blueprint.encoders[:1])
    costs = costs_of(part, (4, 8), "best", seed=0)
    space = SearchSpace("small", "fq-vit", layers_of(part), (4, 8), "encoder")
    rules = (NotUniform(4), NotUniform(8))
    assert configurations(space, rules) == []
    assert costs.minimum_size_bytes(space, rules) == costs.minimum_size_bytes(space)
    assert costs.minimum_latency_ms(space, rules) == costs.minimum_latency_ms(space)


def test_the_embedded_model_is_smallest_with_wide_activations() -> None:
    blueprint = blueprint_of("digits_deit", load_model("digits_deit").module)
    layers, widths = layers_of(blueprint), (4, 8)
    table = model_table(profile_named("bops"), blueprint, widths, "fq-vit")
    size = SizeModel(blueprint, trace_sites(blueprint, "fq-vit"), "fq-vit", RECIPES["best"])
    costs = ModelCosts(TableLatency(table, timed_encoders(blueprint), triples(widths)), size)
    wide, narrow = (BitConfig.uniform("digits_deit", "fq-vit", layers, (4, a, a)) for a in (8, 4))
    for granularity in ("encoder-kind", "layer"):
        space = SearchSpace("digits_deit", "fq-vit", layers, widths, granularity)  # type: ignore[arg-type]
        least = costs.minimum_size_bytes(space, mixed_only(space.choices))
        assert least == costs.size_bytes(wide) == 127_666
        assert least < costs.size_bytes(narrow) == 128_810
