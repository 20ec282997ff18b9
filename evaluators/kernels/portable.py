"""The same kernels as torch operations, on any device: what CUDA runs."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from bitfront.evaluators.kernels.attention_terms import AttentionTerms
from bitfront.evaluators.kernels.layer_norm import FINEST_STEP, MULTIPLIER_MAX
from bitfront.evaluators.kernels.linear import IntegerLinear, IntMmLinear
from bitfront.evaluators.kernels.norm_terms import FloatNormTerms, IntegerNormTerms, SumTerms
from bitfront.evaluators.kernels.portable_attention import Tap, portable_attention
from bitfront.evaluators.quantizers import QuantizedWeight


class PortableKernels:
    """Torch operations alone; see :class:`Kernels`.

    Args:
        device: Where the tensors are; the terms that the kernels are given must be there, too.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, device: torch.device) -> None:
        self.device = device
        named = torch.cuda.get_device_name(device) if device.type == "cuda" else "torch operations"
        self.description = (
            f"{device}: {named}, linear layers by int8 GEMM (torch._int_mm), attention by float32 lanes"
        )

    def linear(self, weight: QuantizedWeight, bias: torch.Tensor) -> IntegerLinear:
        """An integer linear layer."""
        return IntMmLinear(weight, bias)

    def attention(
        self, qkv: torch.Tensor, batch: int, terms: AttentionTerms, tap: Tap | None = None
    ) -> torch.Tensor:
        """See :class:`Kernels`."""
        return portable_attention(qkv, batch, terms, tap)

    def integer_norm(self, x: torch.Tensor, terms: IntegerNormTerms) -> torch.Tensor:
        """See :class:`Kernels`; step by step what ``kernels.layer_norm`` computes."""
        values = (x.to(torch.int64) - terms.source_zero) * terms.shift
        channels = values.shape[-1]
        total, squares = values.sum(-1, keepdim=True), values.square().sum(-1, keepdim=True)
        variance = (channels * squares - total * total).double() / (float(channels) * channels)
        inverse = 1.0 / torch.sqrt(variance + terms.epsilon)
        fraction, _ = torch.frexp(inverse)
        below = torch.where(terms.mantissa * fraction < 0.5, 0.5, 1.0).double()
        unit = (terms.step * (inverse / fraction) * below).clamp(FINEST_STEP, 1.0)
        multiplier = torch.round(terms.gain * inverse / unit).clamp(-MULTIPLIER_MAX, MULTIPLIER_MAX)
        offset = torch.round(terms.bias / unit - multiplier * (total.double() / channels))
        codes = torch.floor((multiplier * values + offset) * unit + 0.5) + terms.zero
        return codes.clamp_(0, terms.qmax).to(torch.uint8)

    def integer_add(self, x: torch.Tensor, y: torch.Tensor, terms: SumTerms) -> torch.Tensor:
        """See :class:`Kernels`."""
        left = (x.double() - terms.x_zero) * terms.x_factor
        right = (y.double() - terms.y_zero) * terms.y_factor
        value = left.view(-1, *right.shape) + right
        return (torch.round(value) + terms.zero).clamp_(0, terms.qmax).to(torch.uint8).view_as(x)

    def integer_add_norm(
        self, x: torch.Tensor, y: torch.Tensor, terms: SumTerms, norm: IntegerNormTerms
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`Kernels`."""
        total = self.integer_add(x, y, terms)
        return total, self.integer_norm(total, norm)

    def float_norm(self, x: torch.Tensor, terms: FloatNormTerms) -> torch.Tensor:
        """See :class:`Kernels`."""
        value = F.layer_norm(x, (x.shape[-1],), terms.weight, terms.bias, terms.epsilon)
        return (torch.round(value / terms.scale) + terms.zero).clamp_(0, terms.qmax).to(torch.uint8)

    def float_add_norm(
        self, x: torch.Tensor, y: torch.Tensor, terms: FloatNormTerms
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`Kernels`."""
        total = x + y
        return total, self.float_norm(total, terms)
