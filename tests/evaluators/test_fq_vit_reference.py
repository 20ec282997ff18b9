"""The integer model against the independent float64 reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fq_vit_reference import Reference, integer_exponential, integer_linear, layer_norm_row, softmax_row

from bitfront.evaluators.calibration import calibrate
from bitfront.evaluators.fq_vit import PreparedFqVit
from bitfront.evaluators.fq_vit.stages import IntegerNorm, IntegerSoftmax
from bitfront.evaluators.kernels.int_exp import integer_exponentials
from bitfront.evaluators.kernels.linear import FloatLaneLinear, OneDnnLinear, int8_kernels_are_exact
from bitfront.evaluators.models.blueprint import LayerNormParts
from bitfront.evaluators.models.vit import blueprint_of
from bitfront.evaluators.observers import observer_named
from bitfront.evaluators.quantizers import AffineGrid, PowerOfTwoGrid, quantize_weight
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.spaces import BitConfig

WIDTHS = (4, 8)


def reference_of(blueprint, calibration, config: BitConfig) -> Reference:
    weights: dict = {"patch": quantize_weight(blueprint.patch.weight, 8)}
    for i, head in enumerate(blueprint.readout.heads):
        weights[f"head{i}"] = quantize_weight(head.weight, 8)
    for index, encoder in enumerate(blueprint.encoders):
        for layer, parts in encoder.linear().items():
            bits = config.encoders[index].bits("weights", layer)
            weights[index, layer] = quantize_weight(parts.weight, bits)
    return Reference(blueprint, calibration, config, weights)


@pytest.mark.parametrize("kernel", [OneDnnLinear, FloatLaneLinear])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_linear_accumulators_are_exact(kernel, bits: int) -> None:
    if kernel is OneDnnLinear and not int8_kernels_are_exact():
        pytest.skip("this CPU has no exact int8 kernels")
    generator = torch.Generator().manual_seed(bits)
    weight = quantize_weight(torch.randn(24, 700, generator=generator), bits)
    unit = type(weight)(weight.codes, torch.ones(24), bits)
    codes = torch.randint(0, 256, (50, 700), generator=generator, dtype=torch.uint8)
    got = kernel(unit, torch.zeros(24)).to_float(codes, AffineGrid(1.0, 131, 255))
    expected, _ = integer_linear(
        codes.long().numpy(), 131, 1.0, weight.codes.numpy(), np.ones(24), np.zeros(24)
    )
    assert np.abs(expected).max() < 2**24
    assert (got.numpy() == expected).all()


@pytest.mark.parametrize("gelu", [False, True])
def test_linear_kernels_agree_on_codes(gelu: bool) -> None:
    if not int8_kernels_are_exact():
        pytest.skip("this CPU has no exact int8 kernels")
    generator = torch.Generator().manual_seed(3)
    weight = quantize_weight(torch.randn(40, 64, generator=generator), 8)
    bias = torch.randn(40, generator=generator)
    codes = torch.randint(0, 256, (200, 64), generator=generator, dtype=torch.uint8)
    grid, out = AffineGrid(0.02, 120, 255), AffineGrid(0.9, 7, 15)
    quick = OneDnnLinear(weight, bias).to_codes(codes, grid, out, gelu=gelu)
    plain = FloatLaneLinear(weight, bias).to_codes(codes, grid, out, gelu=gelu)
    differences = (quick.int() - plain.int()).abs()
    # Only roundings of ties may differ, since float32 sums are ordered differently.
    assert differences.max() <= 1
    assert (differences > 0).float().mean() < 1e-3


def test_integer_layer_norm_is_exact() -> None:
    rng = np.random.default_rng(0)
    parts = LayerNormParts(
        torch.from_numpy(rng.normal(size=48) * rng.choice([1e-3, 1, 30], 48)).float(),
        torch.from_numpy(rng.normal(size=48)).float(),
        1e-6,
    )
    source = PowerOfTwoGrid(0.013, 117, rng.integers(0, 4, 48), 255)
    for out in (AffineGrid(0.05, 128, 255), AffineGrid(0.7, 6, 15)):
        codes = rng.integers(0, 256, (30, 48)).astype(np.uint8)
        codes[0] = 9  # a token without variance
        got = IntegerNorm(parts, source, out)(torch.from_numpy(codes)).numpy()
        for row, token in zip(got, codes.astype(np.int64), strict=True):
            shifted = [int(v) for v in (token - 117) << source.exponents]
            expected = layer_norm_row(
                shifted, parts.weight.double().numpy(), parts.bias.double().numpy(), parts.eps,
                source.scale, out.scale, out.zero_point, out.qmax,
            )  # fmt: skip
            assert row.tolist() == expected


@pytest.mark.parametrize("scale", [1e-3, 0.02, 0.157, 0.9, 3.0])
def test_integer_exponential_matches_reference_and_exp(scale: float) -> None:
    table = integer_exponentials(scale, 256)
    assert table.tolist() == [integer_exponential(d, scale) for d in range(256)]
    exact = np.exp(-np.arange(256) * scale)
    # The polynomial is within 0.3 %, and ln 2 within 1/64 of a step for each of its multiples.
    large = exact > 2.0**-10
    assert np.abs(table[large] / table[0] / exact[large] - 1).max() < 0.12


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 8])
def test_integer_softmax_is_exact(bits: int) -> None:
    rng = np.random.default_rng(bits)
    grid, attention = AffineGrid(0.07, 100, 255), AffineGrid.covering(0.0, 0.8, bits)
    integers = rng.integers(-3000, 3000, (40, 21)).astype(np.float32)
    scores = torch.from_numpy(integers.copy())
    IntegerSoftmax(0.003, grid, attention, bits)(scores)
    codes = np.clip(np.rint(integers.astype(np.float64) * (0.003 / 0.07)) + 100, 0, 255).astype(int)
    expected = [softmax_row(row.tolist(), 0.07, bits, attention.scale) for row in codes]
    assert (scores.numpy() == np.array(expected, dtype=np.float32)).all()


@pytest.mark.parametrize("bits", [(8, 8, 8), (8, 8, 4), (4, 8, 8), (8, 4, 8), (4, 4, 4)])
def test_whole_model_follows_the_reference(blueprint, calibration, prepared, images, uniform, bits) -> None:
    config = uniform(blueprint, bits)
    reference = reference_of(blueprint, calibration, config)
    model = prepared.assemble(config)
    codes, _ = model.embedding(images, model.encoders[0].norm1)
    expected = reference.embed(images)
    assert (codes.numpy().reshape(expected.shape) == expected).mean() > 0.999
    logits = model(images).numpy()
    wanted = reference.logits(images)
    step = calibration.affine["head", 8].scale
    # Ties rounded the other way in float32 may move a logit by a few of its 8-bit steps, never more.
    assert np.abs(logits - wanted).max() <= 6 * step
    assert (np.abs(logits - wanted) <= step).mean() > 0.9


def test_each_encoder_follows_the_reference_on_equal_input(
    blueprint, calibration, prepared, images, uniform
) -> None:
    config = uniform(blueprint, (4, 8, 4))
    reference = reference_of(blueprint, calibration, config)
    model = prepared.assemble(config)
    x = reference.embed(images)
    for index, encoder in enumerate(model.encoders):
        codes = torch.from_numpy(x.astype(np.uint8)).view(-1, x.shape[-1])
        got, _ = encoder(codes, encoder.norm1(codes), len(images), None)
        x = reference.encode(index, x)
        difference = np.abs(got.numpy().reshape(x.shape).astype(int) - x)
        assert difference.max() <= 2
        assert (difference == 0).mean() > 0.995


def test_assembling_switches_prepared_tensors(blueprint, prepared, images, uniform) -> None:
    first = prepared.assemble(uniform(blueprint, (4, 8, 4)))
    again = prepared.assemble(uniform(blueprint, (4, 8, 4)))
    other = prepared.assemble(uniform(blueprint, (8, 8, 4)))
    assert first.encoders[0].qkv is again.encoders[0].qkv
    assert first.encoders[0].qkv is not other.encoders[0].qkv
    assert first.encoders[0].softmax is other.encoders[0].softmax
    assert torch.equal(first(images), again(images))


@pytest.mark.parametrize(
    "options",
    [
        {"global_pool": "avg"},
        {"global_pool": "avg", "fc_norm": False},
        {"reg_tokens": 2, "no_embed_class": True},
        {"init_values": 0.5},
        {"qkv_bias": False},
        {"class_token": False, "global_pool": "avg"},
        {"patch_size": 8, "img_size": (16, 24)},
    ],
    ids=lambda options: ",".join(options),
)
def test_variants_stay_close_to_float(small_vit, uniform, options) -> None:
    module = small_vit(2, **options)
    blueprint = blueprint_of("variant", module)
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(16, *blueprint.image_shape, generator=generator)
    calibration = calibrate(blueprint, lambda: images.split(8), WIDTHS, observer_named("minmax"))
    prepared = PreparedFqVit(blueprint, calibration, WIDTHS)
    with torch.inference_mode():
        logits, exact = prepared.assemble(uniform(blueprint, (8, 8, 8)))(images), module(images)
    assert (logits - exact).norm() < 0.3 * (exact - exact.mean()).norm()


def distilled() -> type[torch.nn.Module]:
    ensure_torchvision()
    from timm.models.deit import VisionTransformerDistilled

    return VisionTransformerDistilled


@pytest.mark.parametrize(
    "options",
    [
        {"family": distilled},
        {"global_pool": "avg"},
        {"global_pool": "avg", "fc_norm": False},
        {"global_pool": "avg", "pool_include_prefix": True, "reg_tokens": 2},
    ],
    ids=["distilled", "average-then-norm", "norm-then-average", "average-with-prefix"],
)
def test_readouts_follow_the_reference(small_vit, uniform, images, options) -> None:
    built = {key: value() if key == "family" else value for key, value in options.items()}
    blueprint = blueprint_of("readout", small_vit(4, depth=1, **built))
    calibration = calibrate(blueprint, lambda: images.split(3), WIDTHS, observer_named("minmax"))
    config = uniform(blueprint, (8, 8, 8))
    wanted = reference_of(blueprint, calibration, config).logits(images)
    logits = PreparedFqVit(blueprint, calibration, WIDTHS).assemble(config)(images).numpy()
    step = calibration.affine["head", 8].scale
    assert np.abs(logits - wanted).max() <= 3 * step
    assert (np.abs(logits - wanted) <= step).mean() > 0.9
