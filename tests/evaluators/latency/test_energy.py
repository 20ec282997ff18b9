"""Modelled energy: by hand for one encoder, by configuration, and what profiles must say for it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from bitfront.evaluators.latency.energy import (
    energy_cost,
    energy_notes,
    energy_profile,
    picojoules,
    profiles_with_energy,
)
from bitfront.evaluators.latency.hardware_profile import profile_named
from bitfront.evaluators.latency.roofline import Operator
from bitfront.evaluators.latency.summed_cost import SummedCost
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.families import blueprint_of
from bitfront.spaces import BitConfig, SearchSpace, UserError

MINE = """
description = "a machine"
source = "made up"
bit_operations_per_second = 1e9
[energy]
source = "made up, too"
picojoules_per_weight_byte = 100
picojoules_per_activation_byte = 10
[energy.picojoules_per_mac]
float = 5
"8x8" = 1
"4x8" = 0.5
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(MINE)
    return path


@pytest.fixture
def blueprint(small_vit: object) -> Blueprint:
    return blueprint_of("small", small_vit(0))  # type: ignore[operator]


def test_an_operator_takes_its_products_and_its_bytes(mine: Path) -> None:
    figures = energy_profile(f"model:{mine}", "").energy
    assert figures is not None
    product = Operator(bits_moved=8 * 30, macs=7, operands=(8, 4), weight_bits=8 * 10)
    assert picojoules(figures, [product]) == 7 * 0.5 + 10 * 100 + 20 * 10
    assert picojoules(figures, [Operator(80)]) == 100
    # What there is no figure for takes that of the nearest pair that holds both, else of float.
    assert [float(figures.mac(pair)) for pair in ((4, 4), (2, 8), (16, 16), None)] == [0.5, 0.5, 5.0, 5.0]


def test_the_energy_of_a_model_is_that_of_its_products_and_data(blueprint: Blueprint, mine: Path) -> None:
    """Against an independent count: shapes of the test model of 3 encoders, 17 tokens, 32 channels."""
    profile = energy_profile(f"model:{mine}", "")
    cost = energy_cost(profile, blueprint, (8,), "fq-vit")
    tokens, channels, hidden, classes, patches = 17, 32, 128, 7, 16
    linear = channels * (3 * channels + channels + 2 * hidden)
    attention = 2 * tokens * tokens * channels
    macs = 3 * (tokens * linear + attention) + patches * 48 * channels + channels * classes
    weights = 3 * linear + 48 * channels + channels * classes
    heads = 2
    norms = 2 * 2 * tokens * channels  # each reads the stream and writes codes
    stream = 2 * 2 * tokens * channels  # both branches read and write it
    layers = (
        tokens * (channels + 3 * channels)
        + tokens * channels
        + tokens * (channels + hidden)
        + tokens * hidden
    )
    products = (2 * tokens * channels + heads * tokens**2) + (heads * tokens**2 + 2 * tokens * channels)
    outer = patches * (48 + channels) + 2 * channels + (channels + 4 * classes)
    activations = 3 * (norms + stream + layers + products) + outer
    expected = (macs + 100 * weights + 10 * activations) / 1e9
    config = BitConfig.uniform("small", "fq-vit", blueprint.encoder_layers(), (8, 8, 8))
    assert cost.of(config) == pytest.approx(expected, rel=1e-12)
    assert cost.float_value > 3 * cost.of(config)


def test_narrow_weights_take_less_and_batches_share_them(blueprint: Blueprint) -> None:
    profile = profile_named("horowitz45")
    cost = energy_cost(profile, blueprint, (4, 8), "fq-vit")
    encoders = blueprint.encoder_layers()
    whole, narrow, both = (
        cost.of(BitConfig.uniform("small", "fq-vit", encoders, bits))
        for bits in ((8, 8, 8), (4, 8, 8), (4, 4, 4))
    )
    assert cost.float_value > whole > narrow > both > 0.0
    space = SearchSpace("small", "fq-vit", encoders, (4, 8), "encoder-kind")
    assert cost.least(space) == pytest.approx(both)
    shared = energy_cost(profile, blueprint, (4, 8), "fq-vit", batch=8)
    assert shared.float_value < cost.float_value
    layers = SearchSpace("small", "fq-vit", encoders, (4, 8), "layer")
    mixed = layers.decode(layers.sample(np.random.default_rng(0), 1)[0])
    assert both < cost.of(mixed) < whole


def test_it_is_written_and_read_again(blueprint: Blueprint) -> None:
    cost = energy_cost(profile_named("horowitz45"), blueprint, (4, 8), "fq-vit")
    assert SummedCost.from_json(cost.to_json()) == cost
    for damage in ({"format": "x"}, {"entries": [["a", [8, 8], 1.0]]}, {"rest": "much"}):
        with pytest.raises((KeyError, TypeError, ValueError)):
            SummedCost.from_json({**cost.to_json(), **damage})


@pytest.mark.parametrize(
    ("asked", "latency", "message"),
    [
        ("", "measured:torch", "energy needs a hardware profile: give --energy model:horowitz45"),
        ("", "model:a100", "profile a100 has no energies, as no source says them: give --energy model:hor"),
        ("measured:torch", "model:bops", "--energy 'measured:torch' is no hardware profile"),
        ("model:bops", "model:horowitz45", "profile bops has no energies"),
        ("model:none", "", "unknown latency profile 'model:none'"),
    ],
)
def test_what_has_no_energies_is_told_in_one_line(asked: str, latency: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        energy_profile(asked, latency)
    assert "\n" not in str(caught.value)


def test_the_profile_of_latency_is_taken() -> None:
    profile = energy_profile("", "model:horowitz45")
    assert profile.name == "horowitz45"
    assert profiles_with_energy() == ("horowitz45",)
    (note,) = energy_notes(profile)
    assert "modelled, not measured" in note
    assert "ISSCC 2014" in note


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('source = "made up, too"', "", "energy.source is missing"),
        ("picojoules_per_weight_byte = 100", "", "energy.picojoules_per_weight_byte is None"),
        ("picojoules_per_weight_byte = 100", "picojoules_per_weight_byte = -1", "give a number above 0"),
        ("float = 5", "", "needs float and at least one pair"),
        ('"8x8" = 1', '"8by8" = 1', "energy.picojoules_per_mac.8by8 is unknown"),
        ('"8x8" = 1', '"8x4" = 1', "energy.picojoules_per_mac has 4x8 twice"),
        ("[energy]", "[energy]\nwatts = 1", "energy.watts is unknown"),
    ],
)
def test_what_is_wrong_with_a_profile_is_named(mine: Path, old: str, new: str, message: str) -> None:
    mine.write_text(MINE.replace(old, new, 1) if "source" not in old else MINE.replace(old, new))
    with pytest.raises(UserError, match=re.escape(message)):
        profile_named(str(mine))
