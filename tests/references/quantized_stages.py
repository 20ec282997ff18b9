"""The stages of a quantized transformer, one formula a line, in the floating-point type of their inputs.

Codes are integers in floating-point tensors. In float64 every formula on integers is exact and every other is
right to about 1e-15, which defines what is expected; in float32 the same lines are plain fake quantization.
Sections and equations are those of FQ-ViT (Lin et al., arXiv 2111.13824) unless another source is named.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from bitfront.evaluators.models.parts import NormParts
from bitfront.evaluators.quantizers.floats import FloatWeight
from bitfront.evaluators.quantizers.grids import AffineGrid, PowerOfTwoGrid
from bitfront.evaluators.quantizers.minifloats import MinifloatGrid
from bitfront.evaluators.quantizers.weights import HeldWeight, QuantizedWeight


@dataclasses.dataclass(frozen=True)
class FloatGrid:
    """The numbers of a float format.

    Attributes:
        precision: Significant bits, the leading one among them.
        least: Exponent of the smallest step between numbers.
    """

    precision: int
    least: int

    def nearest(self, x: torch.Tensor) -> torch.Tensor:
        """The nearest number of each value, the even one at ties."""
        step = self.step(x)
        return torch.round(x / step) * step

    def step(self, x: torch.Tensor) -> torch.Tensor:
        """Distance of neighbouring numbers about each value."""
        exponent = torch.frexp(x).exponent.to(x.dtype) - self.precision
        return torch.exp2(exponent.clamp_min(self.least))


# IEEE 754 (2019), table 3.5: bfloat16 has single precision's exponents with 8 significant bits.
FLOATS = {"bf16": FloatGrid(8, -133), "fp16": FloatGrid(11, -24), "fp32": FloatGrid(24, -149)}
# What minifloats keep of a value, before it is rounded to whole steps.
MINIFLOATS = FloatGrid(2, -149)
Grid = AffineGrid | PowerOfTwoGrid | FloatGrid

LOG_BITS = 4  # attention of up to this many bits takes logarithmic codes
LOG_UNIT = 2.0**-15  # their values are multiples of it
LARGEST_SHIFT = 31  # N of the integer LayerNorm, section 3.2
LARGEST_MULTIPLIER = 255  # M has eight bits
# exp(p) for p in (-ln 2, 0]: 0.35815147 p^2 + 0.96963238 p + 1 (section 3.3, from I-BERT, arXiv 2101.01321).
A, B, C = 0.35815147, 0.96963238, 1.0
EXPONENTIAL_SHIFT = 30  # integer exponentials are shifted left by this many bits, then right by z
STEPS_PER_LN2 = 64  # differences of scores are split until ln 2 has this many steps


def steps(grid: Grid, dtype: torch.dtype) -> torch.Tensor:
    """Step between neighbouring values: one of a tensor, or one of each channel with PTF (eq. 8)."""
    scales = grid.channel_scales if isinstance(grid, PowerOfTwoGrid) else grid.scale
    return torch.as_tensor(scales, dtype=dtype)


def put(x: torch.Tensor, grid: Grid | None) -> torch.Tensor:
    """Codes ``clip(round(x / s) + z, 0, qmax)``, with PTF eq. 8; the values where there is no grid."""
    if grid is None:
        return x
    if isinstance(grid, FloatGrid):
        return grid.nearest(x)
    if isinstance(grid, MinifloatGrid):
        x = MINIFLOATS.nearest(x)
    return (torch.round(x / steps(grid, x.dtype)) + grid.zero_point).clamp(0, grid.qmax)


def value(x: torch.Tensor, grid: Grid | None) -> torch.Tensor:
    """Values ``(q - z) s`` of codes; the values as they are where there is no grid."""
    return x if grid is None or isinstance(grid, FloatGrid) else (x - grid.zero_point) * steps(grid, x.dtype)


def linear(
    codes: torch.Tensor, grid: AffineGrid | FloatGrid, weight: HeldWeight, bias: torch.Tensor
) -> torch.Tensor:
    """A linear layer on codes; its bias is whole steps ``s_x s_w`` (Jacob et al., arXiv 1712.05877, 2.4).

    Where its input or its weight is of floats, its bias is one.
    """
    if isinstance(weight, FloatWeight):
        return F.linear(value(codes, grid), weight.values.to(codes.dtype), bias.to(codes.dtype))
    weight_scales = weight.scales.to(codes.dtype)
    weights = weight.codes.to(codes.dtype)
    if weight.zeros is not None:
        weights = weights - weight.zeros.to(codes.dtype)[:, None]
    weights = weights * weight_scales[:, None]
    if isinstance(grid, FloatGrid):
        return F.linear(codes, weights, bias.to(codes.dtype))
    step = weight_scales * steps(grid, codes.dtype)
    integer_bias = torch.round(bias.to(codes.dtype) / step)
    return F.linear(value(codes, grid), weights, integer_bias * step)


def norm(x: torch.Tensor, source: PowerOfTwoGrid | None, parts: NormParts, out: Grid | None) -> torch.Tensor:
    """A norm in integers where its input is on a grid, of real values where it is not."""
    if source is None or out is None:
        return put(real_norm(x, parts), out)
    assert parts.centred, "no RMSNorm in integers"
    return integer_layer_norm(x, source, parts, out)


def real_norm(x: torch.Tensor, parts: NormParts) -> torch.Tensor:
    """LayerNorm or RMSNorm of real values."""
    return layer_norm(x, parts) if parts.centred else rms_norm(x, parts)


def layer_norm(x: torch.Tensor, parts: NormParts) -> torch.Tensor:
    """LayerNorm of real values (Ba et al., arXiv 1607.06450, eq. 4)."""
    deviation = x - x.mean(-1, keepdim=True)
    variance = deviation.square().mean(-1, keepdim=True)
    return deviation / torch.sqrt(variance + parts.eps) * parts.weight.to(x.dtype) + parts.bias.to(x.dtype)


def rms_norm(x: torch.Tensor, parts: NormParts) -> torch.Tensor:
    """RMSNorm of real values (Zhang and Sennrich, arXiv 1910.07467, eq. 4), with a bias folded into it."""
    energy = x.square().mean(-1, keepdim=True)
    return x / torch.sqrt(energy + parts.eps) * parts.weight.to(x.dtype) + parts.bias.to(x.dtype)


# Of hidden channels: GELU by the error function, by tanh and by the sigmoid, and SiLU (Hendrycks and Gimpel,
# arXiv 1606.08415, section 2), and ReLU.
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "quick_gelu": lambda x: x / (1 + torch.exp(-1.702 * x)),
    "silu": lambda x: x / (1 + torch.exp(-x)),
    "relu": lambda x: torch.where(x > 0, x, 0.0),
}


def turned(x: torch.Tensor, angles: torch.Tensor, *, halves: bool) -> torch.Tensor:
    """Pairs of channels as complex numbers, turned by angles (RoPE, Su et al., arXiv 2104.09864, eq. 13).

    Args:
        x: ``[..., head_dim]``.
        angles: ``[..., head_dim / 2]``.
        halves: Whether a channel's partner is half a head away, and not its neighbour.
    """
    real, imaginary = x.unflatten(-1, (2, -1)).unbind(-2) if halves else x.unflatten(-1, (-1, 2)).unbind(-1)
    product = torch.complex(real, imaginary) * torch.complex(angles.cos(), angles.sin())
    parts = torch.view_as_real(product)
    return (parts.transpose(-1, -2) if halves else parts).flatten(-2)


def integer_layer_norm(
    codes: torch.Tensor, grid: PowerOfTwoGrid, parts: NormParts, out: Grid
) -> torch.Tensor:
    """LayerNorm of codes onto codes: ``(M x + B + 2^(N-1)) >> N``, section 3.2."""
    dtype = codes.dtype
    x = (codes - grid.zero_point) * torch.as_tensor(1 << grid.exponents, dtype=dtype)  # X_q << alpha
    layer_scale = torch.as_tensor(grid.scale, dtype=dtype)
    mean = x.mean(-1, keepdim=True)
    variance = (x - mean).square().mean(-1, keepdim=True)
    # The layer scale cancels, but for epsilon, which is in units of its square.
    inverse = 1.0 / torch.sqrt(variance + parts.eps / layer_scale.square())
    factor = parts.weight.to(dtype) / steps(out, dtype) * inverse
    # N gives M eight bits: 128 <= |factor| 2^N < 256.
    shift = (8 - torch.frexp(factor).exponent).clamp(0, LARGEST_SHIFT)
    unit = torch.ldexp(torch.ones_like(factor), shift)
    multiplier = torch.round(factor * unit).clamp(-LARGEST_MULTIPLIER, LARGEST_MULTIPLIER)
    offset = torch.round(parts.bias.to(dtype) / steps(out, dtype) * unit - multiplier * mean)
    shifted = torch.floor((multiplier * x + offset) / unit + 0.5)
    return (shifted + out.zero_point).clamp(0, out.qmax)


def integer_exponentials(scale: float, differences: int, dtype: torch.dtype) -> torch.Tensor:
    """i-exp of ``-d scale`` for ``d = 0 .. differences - 1``, as integers (section 3.3)."""
    split = max(0, math.ceil(math.log2(scale * STEPS_PER_LN2 / math.log(2.0))))
    fine = torch.as_tensor(scale, dtype=dtype) / 2**split
    x = torch.arange(differences, dtype=dtype) * 2**split
    ln2 = torch.floor(math.log(2.0) / fine)
    z = torch.floor(x / ln2)
    p = -(x - z * ln2)
    polynomial = (p + torch.floor(B / (A * fine))) * p + torch.floor(C / (A * fine.square()))
    shifted = torch.ldexp(polynomial, EXPONENTIAL_SHIFT - z)
    return torch.where(z > EXPONENTIAL_SHIFT, 0.0, shifted)


def integer_softmax(scores: torch.Tensor, grid: AffineGrid, mask: torch.Tensor | None) -> torch.Tensor:
    """Softmax of score codes by integer exponentials; where ``mask`` is True a pair counts for nothing."""
    table = integer_exponentials(grid.scale, grid.qmax + 1, scores.dtype)
    visible = torch.ones_like(scores, dtype=torch.bool) if mask is None else ~mask.expand_as(scores)
    highest = scores.masked_fill(~visible, -1.0).amax(-1, keepdim=True)
    differences = (highest - scores).masked_fill(~visible, 0.0)
    exponentials = torch.where(visible, table[differences.long()], 0.0)
    return exponentials / exponentials.sum(-1, keepdim=True)


def softmax(scores: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Softmax of real scores; where ``mask`` is True a pair counts for nothing."""
    hidden = scores if mask is None else scores.masked_fill(mask, -torch.inf)
    exponentials = torch.exp(hidden - hidden.amax(-1, keepdim=True))
    return exponentials / exponentials.sum(-1, keepdim=True)


