"""Linear layers: the integers, factors and roundings of all implementations are the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bitfront.evaluators.quantized.kernels.linear import (
    FloatLaneLinear,
    IntMmLinear,
    OneDnnLinear,
    int8_kernels_are_exact,
)
from bitfront.evaluators.quantizers.grids import AffineGrid, single
from bitfront.evaluators.quantizers.weights import QuantizedWeight

# oneDNN has another kernel for few products, which would multiply by one scale after the other.
SHAPES = [(192, 576, 1), (192, 192, 1), (64, 10, 17), (64, 10, 64), (27, 33, 3), (1, 5, 394), (768, 192, 197)]


@pytest.mark.parametrize(("inner", "outer", "rows"), SHAPES)
def test_implementations_are_equal_to_the_bit(inner: int, outer: int, rows: int) -> None:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 256, (rows, inner), generator=generator, dtype=torch.uint8)
    weight = torch.randint(-127, 128, (outer, inner), generator=generator).to(torch.int8)
    scales, bias = (
        torch.rand(outer, generator=generator) * 2e-3 + 1e-4,
        torch.randn(outer, generator=generator),
    )
    grid, out = AffineGrid(single(0.0231), 117, 255), AffineGrid(single(0.0173), 125, 255)
    made = [FloatLaneLinear, IntMmLinear, *([OneDnnLinear] if int8_kernels_are_exact() else [])]
    layers = [kind(QuantizedWeight(weight, scales, 8), bias) for kind in made]
    sums = (codes.double() - 117) @ weight.double().T
    step = scales * grid.scale
    unit = scales.double() * grid.scale
    whole = (torch.round(bias.double() / unit) * unit).float()
    value = sums.float() * step + whole
    steps = np.rint((value * np.float32(1 / np.float32(out.scale)) + 125).numpy()).clip(0, 255)
    for layer in layers:
        assert torch.equal(layer.to_float(codes, grid), value)
        np.testing.assert_array_equal(layer.to_codes(codes, grid, out).numpy(), steps)
