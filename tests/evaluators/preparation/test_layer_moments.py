"""Moments of layer inputs against direct sums over hooks on the timm modules."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from quantized_cases import WIDTHS, Case, small_case
from torch import nn

from bitfront.evaluators.models.float_forward import forward
from bitfront.evaluators.models.sites import LAYER_INPUTS
from bitfront.evaluators.preparation.calibration import Calibration, calibrate
from bitfront.evaluators.preparation.layer_fit import LayerMoments, layer_moments
from bitfront.evaluators.quantizers.registry import observer_named

LEVELLED = ("norm1", "gelu")
Weights = Callable[[int, str, int], torch.Tensor]


@pytest.fixture(params=["vit", "registers", "swin"])
def case(request: pytest.FixtureRequest) -> Case:
    return small_case(request.param, 10)


@pytest.fixture
def calibration(case: Case) -> Calibration:
    observer = observer_named("omse")
    return calibrate(case.blueprint, lambda: [case.images], WIDTHS, observer, codebook_roles=LEVELLED)


@torch.inference_mode()
def inputs_by_hooks(case: Case) -> dict[tuple[int, str], torch.Tensor]:
    """Inputs of every linear layer, ``[tokens of all images, channels]``, in float64."""
    found: dict[tuple[int, str], torch.Tensor] = {}
    handles = []
    for index, encoder in enumerate(case.blueprint.encoders):
        for layer in LAYER_INPUTS:

            def keep(
                _: nn.Module, inputs: tuple[torch.Tensor], key: tuple[int, str] = (index, layer)
            ) -> None:
                found[key] = inputs[0].flatten(0, -2).double()

            handles.append(
                case.module.get_submodule(f"{encoder.name}.{layer}").register_forward_pre_hook(keep)
            )
    case.module(case.images)
    for handle in handles:
        handle.remove()
    return found


def restored(calibration: Calibration, site: str, bits: int, x: torch.Tensor) -> torch.Tensor:
    """Values of codes, by the formula of the grid and the table of levels."""
    grid = calibration.affine[site, bits]
    codes = (torch.round(x / grid.scale) + grid.zero_point).clamp(0, grid.qmax)
    if (site, bits) in calibration.codebooks:
        codes = calibration.codebooks[site, bits].double()[codes.long()]
    return (codes - grid.zero_point) * grid.scale


def assert_close(found: LayerMoments, x: torch.Tensor, u: torch.Tensor, weights: torch.Tensor) -> None:
    weights = weights.double() / weights.double().sum()
    weighted = u * weights[:, None]
    scale = float(u.abs().max())
    # A value at a tie of its grid may fall to either side.
    for got, wanted, unit in (
        (found.mean, weights @ x, scale),
        (found.quantized_mean, weights @ u, scale),
        (found.second, u.T @ weighted, scale**2),
        (found.cross, x.T @ weighted, scale**2),
    ):
        assert got.dtype == torch.float64
        assert got.shape == wanted.shape
        assert float((got - wanted).abs().max()) < 2e-4 * unit


def test_they_are_those_of_the_modules_inputs(case: Case, calibration: Calibration) -> None:
    inputs = inputs_by_hooks(case)
    groups = list(layer_moments(case.blueprint, lambda: case.images.split(4), calibration, WIDTHS))
    assert [index for index, _ in groups] == list(range(len(case.blueprint.encoders)))
    for index, found in groups:
        assert set(found) == {(layer, bits) for layer in LAYER_INPUTS for bits in WIDTHS}
        for (layer, bits), moments in found.items():
            x = inputs[index, layer]  # in Swin, for attention, in the windows' order: all the same to sums
            site = f"{case.blueprint.encoders[index].name}.{LAYER_INPUTS[layer]}"
            assert_close(moments, x, restored(calibration, site, bits, x), torch.ones(len(x)))


def test_tokens_count_by_their_weights(case: Case, calibration: Calibration) -> None:
    inputs = inputs_by_hooks(case)
    if case.blueprint.encoders[0].window is not None:
        # Swin's windows go through its attention; its other layers see tokens in the image's order.
        inputs = {key: x for key, x in inputs.items() if key[1].startswith("mlp")}
    generator = torch.Generator().manual_seed(3)
    weights = {
        (index, layer): [
            torch.rand(len(part) * encoder.tokens, generator=generator) ** 4 for part in case.images.split(4)
        ]
        for index, encoder in enumerate(case.blueprint.encoders)
        for layer in LAYER_INPUTS
    }
    found = dict(layer_moments(case.blueprint, lambda: case.images.split(4), calibration, WIDTHS, weights))
    for (index, layer), x in inputs.items():
        site = f"{case.blueprint.encoders[index].name}.{LAYER_INPUTS[layer]}"
        u = restored(calibration, site, 4, x)
        assert_close(found[index][layer, 4], x, u, torch.cat(weights[index, layer]))


def test_centred_moments_are_covariances(case: Case, calibration: Calibration) -> None:
    x = inputs_by_hooks(case)[0, "mlp.fc2"]
    u = restored(calibration, f"{case.blueprint.encoders[0].name}.mlp.gelu", 4, x)
    _, found = next(layer_moments(case.blueprint, lambda: [case.images], calibration, WIDTHS))
    centred = found["mlp.fc2", 4].centred()
    around = (u - u.mean(0)).T
    assert float((centred.second - around @ around.T / len(u)).abs().max()) < 1e-3 * float(u.abs().max()) ** 2
    wanted = (x - x.mean(0)).T @ around.T / len(u)
    assert float((centred.cross - wanted).abs().max()) < 1e-3 * float(u.abs().max()) ** 2


def test_large_means_do_not_drown_small_movements() -> None:
    case = small_case("vit", 10)
    encoder = case.blueprint.encoders[0]
    high = dataclasses.replace(encoder.norm2, bias=encoder.norm2.bias + 1e4)
    encoders = (dataclasses.replace(encoder, norm2=high), *case.blueprint.encoders[1:])
    blueprint = dataclasses.replace(case.blueprint, encoders=encoders)
    calibration = calibrate(blueprint, lambda: [case.images], (8,), observer_named("minmax"))
    seen: dict[str, torch.Tensor] = {}
    with torch.inference_mode():
        forward(blueprint, case.images, lambda site, value: seen.update({site: value}))
    x = seen["blocks.0.norm2"].flatten(0, 1)
    u = calibration.quantized("blocks.0.norm2", 8, x).double()
    _, found = next(layer_moments(blueprint, lambda: case.images.split(4), calibration, (8,)))
    centred = found["mlp.fc1", 8].centred()
    x = x.double()
    away_x, away_u = x - x.mean(0), u - u.mean(0)
    wanted = away_x.T @ away_u / len(u)
    # Their own size is about 1, that of the means' products 1e8.
    assert float((centred.cross - wanted).abs().max()) < 0.2
    assert float((centred.second - away_u.T @ away_u / len(u)).abs().max()) < 0.2
