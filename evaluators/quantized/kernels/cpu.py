"""The kernels of a CPU: oneDNN int8 matrix products and compiled integer element-wise stages."""

from __future__ import annotations

import functools

import torch

from bitfront.evaluators.quantized.kernels.attention_terms import AttentionTerms
from bitfront.evaluators.quantized.kernels.fused_attention import fused_attention
from bitfront.evaluators.quantized.kernels.layer_norm import add, add_norm, float_add_norm, float_norm, norm
from bitfront.evaluators.quantized.kernels.linear import (
    FloatLaneLinear,
    IntegerLinear,
    OneDnnLinear,
    int8_kernels_are_exact,
)
from bitfront.evaluators.quantized.kernels.norm_terms import FloatNormTerms, IntegerNormTerms, SumTerms
from bitfront.evaluators.quantized.kernels.portable import Tap, portable_attention
from bitfront.evaluators.quantized.kernels.vnni import vnni_available
from bitfront.evaluators.quantizers.weights import QuantizedWeight


class CpuKernels:
    """The quickest exact kernels that this CPU has; see :class:`Kernels`."""

    device = torch.device("cpu")

    @functools.cached_property
    def description(self) -> str:
        """What the matrix products run on, in words."""
        linear = "oneDNN int8" if int8_kernels_are_exact() else "float32 lanes"
        attention = "VNNI int8" if vnni_available() else "float32 lanes"
        capability = torch.backends.cpu.get_cpu_capability()
        return f"cpu: linear layers by {linear}, attention by {attention} ({capability})"

    @functools.cached_property
    def notes(self) -> tuple[str, ...]:
        """What this CPU lacks."""
        found = []
        if not int8_kernels_are_exact():
            found.append(
                "this CPU has no exact int8 products (VNNI or AMX): linear layers are in float32 lanes, "
                "exact but slower than the float model"
            )
        if not vnni_available():
            found.append(
                "this CPU has no AVX512-VNNI with VBMI: attention runs in float32 lanes, exact but slower"
            )
        return tuple(found)

    def linear(self, weight: QuantizedWeight, bias: torch.Tensor) -> IntegerLinear:
        """An integer linear layer."""
        return OneDnnLinear(weight, bias) if int8_kernels_are_exact() else FloatLaneLinear(weight, bias)

    def attention(
        self, qkv: torch.Tensor, batch: int, terms: AttentionTerms, tap: Tap | None = None
    ) -> torch.Tensor:
        """Attention in one pass where it need not be looked into."""
        if tap is None and vnni_available():
            return fused_attention(qkv, batch, terms)
        return portable_attention(qkv, batch, terms, tap)

    def integer_norm(self, x: torch.Tensor, terms: IntegerNormTerms) -> torch.Tensor:
        """See :class:`Kernels`."""
        out = torch.empty_like(x)
        norm(x.numpy(), terms.source_zero, *terms.arguments, out.numpy())
        return out

    def integer_add(self, x: torch.Tensor, y: torch.Tensor, terms: SumTerms) -> torch.Tensor:
        """See :class:`Kernels`."""
        total = torch.empty_like(x)
        left, right = terms.arguments
        add(x.numpy(), *left, y.numpy(), *right, total.numpy())  # type: ignore[arg-type]  # mypy loses count
        return total

    def integer_add_norm(
        self, x: torch.Tensor, y: torch.Tensor, terms: SumTerms, norm: IntegerNormTerms
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`Kernels`."""
        total, out = torch.empty_like(x), torch.empty_like(x)
        left, right = terms.arguments
        sum_of = (x.numpy(), *left, y.numpy(), *right, total.numpy())
        add_norm(*sum_of, *norm.arguments, out.numpy())
        return total, out

    def float_norm(self, x: torch.Tensor, terms: FloatNormTerms) -> torch.Tensor:
        """See :class:`Kernels`."""
        out = torch.empty(x.shape, dtype=torch.uint8)
        float_norm(x.numpy(), *terms.arguments, out.numpy())
        return out

    def float_add_norm(
        self, x: torch.Tensor, y: torch.Tensor, terms: FloatNormTerms
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`Kernels`."""
        total, out = torch.empty_like(x), torch.empty(x.shape, dtype=torch.uint8)
        float_add_norm(x.numpy(), y.numpy(), total.numpy(), *terms.arguments, out.numpy())
        return total, out
