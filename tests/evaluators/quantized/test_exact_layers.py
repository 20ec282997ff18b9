"""Each linear layer and each integer stage alone, against the reference."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from quantized_comparison import KERNELS, differ_by_ties
from quantized_stages import (
    integer_exponentials,
    integer_layer_norm,
    levelled,
    linear,
    linear_accumulators,
    put,
)

from bitfront.evaluators.context.machine import cpuinfo
from bitfront.evaluators.models.parts import NormParts
from bitfront.evaluators.quantized.integer_stages import IntegerNorm
from bitfront.evaluators.quantized.kernels.attention_terms import (
    integer_exponentials as tabulated_exponentials,
)
from bitfront.evaluators.quantized.kernels.linear import (
    FloatLaneLinear,
    IntegerLinear,
    IntMmLinear,
    OneDnnLinear,
    int8_kernels_are_exact,
)
from bitfront.evaluators.quantizers.grids import AffineGrid, PowerOfTwoGrid
from bitfront.evaluators.quantizers.weights import QuantizedWeight, quantize_weight

LinearKernel = Callable[[QuantizedWeight, torch.Tensor], IntegerLinear]


def usable(kernel: LinearKernel) -> LinearKernel:
    if kernel is OneDnnLinear and not int8_kernels_are_exact():
        pytest.skip("this CPU has no exact int8 kernels")
    return kernel


class TestLinearLayersAlone:
    @pytest.mark.parametrize("kernel", [OneDnnLinear, FloatLaneLinear, IntMmLinear])
    @pytest.mark.parametrize("bits", [2, 4, 8])
    @pytest.mark.parametrize(
        ("rows", "inner", "out"), [(50, 700, 24), (1, 48, 10), (3, 515, 9), (197, 192, 64)]
    )
    def test_accumulators_are_exact(
        self, kernel: LinearKernel, bits: int, rows: int, inner: int, out: int
    ) -> None:
        generator = torch.Generator().manual_seed(bits)
        weight = quantize_weight(torch.randn(out, inner, generator=generator), bits)
        unit = QuantizedWeight(weight.codes, torch.ones(out), bits)
        codes = torch.randint(0, 256, (rows, inner), generator=generator, dtype=torch.uint8)
        for zero_point in (0, 131, 255):
            grid = AffineGrid(1.0, zero_point, 255)
            got = usable(kernel)(unit, torch.zeros(out)).to_float(codes, grid)
            assert torch.equal(got, linear_accumulators(codes.long(), grid, weight).float())

    @pytest.mark.parametrize("kernel", [OneDnnLinear, FloatLaneLinear, IntMmLinear])
    @pytest.mark.parametrize("inner", [768, 4096])
    def test_so_are_those_that_float32_cannot_hold(self, kernel: LinearKernel, inner: int) -> None:
        generator = torch.Generator().manual_seed(inner)
        weight = QuantizedWeight(
            torch.randint(100, 128, (16, inner), generator=generator).to(torch.int8), torch.ones(16), 8
        )
        weight.codes[8:] *= -1
        codes = torch.randint(200, 256, (30, inner), generator=generator, dtype=torch.uint8)
        grid = AffineGrid(1.0, 3, 255)
        wanted = linear_accumulators(codes.long(), grid, weight)
        assert bool((wanted.abs() > 2**24).all())
        assert bool((wanted % 2 != 0).any())
        got = usable(kernel)(weight, torch.zeros(16)).to_float(codes, grid)
        if kernel is OneDnnLinear and "amx_int8" in (cpuinfo("flags") or ""):
            # It rounds the sum and then its correction by the zero point: to the neighbour at worst.
            apart = (got.view(torch.int32) - wanted.float().view(torch.int32)).abs()
            assert int(apart.max()) <= 1
        else:
            assert torch.equal(got, wanted.float())

    @pytest.mark.parametrize("kernel", [OneDnnLinear, FloatLaneLinear, IntMmLinear])
    @pytest.mark.parametrize("gelu", [False, True])
    @pytest.mark.parametrize("out", [AffineGrid(0.09, 7, 15), AffineGrid(0.006, 110, 255)])
    def test_codes_agree_but_for_ties(self, kernel: LinearKernel, gelu: bool, out: AffineGrid) -> None:
        generator = torch.Generator().manual_seed(3)
        weight = quantize_weight(torch.randn(40, 64, generator=generator) / 8, 8)
        bias = torch.randn(40, generator=generator)
        codes = torch.randint(0, 256, (200, 64), generator=generator, dtype=torch.uint8)
        grid = AffineGrid(0.02, 120, 255)
        got = usable(kernel)(weight, bias).to_codes(codes, grid, out, gelu=gelu)
        value = linear(codes.double(), grid, weight, bias)
        wanted = put(F.gelu(value) if gelu else value, out)
        assert len(wanted.unique()) > 0.8 * out.qmax * (0.6 if gelu else 1)
        assert differ_by_ties(got, wanted)

    @pytest.mark.parametrize("kernel", [OneDnnLinear, FloatLaneLinear, IntMmLinear])
    def test_levels_replace_the_codes(self, kernel: LinearKernel) -> None:
        generator = torch.Generator().manual_seed(4)
        weight = quantize_weight(torch.randn(40, 64, generator=generator) / 8, 8)
        codes = torch.randint(0, 256, (53, 64), generator=generator, dtype=torch.uint8)
        levels = torch.randint(0, 256, (16,), generator=generator)
        levels = levels[torch.randint(0, 16, (256,), generator=generator)].to(torch.uint8)
        layer = usable(kernel)(weight, torch.randn(40, generator=generator))
        grid, out = AffineGrid(0.02, 120, 255), AffineGrid(0.03, 6, 255)
        plain = layer.to_codes(codes, grid, out, gelu=True)
        got = layer.to_codes(codes, grid, out, gelu=True, codebook=levels)
        assert torch.equal(got.double(), levelled(plain.double(), levels))
        assert 1 < len(got.unique()) <= 16


class TestIntegerStagesAlone:
    @pytest.mark.parametrize("kernels", KERNELS)
    @pytest.mark.parametrize(
        "out",
        [
            AffineGrid(0.05, 128, 255),
            AffineGrid(0.7, 6, 15),
            PowerOfTwoGrid(0.02, 130, np.arange(48) % 4, 255),
        ],
        ids=["8 bits", "4 bits", "power of two"],
    )
    def test_layer_norm_is_exact(self, kernels: str, out: AffineGrid | PowerOfTwoGrid) -> None:
        rng = np.random.default_rng(0)
        parts = NormParts(
            torch.from_numpy(rng.normal(size=48) * rng.choice([1e-3, 1, 30], 48)).float(),
            torch.from_numpy(rng.normal(size=48)).float(),
            1e-6,
        )
        source = PowerOfTwoGrid(0.013, 117, rng.integers(0, 4, 48), 255)
        codes = torch.from_numpy(rng.integers(0, 256, (300, 48)).astype(np.uint8))
        codes[0], codes[1] = 9, 117  # tokens without variance
        got = IntegerNorm(parts, source, out, KERNELS[kernels]())(codes)
        assert torch.equal(got.double(), integer_layer_norm(codes.double(), source, parts, out))

    @pytest.mark.parametrize("scale", [1e-3, 0.02, 0.157, 0.9, 3.0])
    def test_exponentials_are_exact_and_near_exp(self, scale: float) -> None:
        table = tabulated_exponentials(scale, 256)
        assert table.tolist() == integer_exponentials(scale, 256, torch.float64).tolist()
        exact = np.exp(-np.arange(256) * scale)
        # The polynomial is within 0.3 %, and ln 2 within 1/64 of a step for each of its multiples.
        large = exact > 2.0**-10
        assert np.abs(table[large] / table[0] / exact[large] - 1).max() < 0.12
