"""Matrix products in learning: of bfloat16 where the processor has them, which lose nothing of codes.

Codes less their zero points are whole numbers of up to 255, which bfloat16 holds, and sums are float32: what
comes out is what the kernels compute. Only the teacher's values and the gradients are rounded to eight bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F

from bitfront.evaluators.context.machine import cpu_flags

_PRECISION = "medium"  # torch's name for such products


@contextmanager
def quick_products(quick: bool | None = None) -> Iterator[None]:
    """Products of float32 matrices are of bfloat16 ones with float32 sums within.

    Args:
        quick: Whether they are; where None, if the processor multiplies them.
    """
    before = torch.get_float32_matmul_precision()
    if quick is None:
        quick = "avx512_bf16" in cpu_flags() or "amx_bf16" in cpu_flags()
    torch.set_float32_matmul_precision(_PRECISION if quick else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """``x weight^T``, float32."""
        quick = torch.get_float32_matmul_precision() == _PRECISION
        ctx.lanes = torch.bfloat16 if quick else torch.float32
        ctx.save_for_backward(x.to(ctx.lanes) if ctx.needs_input_grad[1] else None, weight.to(ctx.lanes))
        return F.linear(x, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Those of both factors, where they are asked for."""
        x, weight = ctx.saved_tensors
        gradient = gradients[0].to(ctx.lanes)
        of_x, of_weight = ctx.needs_input_grad
        return (gradient @ weight).float() if of_x else None, (
            (gradient.T @ x).float() if of_weight else None
        )


def product(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """``x weight^T`` of codes, float32 ``[rows, out]``, twice as quick back as by torch.

    Args:
        x: Whole numbers of at most 256, float32 ``[rows, in]``.
        weight: Such numbers, ``[out, in]``.
    """
    found: torch.Tensor = _Product.apply(x, weight)  # type: ignore[no-untyped-call]
    return found
