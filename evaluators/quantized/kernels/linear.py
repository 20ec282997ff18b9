"""Integer linear layers: int8 GEMM with int32 accumulation, dequantized and requantized on the way out."""

from __future__ import annotations

import functools
from typing import Protocol

import torch
import torch.nn.functional as F

from bitfront.evaluators.quantized.kernels.lookup import replace_codes
from bitfront.evaluators.quantizers.grids import AffineGrid, single
from bitfront.evaluators.quantizers.minifloats import MinifloatGrid, two_bits
from bitfront.evaluators.quantizers.weights import QuantizedWeight

# Largest inner dimension whose sums of 8-bit products (255 * 128 each) are exact in float32.
FLOAT32_INNER_LIMIT = (1 << 24) // (255 * 128)
# What torch._int_mm asks for on CUDA devices.
_INT_MM_MULTIPLE = 8
_INT_MM_ROWS = 17


class IntegerLinear(Protocol):
    """A linear layer on codes."""

    def to_codes(
        self,
        x: torch.Tensor,
        grid: AffineGrid,
        out: AffineGrid,
        *,
        gelu: bool = False,
        codebook: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """uint8 codes ``[rows, out]`` on ``out`` of the (GELU of the) layer at uint8 codes ``[rows, in]``.

        With ``codebook``, uint8 ``[256]``, they are 8-bit codes, and each is replaced by its level.
        """

    def to_float(self, x: torch.Tensor, grid: AffineGrid) -> torch.Tensor:
        """float32 ``[rows, out]`` of the layer at uint8 codes ``[rows, in]``."""


def integer_bias(bias: torch.Tensor, scales: torch.Tensor, input_scale: float) -> torch.Tensor:
    """The bias rounded to the accumulator's steps ``input_scale * scales``: an int32 bias, as float32."""
    step = scales.double() * input_scale
    return (torch.round(bias.double() / step) * step).float()


def output_factors(scales: torch.Tensor, input_scale: float) -> torch.Tensor:
    """Factors from the accumulators of each output channel to its values, float32 ``[out]``."""
    return scales * input_scale


def requantize(value: torch.Tensor, out: AffineGrid) -> torch.Tensor:
    """uint8 codes of float32 values as oneDNN rounds them: times the inverse scale, plus the zero point."""
    if isinstance(out, MinifloatGrid):
        value = two_bits(value)
    return (value * single(1.0 / out.scale) + out.zero_point).round_().clamp_(0, out.qmax).to(torch.uint8)


def codes_of(
    value: torch.Tensor, out: AffineGrid, *, gelu: bool = False, codebook: torch.Tensor | None = None
) -> torch.Tensor:
    """uint8 codes of (the GELU of) float32 values as oneDNN rounds them, or their levels in ``codebook``."""
    codes = requantize(F.gelu(value) if gelu else value, out)
    return codes if codebook is None else replace_codes(codes, codebook)


class OneDnnLinear:
    """oneDNN's fused int8 linear with prepacked weights (VNNI or AMX where the CPU has them).

    Sums are exact up to 2^24; beyond, where float32 has no room for them, AMX rounds them twice. The scale of
    the input goes into those of the channels: left to itself, oneDNN multiplies by the two together with AMX,
    by one after the other without and where there are few products.
    """

    def __init__(self, weight: QuantizedWeight, bias: torch.Tensor) -> None:
        self._packed = torch.ops.onednn.qlinear_prepack(weight.codes, None)
        self._scales = weight.scales
        self._zeros = torch.zeros(len(weight.scales), dtype=torch.int32)
        self._bias = bias
        self._terms: dict[float, tuple[torch.Tensor, torch.Tensor]] = {}

    def _run(self, x: torch.Tensor, grid: AffineGrid, out: AffineGrid | None, post: str) -> torch.Tensor:
        if grid.scale not in self._terms:
            bias = integer_bias(self._bias, self._scales, grid.scale)
            self._terms[grid.scale] = output_factors(self._scales, grid.scale), bias
        factors, bias = self._terms[grid.scale]
        result: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            x,
            1.0,
            grid.zero_point,
            self._packed,
            factors,
            self._zeros,
            bias,
            1.0 if out is None else out.scale,
            0 if out is None else out.zero_point,
            torch.float32 if out is None else torch.uint8,
            post,
            [],
            "none" if post == "gelu" else "",
        )
        return result

    def to_codes(
        self,
        x: torch.Tensor,
        grid: AffineGrid,
        out: AffineGrid,
        *,
        gelu: bool = False,
        codebook: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See :class:`IntegerLinear`; codes saturate at 255 and are clipped where the grid is narrower."""
        if isinstance(out, MinifloatGrid):  # oneDNN has no such rounding
            return codes_of(self.to_float(x, grid), out, gelu=gelu, codebook=codebook)
        codes = self._run(x, grid, out, "gelu" if gelu else "none")
        if out.qmax < 255:
            codes = codes.clamp_(max=out.qmax)
        return codes if codebook is None else replace_codes(codes, codebook)

    def to_float(self, x: torch.Tensor, grid: AffineGrid) -> torch.Tensor:
        """See :class:`IntegerLinear`."""
        return self._run(x, grid, None, "none")


def _finish(
    accumulated: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor, grid: AffineGrid
) -> torch.Tensor:
    """float32 outputs of int32 accumulators ``[rows, out]``."""
    return accumulated.float() * output_factors(scales, grid.scale) + integer_bias(bias, scales, grid.scale)


class FloatLaneLinear:
    """The same integers in float32 lanes, for CPUs without int8 kernels.

    The inner dimension is cut so that every partial sum is exact; partial sums add up in int32.
    """

    def __init__(self, weight: QuantizedWeight, bias: torch.Tensor) -> None:
        self._codes = weight.codes
        self._scales = weight.scales
        self._bias = bias

    def _accumulate(self, x: torch.Tensor, zero_point: int) -> torch.Tensor:
        parts = zip(
            torch.split(x, FLOAT32_INNER_LIMIT, dim=1),
            torch.split(self._codes, FLOAT32_INNER_LIMIT, dim=1),
            strict=True,
        )
        sums = (F.linear(left.float() - zero_point, right.float()).to(torch.int32) for left, right in parts)
        return functools.reduce(torch.Tensor.add_, sums)

    def to_float(self, x: torch.Tensor, grid: AffineGrid) -> torch.Tensor:
        """See :class:`IntegerLinear`."""
        return _finish(self._accumulate(x, grid.zero_point), self._scales, self._bias, grid)

    def to_codes(
        self,
        x: torch.Tensor,
        grid: AffineGrid,
        out: AffineGrid,
        *,
        gelu: bool = False,
        codebook: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See :class:`IntegerLinear`."""
        return codes_of(self.to_float(x, grid), out, gelu=gelu, codebook=codebook)


class IntMmLinear(FloatLaneLinear):
    """int8 GEMM by ``torch._int_mm``: cuBLASLt on CUDA devices, any CPU otherwise.

    It takes signed operands whose inner and outer dimensions are multiples of 8, and more than 16 rows; codes
    are shifted by 128, which the sums of the weights make up for, and operands are padded by zeros.
    """

    def __init__(self, weight: QuantizedWeight, bias: torch.Tensor) -> None:
        out, inner = weight.codes.shape
        padded = F.pad(weight.codes, (0, -inner % _INT_MM_MULTIPLE, 0, -out % _INT_MM_MULTIPLE))
        super().__init__(weight, bias)
        self._codes = padded
        self._shape = out, inner
        self._sums = weight.codes.sum(1, dtype=torch.int32)

    def _accumulate(self, x: torch.Tensor, zero_point: int) -> torch.Tensor:
        out, inner = self._shape
        signed = (x ^ 128).view(torch.int8)
        missing = max(0, _INT_MM_ROWS - len(x))
        signed = F.pad(signed, (0, -inner % _INT_MM_MULTIPLE, 0, missing))
        products = torch._int_mm(signed, self._codes.t())[: len(x), :out]
        return products + (128 - zero_point) * self._sums


@functools.cache
def int8_kernels_are_exact() -> bool:
    """Whether oneDNN's int8 linear is present and exact here.

    Before AVX512-VNNI, x86 multiplies unsigned by signed bytes into saturating 16-bit pairs; the largest
    codes tell.
    """
    weight = QuantizedWeight(torch.full((16, 64), -128, dtype=torch.int8), torch.ones(16), 8)
    x = torch.full((4, 64), 255, dtype=torch.uint8)
    try:
        result = OneDnnLinear(weight, torch.zeros(16)).to_float(x, AffineGrid(1.0, 0, 255))
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    return bool((result == -128.0 * 255.0 * 64.0).all())