def probabilities(scores: torch.Tensor, grid: AffineGrid | None, mask: torch.Tensor | None) -> torch.Tensor:
    """Softmax of score codes in integers, or of real scores where they have no grid."""
    return softmax(scores, mask) if grid is None else integer_softmax(scores, grid, mask)


def attention_codes(
    shares: torch.Tensor, grid: AffineGrid | FloatGrid, bits: int | None, log_step: float = 1.0
) -> torch.Tensor:
    """Attention in units of :func:`attention_unit`.

    Up to four bits, but for minifloats: the power of the code ``round(-log_b p)``, and 0 where the code needs
    more bits. The base ``b`` is 2 in eq. 15, and ``2^log_step`` here (as in AdaLog, arXiv 2407.12951). Above:
    uniform codes. None stands for floats.
    """
    if not logarithmic(grid, bits):
        return put(shares, grid)
    code = torch.ceil(-torch.log2(shares) / log_step - 0.5)
    powers = [2.0 ** (-c * log_step) for c in range(2**bits)]
    values = shares.new_tensor([*(round(power / LOG_UNIT) * LOG_UNIT for power in powers), 0.0])
    return values[code.clamp(0, 2**bits).long()]


def levelled(codes: torch.Tensor, levels: torch.Tensor | None) -> torch.Tensor:
    """The level that stands for each code, where there are levels."""
    return codes if levels is None else levels.to(codes)[codes.long()]


