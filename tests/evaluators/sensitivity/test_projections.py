"""Projections of quantization errors, against finite differences of the float model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from peculiar_cases import peculiar_case

from bitfront.evaluators.data.images import PreprocessedImages
from bitfront.evaluators.models.blueprint import Blueprint, map_tensors
from bitfront.evaluators.models.families import blueprint_of
from bitfront.evaluators.models.float_forward import forward
from bitfront.evaluators.preparation.calibration import calibrate
from bitfront.evaluators.preparation.fisher import fisher_pair
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.quantizers.registry import observer_named
from bitfront.evaluators.sensitivity.projections import (
    SEED,
    Projections,
    State,
    StateErrors,
    pass_images,
    project,
)

WIDTHS = (4, 8)
LAYERS = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")


def doubled(blueprint: Blueprint) -> Blueprint:
    return map_tensors(blueprint, lambda _, t: t.detach().double() if t.is_floating_point() else t, "")


def shifted(blueprint: Blueprint, images: torch.Tensor, site: str, error: torch.Tensor) -> torch.Tensor:
    """Logits of the float model with an error added at one site, by the forward pass itself."""

    def tap(name: str, value: torch.Tensor) -> None:
        if name == site:
            value += error

    with torch.inference_mode():
        return forward(blueprint, images, tap)


@pytest.fixture(scope="module")
def projections(prepared: PreparedModel, images: torch.Tensor) -> Projections:
    return project(prepared, [images])


def test_every_part_is_there_at_every_width(projections: Projections, prepared: PreparedModel) -> None:
    encoders = range(len(prepared.blueprint.encoders))
    pairs = [(w, a) for w in WIDTHS for a in WIDTHS]
    layers = {State(index, layer, bits) for index in encoders for layer in LAYERS for bits in pairs}
    attention = {State(index, "attn", (bits,)) for index in encoders for bits in WIDTHS}
    assert set(projections.by_state) == layers | attention
    assert {samples.shape for samples in projections.by_state.values()} == {(6, 2)}


def test_projections_are_those_of_finite_differences(
    projections: Projections, prepared: PreparedModel, images: torch.Tensor
) -> None:
    seen: dict[str, torch.Tensor] = {}
    with torch.inference_mode():
        logits = forward(prepared.blueprint, images, seen.__setitem__)
        pair = fisher_pair(logits, torch.Generator().manual_seed(SEED)).double()
        errors = list(StateErrors(prepared).of_encoder(1, seen))
    exact, step = doubled(prepared.blueprint), 1e-5
    for state, site, error in errors:
        ahead, behind = (
            shifted(exact, images.double(), site, sign * step * error.double()) for sign in (1.0, -1.0)
        )
        moved = (ahead - behind) / (2 * step)
        expected = torch.einsum("nkc,nc->nk", pair, moved).numpy()
        scale = np.abs(expected).max()
        np.testing.assert_allclose(projections.by_state[state], expected, rtol=2e-3, atol=2e-3 * scale)


def test_errors_are_those_of_rounding_where_weights_are_rounded_to_nearest(
    prepared: PreparedModel, images: torch.Tensor
) -> None:
    seen: dict[str, torch.Tensor] = {}
    with torch.inference_mode():
        forward(prepared.blueprint, images, seen.__setitem__)
        errors = {state: error for state, _, error in StateErrors(prepared).of_encoder(0, seen)}
    layer, name = prepared.blueprint.encoders[0].fc2, prepared.blueprint.encoders[0].name
    x = prepared.calibration.quantized(f"{name}.mlp.gelu", 4, seen[f"{name}.mlp.gelu"])
    out = prepared.calibration.grid(f"{name}.mlp.fc2", 8)
    rounded = x @ layer.weight.T + layer.bias
    expected = rounded - seen[f"{name}.mlp.fc2"]
    # 8-bit weights and the 8-bit grid of the output add little to what 4-bit inputs do.
    error = errors[State(0, "mlp.fc2", (8, 4))]
    assert float((error - expected).abs().max()) < 2 * out.scale + 0.1 * float(expected.abs().max())
    assert float(error.square().mean()) > 4 * float(errors[State(0, "mlp.fc2", (8, 8))].square().mean())
    matrix = seen[f"{name}.attn.softmax"]
    narrow = errors[State(0, "attn", (4,))] + matrix
    codes = -narrow[narrow > 0].log2()
    torch.testing.assert_close(codes, codes.round())
    assert float(codes.max()) <= 15


def test_projections_of_parts_add_up(
    projections: Projections, prepared: PreparedModel, uniform: Callable
) -> None:
    narrow, wide = (uniform(prepared.blueprint, (bits,) * 3) for bits in WIDTHS)
    by_hand = sum(samples for state, samples in projections.by_state.items() if set(state.bits) == {4})
    np.testing.assert_allclose(projections.of(narrow), by_hand)
    beyond = projections.of(narrow) - projections.of(wide)
    assert projections.divergence(narrow, wide) == pytest.approx((beyond**2).sum() / len(beyond) / 2)
    assert projections.divergence(wide, wide) == 0.0


def test_batches_and_repeats_change_nothing_but_the_directions(
    projections: Projections, prepared: PreparedModel, images: torch.Tensor
) -> None:
    done: list[int] = []
    again = project(prepared, [images], seen=done.append)
    assert done == [6]
    for state, samples in projections.by_state.items():
        np.testing.assert_array_equal(samples, again.by_state[state])
    project(prepared, images.split(4), seen=done.append)
    assert done == [6, 4, 6]


@pytest.mark.parametrize("scheme", ["fq-vit", "deploy"])
def test_windowed_models_and_float_streams_are_projected(small_swin: Callable, scheme: str) -> None:
    blueprint = blueprint_of("swin", small_swin(0))
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    calibration = calibrate(blueprint, lambda: [images], WIDTHS, observer_named("minmax"), scheme)
    found = project(PreparedModel(blueprint, calibration, scheme, WIDTHS), images.split(2))
    assert {samples.shape for samples in found.by_state.values()} == {(4, 2)}
    power = {state.bits: 0.0 for state in found.by_state}
    for state, samples in found.by_state.items():
        assert np.isfinite(samples).all()
        power[state.bits] += float((samples**2).sum())
    assert power[4, 4] > power[8, 8] > 0.0
    assert power[4,] > power[8,] > 0.0


@pytest.mark.parametrize("name", ["eva clip", "inner norms", "swin v2"])
def test_what_stands_between_products_is_passed_through(name: str) -> None:
    """Errors are looked at behind norms, rotations and gates, as finite differences there have it."""
    case = peculiar_case(name, 4)
    calibration = case.calibration("deploy")
    prepared = PreparedModel(case.blueprint, calibration, "deploy", WIDTHS, keep_codes=True)
    found, seen = project(prepared, [case.images]), {}
    with torch.inference_mode():
        logits = forward(prepared.blueprint, case.images, seen.__setitem__)
        pair = fisher_pair(logits, torch.Generator().manual_seed(SEED)).double()
        errors = list(StateErrors(prepared).of_encoder(1, seen))
    exact, step = doubled(prepared.blueprint), 1e-5
    for state, site, error in errors:
        assert float(error.norm()) < 0.5 * float(seen[site].norm()), state
        ahead, behind = (
            shifted(exact, case.images.double(), site, sign * step * error.double()) for sign in (1.0, -1.0)
        )
        expected = torch.einsum("nkc,nc->nk", pair, (ahead - behind) / (2 * step)).numpy()
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found.by_state[state], expected, rtol=2e-3, atol=2e-3 * scale)


@pytest.mark.parametrize(
    ("side", "there", "taken", "at_a_time"), [(224, 100, 64, 2), (16, 900, 256, 64), (16, 30, 30, 30)]
)
def test_small_images_are_taken_in_greater_number(side: int, there: int, taken: int, at_a_time: int) -> None:
    pixels = torch.arange(there).view(-1, 1, 1, 1).to(torch.uint8).expand(-1, 1, side, side)
    labels = torch.zeros(there, dtype=torch.int64)
    images = PreprocessedImages(pixels, labels, np.arange(there), (0.0,), (1.0,))
    count, batches = pass_images(images)
    parts = list(batches)
    assert count == taken == sum(map(len, parts))
    assert max(map(len, parts)) == at_a_time
    assert float(parts[0].flatten()[0]) == 0.0
    assert float(parts[-1].flatten()[-1] * 255) == pytest.approx((there - 1) % 256)
