"""The reference of the quantized model against Python integers and timm's float models."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import pytest
import torch
from fq_vit_rows import integer_exponential, layer_norm_row, softmax_row
from peculiar_cases import INTEGER, PECULIAR, peculiar_case
from quantized_cases import SMALL, Case, config_of, small_case
from quantized_reference import QuantizedReference, quantized_weights
from quantized_stages import (
    attention_codes,
    context_accumulators,
    integer_exponentials,
    integer_layer_norm,
    integer_softmax,
    linear_accumulators,
    score_accumulators,
)

from bitfront.evaluators.models.parts import NormParts
from bitfront.evaluators.preparation.calibration import Calibration
from bitfront.evaluators.quantizers.grids import AffineGrid, PowerOfTwoGrid
from bitfront.evaluators.quantizers.weights import QuantizedWeight
from bitfront.spaces import SCHEMES

FINE_BITS = 24


@pytest.mark.parametrize(
    "out",
    [AffineGrid(0.05, 128, 255), AffineGrid(0.7, 6, 15), PowerOfTwoGrid(0.02, 130, np.arange(48) % 4, 255)],
    ids=["8 bits", "4 bits", "power of two"],
)
def test_integer_layer_norm_is_that_of_python_integers(out: AffineGrid | PowerOfTwoGrid) -> None:
    rng = np.random.default_rng(0)
    parts = NormParts(
        torch.from_numpy(rng.normal(size=48) * rng.choice([0, 1e-3, 1, 30], 48)).float(),
        torch.from_numpy(rng.normal(size=48)).float(),
        1e-6,
    )
    source = PowerOfTwoGrid(0.013, 117, rng.integers(0, 4, 48), 255)
    codes = rng.integers(0, 256, (30, 48))
    codes[0] = 9  # a token without variance
    codes[1] = 117
    got = integer_layer_norm(torch.from_numpy(codes).double(), source, parts, out).tolist()
    scales = out.channel_scales if isinstance(out, PowerOfTwoGrid) else np.full(48, out.scale)
    for row, token in zip(got, codes, strict=True):
        shifted = [int(v) for v in (token - 117) << source.exponents]
        assert row == layer_norm_row(
            shifted, parts.weight.tolist(), parts.bias.tolist(), parts.eps,
            source.scale, scales.tolist(), out.zero_point, out.qmax,
        )  # fmt: skip


@pytest.mark.parametrize("scale", [1e-3, 0.02, 0.157, 0.9, 3.0])
def test_integer_exponentials_are_those_of_python_integers(scale: float) -> None:
    table = integer_exponentials(scale, 256, torch.float64)
    assert table.tolist() == [integer_exponential(d, scale) for d in range(256)]


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 8])
def test_integer_attention_is_that_of_python_integers(bits: int) -> None:
    rng = np.random.default_rng(bits)
    grid, attention = AffineGrid(0.07, 100, 255), AffineGrid.covering(0.0, 0.8, bits)
    codes = rng.integers(0, 256, (40, 21))
    codes[0] = 7
    shares = integer_softmax(torch.from_numpy(codes).double(), grid, None)
    got = attention_codes(shares, attention, bits).tolist()
    assert got == [softmax_row(row.tolist(), grid.scale, bits, attention.scale) for row in codes]


def test_powers_of_other_bases_are_rounded_to_two_bytes() -> None:
    shares = torch.tensor([1.0, 0.5**0.5, 0.5, 2.0**-7.5, 2.0**-7.76, 0.0], dtype=torch.float64)
    got = attention_codes(shares, AffineGrid(1.0, 0, 15), 4, 0.5) * 2**15
    assert got.tolist() == [32768, 23170, 16384, 181, 0, 0]


def test_masked_scores_are_as_if_they_were_not_there() -> None:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 256, (5, 9), generator=generator).double()
    codes[:, 3] = 255.0  # hidden below, so it may not be the maximum
    mask = torch.zeros(9, dtype=torch.bool)
    mask[[3, 7]] = True
    grid = AffineGrid(0.07, 100, 255)
    shares = integer_softmax(codes, grid, mask)
    assert torch.equal(shares[:, ~mask], integer_softmax(codes[:, ~mask], grid, None))
    assert not shares[:, mask].any()


def test_accumulators_are_sums_of_integer_products() -> None:
    rng = np.random.default_rng(0)
    grid = AffineGrid(0.1, 131, 255)
    x, w = rng.integers(0, 256, (3, 900)), rng.integers(-128, 128, (4, 900))
    weight = QuantizedWeight(torch.from_numpy(w).to(torch.int8), torch.ones(4), 8)
    codes = torch.from_numpy(x)
    assert linear_accumulators(codes, grid, weight).tolist() == ((x - 131) @ w.T).tolist()
    assert score_accumulators(codes, codes, grid).tolist() == ((x - 131) @ (x - 131).T).tolist()
    powers = 2.0 ** -rng.integers(0, 16, (2, 3))
    wanted = (powers * 2**15).astype(int) @ (x - 131)
    assert context_accumulators(torch.from_numpy(powers), codes, grid, 4).tolist() == wanted.tolist()


def finely_quantized(case: Case, scheme: str) -> tuple[Calibration, dict[Hashable, QuantizedWeight]]:
    """Grids and weights so fine that they are hardly felt; scores get 16 bits, since they index a table."""
    calibration = case.calibration(scheme)
    affine = {}
    for (site, bits), grid in calibration.affine.items():
        fine = 16 if site.endswith("attn.scores") else FINE_BITS
        # One coarse step more on either side, for what a rounded zero point cuts off.
        low = 0.0 if site.endswith("attn.softmax") else -(grid.zero_point + 1) * grid.scale
        affine[site, bits] = AffineGrid.covering(low, (grid.qmax - grid.zero_point + 1) * grid.scale, fine)
    finer = 1 << (FINE_BITS - 8)
    streams = {
        site: PowerOfTwoGrid(
            grid.scale / finer, grid.zero_point * finer, grid.exponents, (grid.qmax + 1) * finer - 1
        )
        for site, grid in calibration.power_of_two.items()
    }
    config = config_of(case.blueprint, scheme, (8, 8, 8))
    coarse = quantized_weights(case.blueprint, config, "minmax")
    weights = {key: finer_weight(case, key, weight.scales / finer) for key, weight in coarse.items()}
    return Calibration(affine, streams), weights


def finer_weight(case: Case, key: Hashable, scales: torch.Tensor) -> QuantizedWeight:
    blueprint = case.blueprint
    named = {"patch": blueprint.patch, **{m.name: m.reduction for m in blueprint.merges.values()}}
    named |= {f"head{i}": head for i, head in enumerate(blueprint.readout.heads)}
    named |= {} if blueprint.readout.pool is None else blueprint.readout.pool.linear()
    parts = blueprint.encoders[key[0]].linear()[key[1]] if isinstance(key, tuple) else named[str(key)]
    return QuantizedWeight((parts.weight / scales[:, None]).round().int(), scales, FINE_BITS)


@pytest.mark.parametrize(("scheme", "tolerance"), [("deploy", 2e-5), ("fq-vit", 0.03)])
@pytest.mark.parametrize("name", SMALL)
def test_with_fine_grids_it_is_the_float_model(name: str, scheme: str, tolerance: float) -> None:
    """In fq-vit its integer arithmetic is left: 8-bit factors in LayerNorm, polynomial exponentials."""
    case = small_case(name, 64)
    calibration, weights = finely_quantized(case, scheme)
    config = config_of(case.blueprint, scheme, (8, 8, 8))
    logits = QuantizedReference(case.blueprint, calibration, config, weights).logits(case.images)
    with torch.inference_mode():
        expected = case.module(case.images)
    assert (logits - expected).norm() < tolerance * (expected - expected.mean()).norm()


@pytest.mark.parametrize(
    ("name", "scheme", "tolerance"),
    [*((name, "deploy", 2e-5) for name in PECULIAR), *((name, "fq-vit", 0.03) for name in INTEGER)],
)
def test_so_it_is_of_every_peculiarity(name: str, scheme: str, tolerance: float) -> None:
    """timm's module is what each was read from: the reference shares no arithmetic with either."""
    case = peculiar_case(name, 24)
    calibration, weights = finely_quantized(case, scheme)
    config = config_of(case.blueprint, scheme, (8, 8, 8))
    logits = QuantizedReference(case.blueprint, calibration, config, weights).logits(case.images)
    with torch.inference_mode():
        expected = case.module.double()(case.images.double())
    assert (logits - expected).norm() < tolerance * (expected - expected.mean()).norm()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["vit", "swin"])
