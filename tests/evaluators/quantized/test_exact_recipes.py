"""What the evaluator computes with a recipe is what the reference computes from the same codes and biases."""

from __future__ import annotations

import functools

import pytest
import torch
from quantized_cases import Bits, small_case
from quantized_comparison import KERNELS, Comparison, Deviations
from quantized_taps import Tapped, stages_of

from bitfront.evaluators.preparation.layer_fit import FITTING
from bitfront.evaluators.preparation.recipes import RECIPES
from bitfront.spaces import SCHEMES

ASSIGNMENTS: tuple[Bits, ...] = ((4, 4, 4), (4, 8, 8), (8, 4, 4), "mixed 1")
LEVELLED = {"norm1", "attn.qkv", "attn.context", "norm2", "mlp.gelu"}
# Models of different seeds whose deviations are pooled: flips of ties are few and large.
SEEDS = 4


@functools.cache
def comparison(
    name: str, scheme: str, kernels: str = "cpu", seed: int = 0, images: int = 24, recipe: str = "best"
) -> Comparison:
    return Comparison(small_case(name, images, seed), scheme, kernels, recipe=recipe)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["vit", "norm before", "swin"])
@pytest.mark.parametrize("bits", ASSIGNMENTS, ids=str)
def test_every_stage_agrees_on_equal_inputs(name: str, scheme: str, kernels: str, bits: Bits) -> None:
    tapped = Tapped(comparison(name, scheme, kernels), bits)
    for index in range(len(tapped.reference.blueprint.encoders)):
        for site, (stage, taken) in stages_of(tapped.reference, index).items():
            assert tapped.agrees(site, stage(index, *(tapped[s] for s in taken))), site


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["vit", "swin"])
def test_every_stage_agrees_with_minifloats(name: str, scheme: str, kernels: str) -> None:
    compared = comparison(name, scheme, kernels, recipe="runtime")
    tapped = Tapped(compared, (8, 4, 4))
    for index, encoder in enumerate(tapped.reference.blueprint.encoders):
        for site, (stage, taken) in stages_of(tapped.reference, index).items():
            assert tapped.agrees(site, stage(index, *(tapped[s] for s in taken))), site
        for site in ("attn.softmax", "mlp.gelu"):
            grid = compared.calibrated.calibration.affine[f"{encoder.name}.{site}", 4]
            codes = tapped[f"{encoder.name}.{site}"].unique()
            assert 4 < len(codes) <= 16
            assert set(codes.long().tolist()) <= set(grid.codes.tolist())


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["vit", "swin"])
def test_the_recipe_is_in_what_is_compared(name: str, scheme: str) -> None:
    """Nothing above would fail if levels, bases, score scales and fitted layers were not there at all."""
    compared = comparison(name, scheme)
    calibrated, encoders = compared.calibrated, range(len(compared.calibrated.blueprint.encoders))
    narrow = Tapped(compared, (4, 4, 4))
    for encoder in calibrated.blueprint.encoders:
        assert len(set(encoder.score_scales.tolist())) == encoder.heads
        for site in LEVELLED:
            levels = calibrated.calibration.codebooks[f"{encoder.name}.{site}", 4]
            codes = narrow[f"{encoder.name}.{site}"].unique()
            assert 4 < len(codes) <= 16
            assert set(codes.long().tolist()) <= set(levels.tolist())
            assert codes.max() > 15
    assert set(calibrated.log_steps) == set(encoders)
    assert any(step < 1.0 for step in calibrated.log_steps.values())
    assert len(calibrated.layers) == len(encoders) * 4 * 2 * 2
    layer = compared.calibrated.layers[0, "mlp.fc1", 4, 4]
    assert not torch.equal(layer.bias, calibrated.blueprint.encoders[0].fc1.bias)
    assert not torch.equal(layer.weight.codes, calibrated.layers[0, "mlp.fc1", 4, 8].weight.codes)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["vit", "swin"])
def test_whole_networks_deviate_no_more_than_float_fake_quantization(name: str, scheme: str) -> None:
    compared = [comparison(name, scheme, seed=seed, images=48) for seed in range(SEEDS)]
    found = Deviations.pooled(
        c.deviations(bits, 48).as_one_sample(c.spread()) for c in compared for bits in ASSIGNMENTS
    )
    # In standard deviations of the logits between images.
    assert 0 < found.noise.mean() < 0.01
    assert found.evaluator.mean() < 0.01
    assert found.excess < 3


@pytest.mark.parametrize("recipe", RECIPES)
def test_fitted_layers_are_those_that_the_recipe_fits(recipe: str) -> None:
    compared = Comparison(small_case("vit", 24), "deploy", recipe=recipe)
    assert bool(compared.calibrated.layers) == bool(FITTING & set(RECIPES[recipe].ingredients))
    found = compared.deviations((8, 8, 8))
    assert float(found.evaluator.mean()) < 0.01 * compared.spread()
