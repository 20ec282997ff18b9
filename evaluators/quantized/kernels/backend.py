"""Kernel sets: the arithmetic of a quantized model on a CPU, on a CUDA GPU, or by torch operations."""

from __future__ import annotations

from typing import Protocol

import torch

from bitfront.evaluators.quantized.kernels.attention_terms import AttentionTerms
from bitfront.evaluators.quantized.kernels.compiled import triton_installed
from bitfront.evaluators.quantized.kernels.linear import IntegerLinear
from bitfront.evaluators.quantized.kernels.norm_terms import FloatNormTerms, IntegerNormTerms, SumTerms
from bitfront.evaluators.quantized.kernels.portable import Tap
from bitfront.evaluators.quantizers.weights import QuantizedWeight


class Kernels(Protocol):
    """Every kernel of the two schemes.

    All sets compute the same integers; where floats are rounded to codes, ties may fall differently.

    Attributes:
        device: Where their tensors live.
    """

    device: torch.device

    @property
    def description(self) -> str:
        """What they run on, in words."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What this machine lacks for the quickest kernels, a sentence each."""

    def linear(self, weight: QuantizedWeight, bias: torch.Tensor) -> IntegerLinear:
        """An integer linear layer."""

    def attention(
        self, qkv: torch.Tensor, batch: int, terms: AttentionTerms, tap: Tap | None = None
    ) -> torch.Tensor:
        """uint8 ``[rows, heads * head_dim]`` of attention output for ``qkv [rows, 3 * heads * head_dim]``.

        ``tap`` sees the scores and the attention matrix; the kernels that never hold them are then not used.
        """

    def integer_norm(self, x: torch.Tensor, terms: IntegerNormTerms) -> torch.Tensor:
        """Codes of the integer LayerNorm of codes ``[rows, channels]``."""

    def integer_add(self, x: torch.Tensor, y: torch.Tensor, terms: SumTerms) -> torch.Tensor:
        """Codes of the sum of codes ``x [rows, channels]`` and ``y [period, channels]``, repeated."""

    def integer_add_norm(
        self, x: torch.Tensor, y: torch.Tensor, terms: SumTerms, norm: IntegerNormTerms
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Codes of the sum, and of its integer LayerNorm."""

    def float_norm(self, x: torch.Tensor, terms: FloatNormTerms) -> torch.Tensor:
        """Codes of the float LayerNorm of float32 ``[rows, channels]``."""

    def float_add_norm(
        self, x: torch.Tensor, y: torch.Tensor, terms: FloatNormTerms
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The float32 sum of two ``[rows, channels]``, and the codes of its LayerNorm."""


def kernels_for(device: torch.device) -> Kernels:
    """The quickest kernels of a device."""
    if device.type == "cpu":
        from bitfront.evaluators.quantized.kernels.cpu import CpuKernels

        return CpuKernels()
    if device.type == "cuda" and triton_installed():
        from bitfront.evaluators.quantized.kernels.cuda import LEAST_CAPABILITY, CudaKernels

        if torch.cuda.get_device_capability(device) >= LEAST_CAPABILITY:
            return CudaKernels(device)
    from bitfront.evaluators.quantized.kernels.portable import PortableKernels

    return PortableKernels(device)