def attention_unit(grid: AffineGrid | FloatGrid, bits: int | None) -> torch.Tensor:
    """What one unit of :func:`attention_codes` is worth."""
    if isinstance(grid, FloatGrid):
        return torch.ones((), dtype=torch.float64)
    return torch.as_tensor(1.0 if logarithmic(grid, bits) else grid.scale, dtype=torch.float64)


def logarithmic(grid: AffineGrid | FloatGrid, bits: int | None) -> bool:
    """Whether attention of these bits, None for floats, has logarithmic codes."""
    return bits is not None and bits <= LOG_BITS and not isinstance(grid, MinifloatGrid)


def linear_accumulators(codes: torch.Tensor, grid: AffineGrid, weight: QuantizedWeight) -> torch.Tensor:
    """int64 sums ``sum (q_x - z) q_w`` of a linear layer, without its bias."""
    return _integer_product(codes - grid.zero_point, weight.codes.T)


def score_accumulators(q: torch.Tensor, k: torch.Tensor, grid: AffineGrid) -> torch.Tensor:
    """int64 sums of the query codes by the key codes ``[..., n, head_dim]``, both centred."""
    return _integer_product(q - grid.zero_point, (k - grid.zero_point).transpose(-2, -1))


def context_accumulators(
    attention: torch.Tensor, v: torch.Tensor, grid: AffineGrid, bits: int
) -> torch.Tensor:
    """int64 sums of the attention by the centred value codes.

    In units of one code of uniform attention, or of ``2^-15`` of logarithmic attention.
    """
    unit = 1.0 if bits > LOG_BITS else LOG_UNIT
    return _integer_product(attention / unit, v - grid.zero_point)


def _integer_product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """A product of integers by float64, which holds every sum below 2^53 exactly, and is quick."""
    return (left.double() @ right.double()).long()
