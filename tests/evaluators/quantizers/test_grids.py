"""Quantizers: the affine grid and the power-of-two grid against their formulas and brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bitfront.evaluators.quantizers.grids import AffineGrid, PowerOfTwoGrid, PowerOfTwoSearch


class TestAffineGrid:
    @pytest.mark.parametrize("bits", [2, 4, 8])
    @pytest.mark.parametrize(
        ("low", "high"), [(-1.3, 2.9), (0.0, 5.0), (0.4, 5.0), (-7.0, -0.2), (-1e-4, 3.0)]
    )
    def test_values_return_within_half_a_step(self, low: float, high: float, bits: int) -> None:
        grid = AffineGrid.covering(low, high, bits)
        assert grid.qmax == 2**bits - 1
        assert grid.scale == pytest.approx((max(high, 0.0) - min(low, 0.0)) / (2**bits - 1))
        assert grid.zero_point == round(-min(low, 0.0) / grid.scale)
        x = torch.linspace(low, high, 1001)
        codes = grid.quantize(x)
        assert codes.dtype == torch.uint8
        assert int(codes.max()) <= grid.qmax
        # Rounding the zero point moves the range by up to half a step, so its ends may be off by a whole one.
        error = (grid.dequantize(codes) - x).abs()
        inside = (codes > 0) & (codes < grid.qmax)
        assert float(error[inside].max()) <= grid.scale / 2 * 1.001
        assert float(error.max()) <= grid.scale * 1.001

    @pytest.mark.parametrize(("low", "high"), [(0.3, 9.0), (-9.0, -0.3), (-0.1, 0.7), (0.0, 0.0)])
    def test_zero_is_a_code(self, low: float, high: float) -> None:
        grid = AffineGrid.covering(low, high, 4)
        assert 0 <= grid.zero_point <= grid.qmax
        zero = grid.quantize(torch.zeros(1))
        assert int(zero) == grid.zero_point
        assert float(grid.dequantize(zero)) == 0.0

    def test_values_outside_are_clipped(self) -> None:
        grid = AffineGrid.covering(-1.0, 1.0, 4)
        assert grid.quantize(torch.tensor([-50.0, 50.0, -1e30, 1e30])).tolist() == [0, 15, 0, 15]

    def test_codes_by_hand(self) -> None:
        grid = AffineGrid(0.5, 3, 15)
        assert grid.quantize(torch.tensor([-1.5, -0.2, 0.0, 0.3, 1.1, 6.0, 7.0])).tolist() == [
            0,
            3,
            3,
            4,
            5,
            15,
            15,
        ]
        assert grid.dequantize(torch.tensor([0, 3, 15], dtype=torch.uint8)).tolist() == [-1.5, 0.0, 6.0]


def least_error_exponents(x: np.ndarray, low: float, high: float, bits: int) -> np.ndarray:
    """Brute force over the exponents 0 to 3 of every channel, in float64."""
    qmax = 2**bits - 1
    scale = (high - low) / qmax / 8
    zero = np.rint(-low / (8 * scale))
    errors = []
    for exponent in range(4):
        step = scale * 2**exponent
        restored = (np.clip(np.rint(x / step) + zero, 0, qmax) - zero) * step
        errors.append(((restored - x) ** 2).sum(0))
    return np.argmin(errors, 0)


class TestPowerOfTwoGrid:
    def test_codes_by_hand(self) -> None:
        grid = PowerOfTwoGrid(0.5, 8, np.array([0, 1, 3]), 15)
        assert grid.channel_scales.tolist() == [0.5, 1.0, 4.0]
        codes = grid.quantize(torch.tensor([[1.0, 1.0, 9.0], [-9.0, 90.0, -4.1]]))
        assert codes.tolist() == [[10, 9, 10], [0, 15, 7]]
        assert grid.dequantize(codes).tolist() == [[1.0, 1.0, 8.0], [-4.0, 7.0, -4.0]]

    @pytest.mark.parametrize("bits", [4, 8])
    def test_exponents_have_the_least_error_over_all_batches(self, bits: int) -> None:
        rng = np.random.default_rng(bits)
        # In each batch other channels are wide, so that no batch alone tells every exponent.
        widths = [rng.choice([0.5, 2.0, 4.0, 8.0], 40) for _ in range(2)]
        batches = [(rng.normal(size=(3, 50, 40)) * width).astype(np.float32) for width in widths]
        values = np.concatenate(batches).reshape(-1, 40).astype(np.float64)
        low, high = float(values.min()), float(values.max())
        search = PowerOfTwoSearch(low, high, bits)
        for batch in batches:
            search.observe(torch.from_numpy(batch))
        grid = search.grid()
        assert grid.exponents.tolist() == least_error_exponents(values, low, high, bits).tolist()
        assert set(grid.exponents.tolist()) == {0, 1, 2, 3}
        last = PowerOfTwoSearch(low, high, bits)
        last.observe(torch.from_numpy(batches[-1]))
        assert grid.exponents.tolist() != last.grid().exponents.tolist()

    def test_eight_layer_scales_cover_the_range(self) -> None:
        search = PowerOfTwoSearch(-3.0, 5.0, 8)
        search.observe(torch.tensor([[-3.0], [5.0]]))
        grid = search.grid()
        assert grid.scale * 8 * 255 == pytest.approx(8.0)
        assert grid.zero_point == 96  # 3 / 8 of 255 is 95.6
        assert grid.exponents.tolist() == [3]

    def test_one_sided_ranges_contain_zero(self) -> None:
        search = PowerOfTwoSearch(2.0, 5.1, 8)
        search.observe(torch.tensor([[2.0], [5.1]]))
        assert (search.grid().zero_point, search.grid().scale) == (0, pytest.approx(5.1 / 255 / 8))

    def test_a_grid_needs_a_batch(self) -> None:
        with pytest.raises(ValueError, match="observe at least one batch"):
            PowerOfTwoSearch(0.0, 1.0, 8).grid()
