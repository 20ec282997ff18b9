"""Layers that a prepared model gives back, and layers that it is given."""

from __future__ import annotations

import dataclasses
from functools import cache

import pytest
import torch
from quantized_cases import WIDTHS, config_of, small_case

from bitfront.evaluators.preparation.calibrated_model import CalibratedModel
from bitfront.evaluators.preparation.layer_fit import FittedLayer
from bitfront.evaluators.preparation.recipes import recipe_named
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.quantizers.weights import quantize_weight
from bitfront.spaces import SCHEMES, BitfrontError, UserError

LAYERS = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")


@cache
def calibrated(name: str, scheme: str, recipe: str) -> CalibratedModel:
    return small_case(name, 64).calibrated(scheme, recipe_named(recipe))


def prepared(name: str, scheme: str, recipe: str, **options: object) -> PreparedModel:
    found = calibrated(name, scheme, recipe)
    return PreparedModel(
        found.blueprint,
        found.calibration,
        scheme,
        WIDTHS,
        "mse",
        found.layers,
        found.log_steps,
        **options,  # type: ignore[arg-type]
    )


def same(one: FittedLayer, other: FittedLayer) -> bool:
    weights = (one.weight.codes, one.weight.scales), (other.weight.codes, other.weight.scales)
    return all(map(torch.equal, *weights)) and torch.equal(one.bias, other.bias)


@pytest.mark.parametrize("name", ["distilled", "swin"])
def test_layers_come_back(name: str) -> None:
    found = prepared(name, "deploy", "best", keep_codes=True)
    fitted = calibrated(name, "deploy", "best").layers
    assert len(fitted) == 4 * 4 * len(found.blueprint.encoders)
    for key, layer in fitted.items():
        assert found.fitted(*key) is layer


def test_layers_that_no_recipe_fits_are_rounded() -> None:
    found = prepared("vit", "fq-vit", "fq-vit", keep_codes=True)
    parts = found.blueprint.encoders[1].linear()
    for layer in LAYERS:
        for bits in WIDTHS:
            expected = FittedLayer(quantize_weight(parts[layer].weight, bits), parts[layer].bias)
            assert all(same(found.fitted(1, layer, bits, activations), expected) for activations in WIDTHS)


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("distilled", ["patch_embed", "head.0", "head.1"]),
        ("swin", ["patch_embed", "layers.1.downsample.reduction", "head.0"]),
    ],
)
def test_outer_layers_come_back(name: str, names: list[str]) -> None:
    found = prepared(name, "deploy", "best", keep_codes=True)
    assert list(found.blueprint.outer()) == names
    for outer, parts in found.blueprint.outer().items():
        expected = FittedLayer(quantize_weight(parts.weight, 8), parts.bias)
        assert same(found.fitted_outer(outer), expected)


def test_codes_are_kept_on_request_alone() -> None:
    found = prepared("vit", "deploy", "fq-vit")
    for ask in (lambda: found.fitted(0, "attn.qkv", 8, 8), lambda: found.fitted_outer("patch_embed")):
        with pytest.raises(BitfrontError, match="were not kept: prepare the model with keep_codes=True"):
            ask()


def test_what_there_is_not_is_named() -> None:
    found = prepared("vit", "deploy", "fq-vit", keep_codes=True)
    with pytest.raises(BitfrontError, match=r"vit was prepared without layer head\.1"):
        found.fitted_outer("head.1")
    with pytest.raises(
        BitfrontError, match=r"layer attn\.qkv of encoder 1 at 3-bit weights and 8-bit inputs"
    ):
        found.fitted(1, "attn.qkv", 3, 8)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["distilled", "swin"])
def test_outer_layers_are_taken_as_they_are_given(name: str, scheme: str) -> None:
    rounded = prepared(name, scheme, "fq-vit", keep_codes=True)
    layers = {outer: rounded.fitted_outer(outer) for outer in rounded.blueprint.outer()}
    images = torch.randn(2, *rounded.blueprint.image_shape, generator=torch.Generator().manual_seed(5))
    config = config_of(rounded.blueprint, scheme, (8, 8, 8))
    logits = rounded.assemble(config)(images)
    again = prepared(name, scheme, "fq-vit", outer=layers)
    assert torch.equal(again.assemble(config)(images), logits)
    for outer, layer in layers.items():
        shifted = {**layers, outer: FittedLayer(layer.weight, layer.bias + 1.0)}
        moved = prepared(name, scheme, "fq-vit", outer=shifted, keep_codes=True)
        assert moved.fitted_outer(outer) is shifted[outer]
        assert not torch.equal(moved.assemble(config)(images), logits), outer


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["registers", "swin"])
def test_what_files_store_in_four_bytes_is_a_float32_number(name: str, scheme: str) -> None:
    found = calibrated(name, scheme, "best")
    numbers = [grid.scale for grid in found.calibration.affine.values()]
    numbers += [grid.scale for grid in found.calibration.power_of_two.values()]
    numbers += [*found.log_steps.values()]
    for encoder in found.blueprint.encoders:
        numbers += encoder.score_scales.tolist()
    assert torch.tensor(numbers, dtype=torch.float32).tolist() == numbers
    assert len(set(numbers)) > 20


def test_a_refined_model_is_of_its_configuration_alone() -> None:
    blueprint = calibrated("vit", "deploy", "fq-vit").blueprint
    only, other = (config_of(blueprint, "deploy", bits) for bits in ((4, 8, 8), (8, 8, 8)))
    found = prepared("vit", "deploy", "fq-vit", only=only)
    found.assemble(only)
    found.assemble(dataclasses.replace(only, model="the same in another place"))
    with pytest.raises(UserError, match=f"refined for configuration {only.digest}, not for {other.digest}"):
        found.assemble(other)
