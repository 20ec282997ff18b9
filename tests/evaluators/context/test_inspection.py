"""Faults of a quantized model are named by their site."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch

from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.inspection import Inspector
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.sites import trace_sites
from bitfront.evaluators.preparation.calibration import Calibration, calibrate
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.quantizers.registry import observer_named
from bitfront.evaluators.quantizers.weights import quantize_weight
from bitfront.spaces import SCHEMES, BitConfig, BitfrontError

WIDTHS = (4, 8)
Uniform = Callable[..., BitConfig]


def inspector_of(blueprint: Blueprint, calibration: Calibration, config: BitConfig) -> Inspector:
    return Inspector(config, trace_sites(blueprint, config.scheme), calibration)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("bits", [(8, 8, 8), (4, 4, 4)])
@pytest.mark.parametrize("observer", ["minmax", "auto"])
def test_a_calibrated_model_has_no_faults(
    blueprint: Blueprint, images: torch.Tensor, uniform: Uniform, scheme: str, bits, observer: str
) -> None:
    calibration = calibrate(blueprint, lambda: [images], WIDTHS, observer_named(observer), scheme)
    config = uniform(blueprint, bits, scheme)
    seen: list[str] = []
    inspector = inspector_of(blueprint, calibration, config)

    def tap(site: str, value: torch.Tensor) -> None:
        seen.append(site)
        inspector(site, value)

    PreparedModel(blueprint, calibration, scheme, WIDTHS).assemble(config)(images, tap)
    quantized = {site.name for site in trace_sites(blueprint, scheme) if site.kind != "weights"}
    assert quantized - {"pos_embed"} <= set(seen)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_layer_that_saturates_is_named(
    blueprint: Blueprint, images: torch.Tensor, uniform: Uniform, scheme: str
) -> None:
    encoder = blueprint.encoders[1]
    small = dataclasses.replace(encoder.fc1, weight=0.01 * encoder.fc1.weight, bias=0.01 * encoder.fc1.bias)
    tame = dataclasses.replace(
        blueprint,
        encoders=(blueprint.encoders[0], dataclasses.replace(encoder, fc1=small), blueprint.encoders[2]),
    )
    calibration = calibrate(tame, lambda: [images], WIDTHS, observer_named("minmax"), scheme)
    config = uniform(blueprint, (8, 8, 8), scheme)
    model = PreparedModel(blueprint, calibration, scheme, WIDTHS).assemble(config)
    with pytest.raises(
        BitfrontError, match=r"^blocks\.1\.mlp\.gelu saturates at 8 bits with .* in calibration"
    ) as caught:
        model(images, inspector_of(blueprint, calibration, config))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_floats_that_are_not_finite_are_named(
    blueprint: Blueprint, images: torch.Tensor, uniform: Uniform, value: float
) -> None:
    calibration = calibrate(blueprint, lambda: [images], WIDTHS, observer_named("minmax"), "deploy")
    faulty = dataclasses.replace(
        blueprint, positions=blueprint.positions.clone().index_fill_(0, torch.tensor(2), value)
    )
    config = uniform(blueprint, (8, 8, 8), "deploy")
    model = PreparedModel(faulty, calibration, "deploy", WIDTHS).assemble(config)
    with pytest.raises(BitfrontError, match="NaN or infinity at embed with configuration"):
        model(images, inspector_of(blueprint, calibration, config))


def test_a_weight_that_is_not_finite_is_named() -> None:
    weight = torch.randn(4, 8)
    weight[2, 3] = math.nan
    with pytest.raises(BitfrontError, match=r"the weight of blocks\.0\.attn\.qkv holds NaN or infinity"):
        quantize_weight(weight, 8, name="blocks.0.attn.qkv")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_site_that_calibration_never_reached_is_named(
    blueprint: Blueprint, images: torch.Tensor, uniform: Uniform, scheme: str
) -> None:
    whole = calibrate(blueprint, lambda: [images], WIDTHS, observer_named("minmax"), scheme)
    grids = {key: grid for key, grid in whole.affine.items() if key[0] != "blocks.1.mlp.gelu"}
    prepared = PreparedModel(blueprint, dataclasses.replace(whole, affine=grids), scheme, WIDTHS)
    with pytest.raises(BitfrontError, match=r"blocks\.1\.mlp\.gelu was never reached in calibration"):
        prepared.assemble(uniform(blueprint, (8, 8, 8), scheme))


def test_a_stream_that_calibration_never_reached_is_named(
    blueprint: Blueprint, calibration: Calibration
) -> None:
    grids = {site: grid for site, grid in calibration.power_of_two.items() if site != "blocks.2.residual1"}
    with pytest.raises(BitfrontError, match=r"blocks\.2\.residual1 was never reached in calibration"):
        PreparedModel(blueprint, dataclasses.replace(calibration, power_of_two=grids), "fq-vit", WIDTHS)


def test_an_evaluation_fails_with_the_name_of_the_site() -> None:
    spec = EvaluationSpec(
        model="digits_deit",
        scheme="fq-vit",
        calibration_images=16,
        search_images=40,
        test_images=24,
        batch_size=32,
        threads=1,
    )
    context = EvaluationContext.from_spec(spec)
    calibration = context.prepared.calibration
    key = ("blocks.4.norm2", 8)
    narrow = dataclasses.replace(calibration.affine[key], scale=calibration.affine[key].scale / 500)
    broken = dataclasses.replace(calibration, affine={**calibration.affine, key: narrow})
    prepared = PreparedModel(context.prepared.blueprint, broken, spec.scheme, WIDTHS)
    config = BitConfig.uniform(spec.model, spec.scheme, context.encoders, (8, 8, 8))
    with pytest.raises(BitfrontError, match=r"blocks\.4\.norm2 saturates at 8 bits"):
        dataclasses.replace(context, prepared=prepared).quality(config)
