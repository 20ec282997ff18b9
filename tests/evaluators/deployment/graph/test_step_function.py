"""Tables of step functions: every float32 number about every step has the kernel's code."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from bitfront.evaluators.deployment.graph.step_function import StepTable, gelu_codes, ordinal, value_of
from bitfront.evaluators.quantized.kernels.backend import Kernels
from bitfront.evaluators.quantized.kernels.cpu import CpuKernels
from bitfront.evaluators.quantized.kernels.portable import PortableKernels
from bitfront.evaluators.quantizers.grids import AffineGrid, codebook_lookup, single

KERNELS: dict[str, Callable[[], Kernels]] = {
    "cpu": CpuKernels,
    "portable": lambda: PortableKernels(torch.device("cpu")),
}
LEVELS = np.array([0, 3, 14, 20, 25, 40, 60, 80, 100, 120, 140, 170, 190, 200, 220, 250], np.uint8)


def test_ordinals_count_float32_numbers() -> None:
    values = np.array([-3.5, -1e-45, 0.0, 1e-45, 1.0, np.nextafter(np.float32(1), np.float32(2))], np.float32)
    found = ordinal(values)
    assert found[1:4].tolist() == [-1, 0, 1]
    assert found[5] - found[4] == 1
    np.testing.assert_array_equal(value_of(found), values)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(
    ("scale", "zero", "qmax", "levelled"),
    [(0.0123, 14, 255, False), (0.0123, 14, 255, True), (0.1, 2, 15, False), (2.0, 0, 3, False)],
)
def test_gelu_of_kernels(kernels: str, scale: float, zero: int, qmax: int, levelled: bool) -> None:
    out = AffineGrid(single(scale), zero, qmax)
    codes = gelu_codes(KERNELS[kernels](), out, codebook_lookup(LEVELS) if levelled else None)
    table = StepTable.of(codes, out)
    rng = np.random.default_rng(0)
    drawn = [rng.normal(size=50_000) * spread for spread in (5.0, 1.0, 10 * scale)]
    steps = ordinal(table.start[table.inverse > 0])
    about = value_of((steps[:, None] + np.arange(-300, 301)).ravel())
    values = np.concatenate([*drawn, about]).astype(np.float32)
    np.testing.assert_array_equal(table(values), codes(values))


def test_a_function_that_is_constant() -> None:
    def codes(values: np.ndarray) -> np.ndarray:
        return np.full(len(values), 7, np.uint8)

    table = StepTable.of(codes, AffineGrid(0.5, 0, 255))
    assert set(table(np.linspace(-10, 10, 99, dtype=np.float32)).tolist()) == {7}


def test_steps_that_go_back_and_forth() -> None:
    first = int(ordinal(np.array([1.25], np.float32))[0])

    def codes(values: np.ndarray) -> np.ndarray:
        at = ordinal(values)
        return np.where(at < first, 3, np.where(at < first + 5000, (at * 7919) % 5, 9)).astype(np.uint8)

    table = StepTable.of(codes, AffineGrid(0.5, 0, 255))
    values = value_of(np.arange(first - 9000, first + 9000))
    np.testing.assert_array_equal(table(values), codes(values))