def test_each_width_costs_what_it_should(name: str, scheme: str) -> None:
    """Fewer bits of any kind move the logits further from those of the float model."""
    case = small_case(name, 64)
    with torch.inference_mode():
        exact = case.module(case.images)

    calibration = case.calibration(scheme)

    def error(bits: tuple[int, int, int]) -> float:
        config = config_of(case.blueprint, scheme, bits)
        weights = quantized_weights(case.blueprint, config)
        logits = QuantizedReference(case.blueprint, calibration, config, weights).logits(case.images)
        return float((logits - exact).norm() / (exact - exact.mean()).norm())

    eight = error((8, 8, 8))
    assert 1e-3 < eight < 0.15
    for bits in ((4, 8, 8), (8, 4, 8), (8, 8, 4)):
        assert eight < error(bits) < 1.0


def test_the_same_lines_in_float32_are_close_but_not_equal() -> None:
    case = small_case("vit", 256)
    config = config_of(case.blueprint, "deploy", (8, 8, 8))
    weights = quantized_weights(case.blueprint, config)
    calibration = case.calibration("deploy")
    exact = QuantizedReference(case.blueprint, calibration, config, weights)
    single = QuantizedReference(case.blueprint, calibration, config, weights, torch.float32)
    difference = (exact.logits(case.images) - single.logits(case.images)).abs()
    assert 0 < difference.mean() < 1e-2 * exact.logits(case.images).std()
