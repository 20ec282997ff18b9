"""Massive hidden channels: found where they are, scaled so that others keep their codes, and stored."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from quantized_cases import config_of, moved

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.digits_models import build_digits
from bitfront.evaluators.models.families import blueprint_of
from bitfront.evaluators.models.float_forward import forward
from bitfront.evaluators.models.parts import LinearParts, NormParts
from bitfront.evaluators.models.sites import trace_sites
from bitfront.evaluators.packed.file import read_packed, write_packed
from bitfront.evaluators.packed.layout import SizeModel
from bitfront.evaluators.preparation.calibrated_model import CalibratedModel, calibrate_model, equalize
from bitfront.evaluators.preparation.calibrated_model_file import calibrated_digest, from_entry, to_entry
from bitfront.evaluators.preparation.recipes import HIDDEN_CHANNELS, Recipe, recipe_named
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.quantizers.registry import observer_named

WIDTHS = (4, 8)
ALONE = Recipe("some", (HIDDEN_CHANNELS,))
MASSIVE, CHANNELS = 150.0, (3, 11)


def planted(blueprint: Blueprint, images: torch.Tensor) -> Blueprint:
    """The model with a massive activation at the class token of its first encoder, in two hidden channels.

    A direction that tells the class token's normalised channels from those of others is what they see.
    """
    seen: dict[str, torch.Tensor] = {}
    first = blueprint.encoders[0]
    forward(blueprint, images, lambda site, value: seen.setdefault(site, value.clone()))
    normed = seen[f"{first.name}.norm2"]
    token, rest = normed[:, 0], normed[:, 1:].flatten(0, 1)
    spread = (rest - rest.mean(0)).T @ (rest - rest.mean(0)) / len(rest)
    direction = torch.linalg.solve(spread + 0.05 * torch.eye(len(spread)), token.mean(0) - rest.mean(0))
    low, high = float((rest @ direction).max()), float((token @ direction).min())
    assert high > low, "the class token can be told apart"
    steep = (MASSIVE + 4.0) / (high - low)
    weight, bias = first.fc1.weight.clone(), first.fc1.bias.clone()
    for channel in CHANNELS:
        weight[channel], bias[channel] = steep * direction, -4.0 - steep * low
    changed = dataclasses.replace(first, fc1=LinearParts(weight, bias))
    return dataclasses.replace(blueprint, encoders=(changed, *blueprint.encoders[1:]))


@pytest.fixture(scope="module")
def plain() -> Blueprint:
    torch.manual_seed(3)
    return blueprint_of("digits_vit", moved(build_digits("digits_vit"), 1, 0.1))


@pytest.fixture(scope="module")
def images(plain: Blueprint) -> torch.Tensor:
    return torch.randn(16, *plain.image_shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def model(plain: Blueprint, images: torch.Tensor) -> Blueprint:
    return planted(plain, images)


def calibrated(model: Blueprint, images: torch.Tensor, *without: str) -> CalibratedModel:
    recipe = recipe_named("best", without)
    observer = observer_named(recipe.observer)
    return calibrate_model(model, lambda: [images], WIDTHS, recipe, observer, "deploy", lambda share: None)


def prepared_of(found: CalibratedModel) -> PreparedModel:
    layers, steps = found.layers, found.log_steps
    return PreparedModel(
        found.blueprint, found.calibration, "deploy", WIDTHS, "mse", layers, steps, keep_codes=True
    )


@pytest.fixture(scope="module")
def whole(model: Blueprint, images: torch.Tensor) -> CalibratedModel:
    return calibrated(model, images)


def test_ordinary_models_stay_as_they_are(plain: Blueprint, images: torch.Tensor) -> None:
    found = equalize(plain, ALONE, lambda: [images], "deploy")
    assert all(one is other for one, other in zip(found.encoders, plain.encoders, strict=True))


def test_massive_channels_alone_are_scaled_and_the_model_computes_the_same(
    model: Blueprint, images: torch.Tensor
) -> None:
    found = equalize(model, ALONE, lambda: images.split(8), "deploy")
    scales = found.encoders[0].hidden_scales
    assert scales is not None
    assert set(torch.nonzero(scales != 1.0).flatten().tolist()) == set(CHANNELS)
    assert found.encoders[1].hidden_scales is None
    ranges: list[float] = []
    expected = forward(model, images)
    logits = forward(
        found,
        images,
        lambda site, value: ranges.append(float(value.abs().max())) if site.endswith("0.mlp.gelu") else None,
    )
    assert ranges[0] < MASSIVE / 5
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def test_the_integer_scheme_is_left_alone(model: Blueprint, images: torch.Tensor) -> None:
    assert equalize(model, ALONE, lambda: [images], "fq-vit") is model


@pytest.mark.parametrize("kind", ["gated", "norm"])
def test_a_gate_or_a_norm_takes_the_scales(model: Blueprint, images: torch.Tensor, kind: str) -> None:
    first = model.encoders[0]
    if kind == "gated":
        ones = LinearParts(torch.zeros_like(first.fc1.weight), torch.ones_like(first.fc1.bias))
        both = LinearParts(torch.cat([first.fc1.weight, ones.weight]), torch.cat([first.fc1.bias, ones.bias]))
        changed = dataclasses.replace(first, gated=True, fc1=both)
    else:
        width = len(first.fc1.bias)
        norm = NormParts(torch.full((width,), 1.0), torch.zeros(width), 1e-6)
        norm.weight[list(CHANNELS)] = 40.0
        changed = dataclasses.replace(first, hidden_norm=norm)
    altered = dataclasses.replace(model, encoders=(changed, *model.encoders[1:]))
    found = equalize(altered, ALONE, lambda: [images], "deploy")
    assert found.encoders[0].hidden_scales is None
    assert not torch.equal(found.encoders[0].fc2.weight, changed.fc2.weight)
    torch.testing.assert_close(forward(found, images), forward(altered, images), rtol=1e-4, atol=1e-4)


def test_eight_bits_stay_near_the_float_model(
    model: Blueprint, images: torch.Tensor, whole: CalibratedModel
) -> None:
    expected = forward(model, images)
    errors = []
    for found in (whole, calibrated(model, images, HIDDEN_CHANNELS)):
        logits = prepared_of(found).assemble(config_of(model, "deploy", (8, 8, 8)))(images)
        errors.append(float((logits - expected).square().mean()))
    assert errors[0] < errors[1] / 2


def test_what_is_kept_is_the_same_model(model: Blueprint, whole: CalibratedModel) -> None:
    tensors, document = to_entry(whole, model)
    again = from_entry(tensors, document, model, torch.device("cpu"))
    assert calibrated_digest(again, model) == calibrated_digest(whole, model)
    assert again.blueprint.encoders[0].hidden_scales is not None


def test_packed_files_have_the_scales(
    tmp_path: Path, model: Blueprint, images: torch.Tensor, whole: CalibratedModel
) -> None:
    prepared, config = prepared_of(whole), config_of(model, "deploy", (4, 8, 8))
    recipe = recipe_named("best")
    size = SizeModel(whole.blueprint, trace_sites(whole.blueprint, "deploy"), "deploy", recipe)
    unscaled = SizeModel(model, trace_sites(model, "deploy"), "deploy", recipe)
    assert size.size_bytes(config) > unscaled.size_bytes(config)
    written = write_packed(tmp_path / "packed", prepared, config, recipe, config.to_json())
    assert size.size_bytes(config) > unscaled.size_bytes(config) + 4 * model.encoders[0].hidden
    assert size.size_bytes(config) < written == (tmp_path / "packed").stat().st_size
    again = read_packed(tmp_path / "packed").assemble()
    assert torch.equal(again(images), prepared.assemble(config)(images))
