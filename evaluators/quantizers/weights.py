"""Quantized weights: codes, clipping ranges, group factors, zero points, nearest and compensated rounding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch

from bitfront.evaluators.quantizers.floats import FloatWeight
from bitfront.evaluators.quantizers.grids import SMALLEST_SCALE
from bitfront.spaces import BitfrontError, FormatName, Precision, UserError, number_format
from bitfront.spaces.precision import MAX_BITS

# Inputs that share a factor.
GROUP = 16
WEIGHT_RANGES = ("mse", "minmax", "sigma")
DAMPING = 0.01
BLOCK = 64
# Multiples of a channel's standard deviation that are tried beside its largest weight, from -6 to 1, and the
# least share of that range that they may leave.
BETAS = tuple(step / 10 for step in range(-60, 11))
LEAST_SIGMA_SHARE = 0.2
# Tried about the scale of least squared error of each channel.
SCALE_SHARES = (0.8, 0.9, 1.0, 1.1, 1.2)


@dataclass(frozen=True)
class QuantizedWeight:
    """Signed codes with one scale for each output channel.

    Attributes:
        codes: int8 ``[out, in]`` as kernels take them; narrower widths are carried in int8, and where inputs
            come in groups a code is the narrow one that is stored times its group's factor.
        scales: float32 ``[out]``; the weight is ``codes * scales[:, None]``, or with zero points
            ``(codes - zeros[:, None]) * scales[:, None]``.
        bits: Width of the codes that are stored.
        factors: Of each group of :data:`GROUP` inputs, uint8 ``[out, groups]``, from 1 to
            :func:`largest_factor`; None where inputs come in no groups.
        zeros: The code that stands for zero in each output channel, int8 ``[out]``; None where it is 0.
    """

    codes: torch.Tensor
    scales: torch.Tensor
    bits: int
    factors: torch.Tensor | None = None
    zeros: torch.Tensor | None = None

    def restored(self) -> torch.Tensor:
        """The weight that the codes stand for, float64 ``[out, in]``."""
        codes = self.codes.double()
        if self.zeros is not None:
            codes = codes - self.zeros.double()[:, None]
        return codes * self.scales.double()[:, None]

    def sums(self) -> torch.Tensor:
        """Sum of the weights of each output channel, float64 ``[out]``."""
        total = self.codes.double().sum(1)
        if self.zeros is not None:
            total = total - self.codes.shape[1] * self.zeros.double()
        return total * self.scales.double()

    @property
    def narrow_codes(self) -> torch.Tensor:
        """The codes of ``bits`` bits, without the factors of their groups: int8 ``[out, in]``."""
        if self.factors is None:
            return self.codes
        return (self.codes // spread_out(self.factors, self.codes.shape[1])).to(torch.int8)

    @classmethod
    def of_narrow_codes(
        cls, codes: torch.Tensor, scales: torch.Tensor, bits: int, factors: torch.Tensor | None
    ) -> QuantizedWeight:
        """The inverse of :attr:`narrow_codes`."""
        if factors is None:
            return cls(codes, scales, bits)
        return cls((codes * spread_out(factors, codes.shape[1])).to(torch.int8), scales, bits, factors)


HeldWeight: TypeAlias = QuantizedWeight | FloatWeight


def largest_factor(bits: int) -> int:
    """Of a group: the products of factors and codes of ``bits`` bits are 8-bit integers."""
    return 1 << (MAX_BITS - bits)


def groups_of(inputs: int) -> int:
    """How many groups so many inputs come in."""
    return -(-inputs // GROUP)


def spread_out(factors: torch.Tensor, inputs: int) -> torch.Tensor:
    """Factors ``[out, groups]`` by input, int16 ``[out, in]``."""
    return factors.repeat_interleave(GROUP, 1)[:, :inputs].to(torch.int16)


def quantize_weight(
    weight: torch.Tensor,
    bits: int,
    ranges: str = "mse",
    hessian: torch.Tensor | None = None,
    *,
    grouped: bool = False,
    zero_points: bool = False,
    name: str = "a weight",
) -> QuantizedWeight:
    """Quantizes a weight ``[out, in]`` per output channel.

    Args:
        weight: Float weight.
        bits: Width from 2 to 8.
        ranges: ``minmax`` for ``s_c = max|W_c| / (2^(bits-1) - 1)``; ``mse`` shrinks each channel's range to
            the share of its maximum with the least squared error (of the outputs, with a ``hessian``);
            ``sigma`` for ``s_c = (max|W_c| + beta sigma(W_c)) / (2^(bits-1) - 1)`` with the ``beta`` of
            least squared error for all channels together (VQ-ViT).
        hessian: Second moments ``E[x x^T]`` of the layer's input, ``[in, in]``; where given, rounding errors
            are compensated (GPTQ), otherwise codes are rounded to nearest.
        grouped: Whether groups of inputs have integer factors of their own (a scale for each group that
            leaves products those of 8-bit integers), where ``bits`` leave room for factors.
        zero_points: Whether ranges need not lie evenly about zero; such weights have no groups.
        name: Of the layer, for errors.

    Raises:
        UserError: Unknown ``ranges``.
        BitfrontError: The weight holds NaN or infinity.
    """
    if not bool(weight.isfinite().all()):
        raise BitfrontError(f"the weight of {name} holds NaN or infinity: check the checkpoint")
    if ranges not in WEIGHT_RANGES:
        raise UserError(f"unknown weight ranges {ranges!r}: choose one of {', '.join(WEIGHT_RANGES)}")
    precision = Precision(bits, signed=True)
    if zero_points:
        return _with_zero_points(weight, precision, ranges, hessian)
    full = (weight.abs().amax(1) / precision.qmax).clamp_min(SMALLEST_SCALE)
    scales, factors = full, None
    if grouped and largest_factor(bits) > 1:
        scales, factors = _group_factors(weight, full, precision)
    elif ranges == "mse":
        scales = _least_squares_scales(weight, full, precision)
    elif ranges == "sigma":
        scales = _sigma_scales(weight, full, precision)
    steps = scales[:, None] if factors is None else scales[:, None] * spread_out(factors, weight.shape[1])
    if hessian is None:
        codes = _round(weight, steps, precision)
    else:
        codes, share = _least_error(weight, steps, precision, hessian, refine=ranges == "mse")
        scales = scales * share
    if factors is not None:
        codes = codes * spread_out(factors, weight.shape[1])
    return QuantizedWeight(codes.to(torch.int8), scales, bits, factors)


def _with_zero_points(
    weight: torch.Tensor, precision: Precision, ranges: str, hessian: torch.Tensor | None
) -> QuantizedWeight:
    """Codes over each channel's own range; ``mse`` shrinks it to the share with the least squared error."""
    low, high = weight.amin(1).clamp_max(0.0), weight.amax(1).clamp_min(0.0)
    scales, zeros = torch.empty_like(low), torch.empty_like(low)
    least = torch.full_like(low, torch.inf)
    for share in _shares(precision) if ranges == "mse" else torch.ones(1):
        steps = ((high - low) * share / (precision.qmax - precision.qmin)).clamp_min(SMALLEST_SCALE)
        centre = (precision.qmin - low * share / steps).round_().clamp_(precision.qmin, precision.qmax)
        codes = (weight / steps[:, None] + centre[:, None]).round_().clamp_(precision.qmin, precision.qmax)
        errors = (codes - centre[:, None]).mul_(steps[:, None]).sub_(weight).square_().sum(1)
        better = errors < least
        scales, zeros = torch.where(better, steps, scales), torch.where(better, centre, zeros)
        least = torch.where(better, errors, least)
    # Moved by whole steps, the weight is one whose codes lie evenly about zero.
    moved = weight + (zeros * scales)[:, None]
    if hessian is None:
        codes = (weight / scales[:, None] + zeros[:, None]).round_().clamp_(precision.qmin, precision.qmax)
    else:
        codes, _ = _least_error(moved, scales[:, None], precision, hessian, refine=False)
    return QuantizedWeight(codes.to(torch.int8), scales, precision.bits, None, zeros.to(torch.int8))


def _group_factors(
    weight: torch.Tensor, full: torch.Tensor, precision: Precision
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scales ``[out]`` and the factor of each group with the least squared error, ``[out, groups]``."""
    largest = largest_factor(precision.bits)
    scales = full / largest
    groups = groups_of(weight.shape[1])
    padded = torch.nn.functional.pad(weight, (0, groups * GROUP - weight.shape[1]))
    grouped = padded.view(len(weight), groups, GROUP)
    best = torch.full(grouped.shape[:2], largest, dtype=torch.uint8, device=weight.device)
    least = torch.full(grouped.shape[:2], torch.inf, device=weight.device)
    for factor in range(1, largest + 1):
        steps = (scales * factor)[:, None, None]
        restored = (grouped / steps).round_().clamp_(precision.qmin, precision.qmax).mul_(steps)
        errors = restored.sub_(grouped).square_().sum(-1)
        better = errors < least
        least = torch.where(better, errors, least)
        best = torch.where(better, factor, best)
    return scales, best


def held_weight(
    weight: torch.Tensor,
    held: FormatName,
    ranges: str = "mse",
    hessian: torch.Tensor | None = None,
    *,
    grouped: bool = False,
    name: str = "a weight",
) -> HeldWeight:
    """A weight ``[out, in]`` in a number format; arguments and errors as of :func:`quantize_weight`."""
    found = number_format(held)
    if found.floating:
        return FloatWeight.of(weight, found.name, name)
    zero_points = found.zero_points
    return quantize_weight(
        weight,
        found.bits,
        ranges,
        hessian,
        grouped=grouped and not zero_points,
        zero_points=zero_points,
        name=name,
    )


def _round(weight: torch.Tensor, steps: torch.Tensor, precision: Precision) -> torch.Tensor:
    return (weight / steps).round_().clamp_(precision.qmin, precision.qmax)


def _shares(precision: Precision) -> torch.Tensor:
    """Tried of a range: eight-bit ones never shrink far; the narrower the codes, the more clipping pays."""
    return torch.linspace(0.8, 1.0, 21) if precision.bits > 6 else torch.linspace(0.3, 1.0, 57)


def _least_squares_scales(weight: torch.Tensor, full: torch.Tensor, precision: Precision) -> torch.Tensor:
    best_scales = full.clone()
    best_errors = torch.full_like(full, torch.inf)
    for share in _shares(precision):
        scales = full * share
        restored = _round(weight, scales[:, None], precision).mul_(scales[:, None])
        errors = restored.sub_(weight).square_().sum(1)
        better = errors < best_errors
        best_scales = torch.where(better, scales, best_scales)
        best_errors = torch.where(better, errors, best_errors)
    return best_scales


def _sigma_scales(weight: torch.Tensor, full: torch.Tensor, precision: Precision) -> torch.Tensor:
    """Scales ``[out]`` by the largest weights and the multiple of standard deviations that fits all best."""
    spread = weight.std(1, correction=0) / precision.qmax
    candidates = [(full + beta * spread).maximum(LEAST_SIGMA_SHARE * full) for beta in BETAS]
    errors = [
        float(_round(weight, scales[:, None], precision).mul_(scales[:, None]).sub_(weight).square_().sum())
        for scales in candidates
    ]
    return candidates[min(range(len(errors)), key=errors.__getitem__)]


def _least_error(
    weight: torch.Tensor, steps: torch.Tensor, precision: Precision, hessian: torch.Tensor, *, refine: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compensated codes, with the share of its steps for each channel that has the least output error."""
    shares = SCALE_SHARES if refine else (1.0,)
    candidates = torch.cat([steps * share for share in shares])
    repeated = weight.double().repeat(len(shares), 1)
    codes = _compensated_codes(repeated, candidates, precision, hessian)
    errors = (codes * candidates.double()).sub_(repeated)
    cost = (errors @ hessian.double()).mul_(errors).sum(1).view(len(shares), -1)
    best = cost.argmin(0)
    rows = best * len(steps) + torch.arange(len(steps), device=steps.device)
    return codes[rows].float(), torch.tensor(shares, device=steps.device)[best]


def _compensated_codes(
    weight: torch.Tensor, steps: torch.Tensor, precision: Precision, hessian: torch.Tensor
) -> torch.Tensor:
    """Codes whose rounding errors are made up for by the inputs that are still to be rounded.

    GPTQ (Frantar et al., arXiv 2210.17323), algorithm 1, with inputs in descending order of their second
    moment and updates gathered in blocks.
    """
    order = hessian.diagonal().argsort(descending=True, stable=True)
    factor = _inverse_factor(hessian[order][:, order].double())
    # Inputs are rows here: what is rounded at once lies side by side in memory.
    remaining = weight[:, order].double().T.contiguous()
    steps = steps.double().expand_as(weight)[:, order].T.contiguous()
    codes = torch.empty_like(remaining)
    inputs = len(remaining)
    for first in range(0, inputs, BLOCK):
        last = min(first + BLOCK, inputs)
        errors = torch.empty_like(remaining[first:last])
        for at in range(first, last):
            code = (remaining[at] / steps[at]).round_().clamp_(precision.qmin, precision.qmax)
            error = (remaining[at] - code * steps[at]).div_(factor[at, at])
            remaining[at + 1 : last] -= torch.outer(factor[at, at + 1 : last], error)
            codes[at], errors[at - first] = code, error
        remaining[last:] -= (errors.T.contiguous() @ factor[first:last, last:]).T
    restored = torch.empty_like(weight, dtype=torch.float64)
    restored[:, order] = codes.T
    return restored


def _inverse_factor(hessian: torch.Tensor) -> torch.Tensor:
    """Upper Cholesky factor of the damped Hessian's inverse; dead inputs are damped to identity."""
    mean = hessian.diagonal().mean()
    damping = DAMPING * mean if mean > 0 else torch.ones_like(mean)
    damped = hessian + damping * torch.eye(len(hessian), dtype=hessian.dtype, device=hessian.device)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor: torch.Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor
