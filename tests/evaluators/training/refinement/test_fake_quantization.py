"""What a learning model computes is what the integer evaluator computes, code by code."""

from __future__ import annotations

import functools

import pytest
import torch
from peculiar_cases import PECULIAR, peculiar_case
from quantized_cases import Bits, Case, calibrated, case, config_of
from quantized_comparison import differ_by_ties
from refinement_cases import prepared_of

from bitfront.evaluators.preparation.calibrated_model import CalibratedModel, calibrate_model
from bitfront.evaluators.preparation.recipes import recipe_named
from bitfront.evaluators.quantized.kernels.cpu import CpuKernels
from bitfront.evaluators.quantized.kernels.portable import PortableKernels
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.quantizers.grids import AffineGrid
from bitfront.evaluators.quantizers.registry import observer_named
from bitfront.evaluators.training.refinement.fake_quantization import rounded, rounded_weight
from bitfront.evaluators.training.refinement.network import LearnedModel
from bitfront.evaluators.training.refinement.products import quick_products
from bitfront.spaces import BitConfig

PORTABLE = PortableKernels(torch.device("cpu"))
WIDTHS = (2, 3, 4, 8)
ASSIGNMENTS: tuple[Bits, ...] = ((4, 4, 4), (2, 8, 8), (3, 8, 8), (8, 8, 8), "mixed 1", "mixed 2")
NAMES = ("vit", "distilled", "norm before", "norm then average", "average then norm", "swin", "wide swin")
# Of all kinds, these have every part between products.
TELLING = ("siglip", "aimv2", "eva clip", "swin v2", "massive")
SITES = ("norm1", "attn.qkv", "attn.softmax", "attn.context", "norm2", "mlp.gelu")
IMAGES = 6


@functools.cache
def model_case(name: str) -> Case:
    return peculiar_case(name, 16) if name in PECULIAR else case(name)


@functools.cache
def found(name: str, recipe_name: str = "best") -> CalibratedModel:
    if name not in PECULIAR:
        return calibrated(name, "deploy", recipe_name, WIDTHS)
    recipe, small = recipe_named("best"), model_case(name)
    observer = observer_named(recipe.observer)
    return calibrate_model(
        small.blueprint, lambda: [small.images], WIDTHS, recipe, observer, "deploy", lambda share: None
    )


def learned(name: str, bits: Bits, recipe: str = "best") -> tuple[LearnedModel, PreparedModel, BitConfig]:
    config = config_of(model_case(name).blueprint, "deploy", bits)
    prepared = prepared_of(found(name, recipe), config, PORTABLE)
    return LearnedModel(prepared, found(name, recipe), config), prepared, config


