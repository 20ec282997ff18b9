"""Rounding with gradients: forward, the codes that the kernels compute; backward, a straight line between."""

from __future__ import annotations

import functools
from typing import Any

import torch

from bitfront.evaluators.quantized.kernels.attention_terms import AttentionTerms
from bitfront.evaluators.quantized.kernels.lookup import replace_codes
from bitfront.evaluators.quantized.kernels.portable import rounded_attention
from bitfront.evaluators.quantizers.grids import AffineGrid


class _Rounded(torch.autograd.Function):
    """Codes less their zero point, of values in steps of a grid.

    Straight through the rounding (Bengio et al., arXiv 1308.3432), nothing beyond the outermost codes; a
    codebook is part of the rounding.
    """

    @staticmethod
    def forward(
        ctx: Any, steps: torch.Tensor, grid: AffineGrid, codebook: torch.Tensor | None, shifted: bool
    ) -> torch.Tensor:
        """Float32 ``[...]`` of ``steps``, which already have the zero point added where ``shifted``."""
        rounded = steps.round()
        if not shifted:
            rounded += grid.zero_point
        codes = rounded.clamp(0, grid.qmax)
        ctx.save_for_backward(codes == rounded)
        if codebook is not None:
            codes = replace_codes(codes.to(torch.uint8), codebook)
        return codes.float().sub_(grid.zero_point)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        """The gradient where no code was clipped."""
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside, None, None, None


def rounded(
    steps: torch.Tensor, grid: AffineGrid, codebook: torch.Tensor | None, *, shifted: bool = False
) -> torch.Tensor:
    """Codes less their zero point, float32, of values in steps of the grid.

    Args:
        steps: Float values over the grid's scale, and plus its zero point where ``shifted``: kernels add it
            before they round or after, and ties fall by which it is.
        grid: Its zero point and largest code count.
        codebook: The level that stands for each code, uint8 ``[256]``, or None.
        shifted: Whether the zero point is in ``steps``.
    """
    found: torch.Tensor = _Rounded.apply(steps, grid, codebook, shifted)  # type: ignore[no-untyped-call]
    return found


def rounded_weight(latent: torch.Tensor, bits: int) -> torch.Tensor:
    """Narrow codes nearest to continuous ones, float32 ``[out, in]``; straight through within their range."""
    half = 1 << (bits - 1)
    return torch.fake_quantize_per_tensor_affine(latent, 1.0, 0, -half, half - 1)


def straight_through(exact: torch.Tensor, smooth: torch.Tensor) -> torch.Tensor:
    """The value of ``exact`` with the gradient of ``smooth``."""
    return _Straight.apply(smooth, exact)  # type: ignore[no-untyped-call,no-any-return]


class _Straight(torch.autograd.Function):
    """Another value in a tensor's place; a sum and a difference would lose bits of it."""

    @staticmethod
    def forward(ctx: Any, smooth: torch.Tensor, exact: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        """The exact value."""
        return exact.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:  # noqa: ARG004
        """All of the gradient to the smooth one."""
        return gradients[0], None


# The upper halves of the bits of the floats from 0 to 1.
_UPPER_HALVES = 0x3F81


@functools.lru_cache(maxsize=256)
def _values_by_upper_half(terms: AttentionTerms) -> torch.Tensor:
    """Value of the logarithmic code of all floats with the same upper half; NaN where they differ."""
    upper = torch.arange(_UPPER_HALVES, dtype=torch.int32) << 16
    least, most = (rounded_attention(bits.view(torch.float32), terms) for bits in (upper, upper | 0xFFFF))
    return torch.where(least == most, least, torch.nan)


def _looked_up(probability: torch.Tensor, terms: AttentionTerms) -> torch.Tensor:
    """As :func:`rounded_attention`, six times as quick: it searches the thresholds for each probability."""
    flat = probability.flatten()
    halves = (flat.view(torch.int32) >> 16).clamp_(0, _UPPER_HALVES - 1)
    found = _values_by_upper_half(terms).index_select(0, halves)
    (places,) = torch.nonzero(found.isnan(), as_tuple=True)
    found[places] = rounded_attention(flat[places], terms)
    return found.view(probability.shape)


class _Attention(torch.autograd.Function):
    """Attention codes, or values of logarithmic ones, of probabilities."""

    @staticmethod
    def forward(ctx: Any, probability: torch.Tensor, terms: AttentionTerms) -> torch.Tensor:
        """Float32, as the kernels round them."""
        ctx.steps = 1.0 / terms.attention_scale
        quick = terms.by_thresholds and probability.device.type == "cpu"
        found = _looked_up(probability, terms) if quick else rounded_attention(probability, terms)
        if terms.logarithmic:
            ctx.save_for_backward()
        else:
            ctx.save_for_backward(found < terms.attention_codes - 1)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        """In steps of the codes; nothing where uniform codes are clipped."""
        found = gradients[0] if ctx.steps == 1.0 else gradients[0] * ctx.steps
        return found * ctx.saved_tensors[0] if ctx.saved_tensors else found, None


def attention_of(probability: torch.Tensor, terms: AttentionTerms) -> torch.Tensor:
    """What the kernels multiply values with, float32, of probabilities ``[..., n, n]``."""
    found: torch.Tensor = _Attention.apply(probability, terms)  # type: ignore[no-untyped-call]
    return found
