"""Symmetric per-channel weight quantization: clipping ranges, nearest and compensated rounding."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bitfront.evaluators.quantizers.affine import SMALLEST_SCALE
from bitfront.spaces import BitfrontError, Precision, UserError

WEIGHT_RANGES = ("mse", "minmax")
WEIGHT_ROUNDINGS = ("gptq", "nearest")
DAMPING = 0.01
BLOCK = 64


@dataclass(frozen=True)
class QuantizedWeight:
    """Signed codes with one scale for each output channel.

    Attributes:
        codes: int8 ``[out, in]``; narrower widths are carried in int8.
        scales: float32 ``[out]``; the weight is ``codes * scales[:, None]``.
        bits: Width of the codes.
    """

    codes: torch.Tensor
    scales: torch.Tensor
    bits: int


def quantize_weight(
    weight: torch.Tensor,
    bits: int,
    ranges: str = "mse",
    hessian: torch.Tensor | None = None,
    *,
    name: str = "a weight",
) -> QuantizedWeight:
    """Quantizes a weight ``[out, in]`` per output channel.

    Args:
        weight: Float weight.
        bits: Width from 2 to 8.
        ranges: ``minmax`` for ``s_c = max|W_c| / (2^(bits-1) - 1)``; ``mse`` shrinks each channel's range to
            the share of its maximum with the least squared error.
        hessian: Second moments ``E[x x^T]`` of the layer's input, ``[in, in]``; where given, rounding errors
            are compensated (GPTQ), otherwise codes are rounded to nearest.
        name: Of the layer, for errors.

    Raises:
        UserError: Unknown ``ranges``.
        BitfrontError: The weight holds NaN or infinity.
    """
    if not bool(weight.isfinite().all()):
        raise BitfrontError(f"the weight of {name} holds NaN or infinity: check the checkpoint")
    precision = Precision(bits, signed=True)
    full = (weight.abs().amax(1) / precision.qmax).clamp_min(SMALLEST_SCALE)
    if ranges == "minmax":
        scales = full
    elif ranges == "mse":
        scales = _least_squares_scales(weight, full, precision)
    else:
        raise UserError(f"unknown weight ranges {ranges!r}: choose one of {', '.join(WEIGHT_RANGES)}")
    if hessian is None:
        codes = _round(weight, scales, precision)
    else:
        codes = _compensated_codes(weight, scales, precision, hessian)
    return QuantizedWeight(codes.to(torch.int8), scales, bits)


def _round(weight: torch.Tensor, scales: torch.Tensor, precision: Precision) -> torch.Tensor:
    return (weight / scales[:, None]).round_().clamp_(precision.qmin, precision.qmax)


def _least_squares_scales(weight: torch.Tensor, full: torch.Tensor, precision: Precision) -> torch.Tensor:
    # Eight-bit ranges never shrink far; the narrower the codes, the more clipping pays.
    shares = torch.linspace(0.8, 1.0, 21) if precision.bits > 6 else torch.linspace(0.3, 1.0, 57)
    best_scales = full.clone()
    best_errors = torch.full_like(full, torch.inf)
    for share in shares:
        scales = full * share
        restored = _round(weight, scales, precision).mul_(scales[:, None])
        errors = restored.sub_(weight).square_().sum(1)
        better = errors < best_errors
        best_scales = torch.where(better, scales, best_scales)
        best_errors = torch.where(better, errors, best_errors)
    return best_scales


def _compensated_codes(
    weight: torch.Tensor, scales: torch.Tensor, precision: Precision, hessian: torch.Tensor
) -> torch.Tensor:
    """Codes whose rounding errors are made up for by the inputs that are still to be rounded.

    GPTQ (Frantar et al., arXiv 2210.17323), algorithm 1, with inputs in descending order of their second
    moment and updates gathered in blocks.
    """
    order = hessian.diagonal().argsort(descending=True, stable=True)
    factor = _inverse_factor(hessian[order][:, order].double())
    remaining = weight[:, order].double()
    steps = scales.double()
    codes = torch.empty_like(remaining)
    inputs = remaining.shape[1]
    for first in range(0, inputs, BLOCK):
        last = min(first + BLOCK, inputs)
        block = remaining[:, first:last]
        errors = torch.empty_like(block)
        for column in range(last - first):
            at = first + column
            code = (block[:, column] / steps).round_().clamp_(precision.qmin, precision.qmax)
            error = (block[:, column] - code * steps) / factor[at, at]
            block[:, column:] -= torch.outer(error, factor[at, at:last])
            codes[:, at], errors[:, column] = code, error
        remaining[:, last:] -= errors @ factor[first:last, last:]
    restored = torch.empty_like(codes)
    restored[:, order] = codes
    return restored


def _inverse_factor(hessian: torch.Tensor) -> torch.Tensor:
    """Upper Cholesky factor of the damped Hessian's inverse; dead inputs are damped to identity."""
    mean = hessian.diagonal().mean()
    damping = DAMPING * mean if mean > 0 else torch.ones_like(mean)
    damped = hessian + damping * torch.eye(len(hessian), dtype=hessian.dtype, device=hessian.device)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor: torch.Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor
