"""Layers whose inputs never move, as in pruned blocks: nothing can be regressed or compensated there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from quantized_cases import WIDTHS, config_of, small_case

from bitfront.evaluators.models.families import blueprint_of
from bitfront.evaluators.models.parts import LinearParts
from bitfront.evaluators.preparation.layer_fit import LayerMoments, fit_layer
from bitfront.evaluators.preparation.recipes import recipe_named
from bitfront.evaluators.quantized.prepared import PreparedModel


@pytest.mark.parametrize("level", [0.0, 1.3, -50.0])
def test_outputs_are_exact_by_their_bias(level: float) -> None:
    generator = torch.Generator().manual_seed(0)
    parts = LinearParts(torch.randn(40, 96, generator=generator), torch.randn(40, generator=generator))
    x = torch.full((96,), level, dtype=torch.float64)
    u = 0.9 * x
    moments = LayerMoments(x, u, torch.outer(u, u), torch.outer(x, u))
    found = fit_layer(parts, moments, (4, 4), recipe_named("best"), name="a layer")
    restored = found.weight.codes.double() * found.weight.scales.double()[:, None]
    got = restored @ u + found.bias.double()
    rounding = 1e-7 * float(found.bias.abs().max())
    wanted = parts.weight.double() @ x + parts.bias.double()
    torch.testing.assert_close(got, wanted, rtol=0.0, atol=rounding)
    error = (restored - parts.weight.double()).norm() / parts.weight.norm()
    assert float(error) < 0.15  # of 4 bits


@pytest.mark.parametrize("left_out", [(), ("corrected-biases",), ("norm-channels",)], ids=str)
@pytest.mark.parametrize(
    "change",
    [
        lambda block: block.norm1.weight.zero_(),
        lambda block: block.norm2.weight.zero_(),
        lambda block: (block.norm2.weight.zero_(), block.norm2.bias.zero_()),
        lambda block: block.attn.qkv.weight[64:].zero_(),
        lambda block: (block.attn.qkv.weight[64:].zero_(), block.attn.qkv.bias[64:].zero_()),
        lambda block: block.mlp.fc1.bias.fill_(-100.0),
        lambda block: (block.mlp.fc1.weight.mul_(1e-4), block.mlp.fc1.bias.add_(5.0)),
    ],
    ids=["norm1", "norm2", "norm2, zero", "values", "values, zero", "gelu, zero", "gelu, nearly"],
)
def test_a_model_with_them_is_prepared(change: Callable[[Any], object], left_out: tuple[str, ...]) -> None:
    case = small_case("vit", 64)
    with torch.no_grad():
        change(case.module.blocks[1])
    case = dataclasses.replace(case, blueprint=blueprint_of("still", case.module))
    calibrated = case.calibrated("deploy", recipe_named("best", left_out))
    prepared = PreparedModel(
        calibrated.blueprint,
        calibrated.calibration,
        "deploy",
        WIDTHS,
        "mse",
        calibrated.layers,
        calibrated.log_steps,
    )
    with torch.inference_mode():
        wanted = case.module(case.images)
    for bits, share in (((8, 8, 8), 0.3), ((4, 4, 4), 0.7)):
        got = prepared.assemble(config_of(calibrated.blueprint, "deploy", bits))(case.images)
        assert float((got - wanted).norm() / (wanted - wanted.mean(0)).norm()) < share
