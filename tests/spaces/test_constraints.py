"""Constraint 2 of PoMQ-ViT: neither all at the lowest nor all at the highest width."""

from __future__ import annotations

import itertools

import pytest
from search_contracts import StructuralConstraintContract

from bitfront.spaces import BitConfig, Choices, EncoderBits, EncoderLayers, FormatName, NotUniform, mixed_only

LAYERS = [EncoderLayers(i, f"blocks.{i}", ("a", "b")) for i in range(2)]


def uniform(*bits: FormatName) -> BitConfig:
    return BitConfig.uniform("m", "fq-vit", LAYERS, bits)  # type: ignore[arg-type]


@pytest.mark.parametrize("bits", list(itertools.product((4, 8), repeat=3)))
def test_only_the_two_extremes_are_forbidden(bits: tuple[int, int, int]) -> None:
    low, high = mixed_only(Choices.alike((4, 8)))
    assert (low.name, high.name) == ("not_all_4bit", "not_all_8bit")
    assert (low.violation(uniform(*bits)) > 0) == (bits == (4, 4, 4))
    assert (high.violation(uniform(*bits)) > 0) == (bits == (8, 8, 8))


def test_one_layer_that_differs_is_enough() -> None:
    mixed = BitConfig(
        "m",
        "fq-vit",
        (EncoderBits(0, "blocks.0", 4, 4, 4), EncoderBits(1, "blocks.1", 4, (("a", 4), ("b", 8)), 4)),
    )
    assert NotUniform(4).violation(mixed) <= 0 < NotUniform(4).violation(uniform(4, 4, 4))


def test_the_extremes_of_other_widths() -> None:
    rules = mixed_only(Choices.alike((8, 3, 6)))
    assert [rule.name for rule in rules] == ["not_all_3bit", "not_all_8bit"]
    assert all(rule.violation(uniform(6, 6, 6)) <= 0 for rule in rules)


def test_the_extremes_of_formats() -> None:
    rules = mixed_only(Choices.alike((4, 8, "bf16")))
    assert [rule.name for rule in rules] == ["not_all_4bit", "not_all_bf16"]
    assert [rules[1].violation(uniform("bf16", "bf16", last)) for last in ("bf16", 8)] == [1.0, 0.0]


def test_kinds_with_formats_of_their_own_have_no_one_extreme() -> None:
    assert mixed_only(Choices((4, 8, "bf16"), (8, "bf16"), (8,))) == ()


class TestContract(StructuralConstraintContract):
    @pytest.fixture
    def rule(self) -> NotUniform:
        return NotUniform(4)

    @pytest.fixture
    def allowed(self) -> BitConfig:
        return uniform(4, 8, 4)

    @pytest.fixture
    def forbidden(self) -> BitConfig:
        return uniform(4, 4, 4)