def moved(model: LearnedModel) -> None:
    """Gives every parameter another value, so that nothing is as the calibration has it."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            spread = 0.4 if name.endswith("latent") else 0.05
            parameter.add_(spread * torch.randn(parameter.shape, generator=generator))


def sites_of(
    model: LearnedModel, prepared: PreparedModel, config: BitConfig
) -> list[tuple[str, torch.Tensor, torch.Tensor]]:
    """The site, the evaluator's values and those in learning, every encoder with the evaluator's input."""
    seen: dict[str, torch.Tensor] = {}
    images = model_case(config.model).images[:IMAGES]
    prepared.assemble(config)(images, tap=lambda site, value: seen.__setitem__(site, value.clone()))
    pairs = []
    for index, (encoder, parts) in enumerate(zip(model.encoders, prepared.blueprint.encoders, strict=True)):
        mine: dict[str, torch.Tensor] = {}
        with torch.no_grad(), quick_products():
            x = encoder(seen[prepared.blueprint.entering(index)], IMAGES, mine.__setitem__)
        terms = prepared.encoder(config.encoders[index]).attention
        for site in SITES:
            wanted, got = seen[f"{parts.name}.{site}"], mine[site]
            if site == "attn.softmax":
                got = (got * terms.attention_scale).flatten(0, 1)
            else:
                got = got + encoder.grids()[site].zero_point
            pairs.append((f"{parts.name}.{site}", wanted.float(), got))
        pairs.append((f"{parts.name}.residual2", seen[f"{parts.name}.residual2"], x))
    return pairs


@pytest.mark.parametrize("bits", ASSIGNMENTS, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_every_site_has_the_codes_of_the_evaluator(name: str, bits: Bits) -> None:
    pairs = sites_of(*learned(name, bits))
    assert len(pairs) == len(found(name).blueprint.encoders) * (len(SITES) + 1)
    for site, wanted, got in pairs:
        assert torch.equal(wanted, got), site


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        pytest.param(name, bits, marks=[] if name in TELLING and bits == (4, 4, 4) else pytest.mark.thorough)
        for name in PECULIAR
        for bits in ((4, 4, 4), "mixed 1")
    ],
)
def test_so_has_every_site_of_every_kind_of_encoder(name: str, bits: Bits) -> None:
    model, prepared, config = learned(name, bits)
    for site, wanted, got in sites_of(model, prepared, config):
        assert torch.equal(wanted, got), site
    moved(model)
    after, images = prepared_of(model.result(), config, PORTABLE), model_case(name).images[:IMAGES]
    with torch.no_grad():
        assert torch.equal(model(images), after.assemble(config)(images))


@pytest.mark.parametrize("bits", ASSIGNMENTS, ids=str)
@pytest.mark.parametrize("name", ["vit", "swin"])
def test_so_it_has_of_what_was_learned(name: str, bits: Bits) -> None:
    model, _, config = learned(name, bits)
    moved(model)
    after = prepared_of(model.result(), config, PORTABLE)
    for site, wanted, got in sites_of(model, after, config):
        assert torch.equal(wanted, got), site
    images = case(name).images[:IMAGES]
    with torch.no_grad(), quick_products():
        assert torch.equal(model(images), after.assemble(config)(images))


@pytest.mark.parametrize("name", ["vit", "swin"])
def test_minifloats_have_the_codes_of_the_evaluator_and_keep_their_step(name: str) -> None:
    model, prepared, config = learned(name, (8, 4, 4), "runtime")
    for site, wanted, got in sites_of(model, prepared, config):
        assert torch.equal(wanted, got), site
    moved(model)
    result = model.result()
    after = prepared_of(result, config, PORTABLE)
    for site, wanted, got in sites_of(model, after, config):
        assert torch.equal(wanted, got), site
    before = found(name, "runtime").calibration.affine
    for encoder in after.blueprint.encoders:
        key = f"{encoder.name}.mlp.gelu", 4
        assert result.calibration.affine[key] == before[key]


def test_the_recipe_is_in_what_is_compared() -> None:
    """Nothing above would fail if codebooks, groups of weights and bases were not there at all."""
    model, prepared, config = learned("vit", (4, 4, 4))
    for index, encoder in enumerate(model.encoders):
        assert set(encoder.codebooks) == set(SITES) - {"attn.softmax"}
        assert prepared.encoder(config.encoders[index]).attention.logarithmic
        assert prepared.fitted(index, "attn.qkv", 4, 4).weight.factors is not None
    assert {step < 1.0 for step in found("vit").log_steps.values()} & {True}


@pytest.mark.parametrize("name", ["vit", "swin"])
def test_the_quickest_kernels_differ_by_ties_at_most(name: str) -> None:
    model, _, config = learned(name, (8, 8, 8))
    for site, wanted, got in sites_of(model, prepared_of(found(name), config, CpuKernels()), config):
        if site.endswith(("norm1", "attn.qkv", "attn.context")):
            assert differ_by_ties(got, wanted), site


def test_gradients_pass_where_nothing_is_clipped() -> None:
    grid = AffineGrid(0.5, 2, 7)
    steps = torch.tensor([-3.0, -2.0, 0.2, 4.9, 5.6], requires_grad=True)
    codes = rounded(steps, grid, None)
    assert codes.tolist() == [-2.0, -2.0, 0.0, 5.0, 5.0]
    codes.sum().backward()
    assert steps.grad is not None
    assert steps.grad.tolist() == [0.0, 1.0, 1.0, 1.0, 0.0]


def test_codebooks_replace_codes_before_the_zero_point_is_taken_off() -> None:
    codebook = torch.arange(256, dtype=torch.uint8) // 64 * 64
    codes = rounded(torch.tensor([70.0, 200.0]), AffineGrid(1.0, 10, 255), codebook)
    assert codes.tolist() == [54.0, 182.0]


def test_weights_round_to_the_codes_of_their_bits() -> None:
    codes = rounded_weight(torch.tensor([[-9.0, -1.5, 0.4, 2.5, 9.0]]), 4)
    assert codes.tolist() == [[-8.0, -2.0, 0.0, 2.0, 7.0]]


def test_gradients_reach_every_parameter() -> None:
    model, _, _ = learned("swin", (4, 8, 8))
    model(case("swin").images[:IMAGES]).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0, name
