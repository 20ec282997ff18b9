"""A quantized weight: signed codes, one scale for each output channel, and factors for groups of inputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bitfront.spaces.precision import MAX_BITS

# Inputs that share a factor.
GROUP = 16


@dataclass(frozen=True)
class QuantizedWeight:
    """Signed codes with one scale for each output channel.

    Attributes:
        codes: int8 ``[out, in]`` as kernels take them; narrower widths are carried in int8, and where inputs
            come in groups a code is the narrow one that is stored times its group's factor.
        scales: float32 ``[out]``; the weight is ``codes * scales[:, None]``.
        bits: Width of the codes that are stored.
        factors: Of each group of :data:`GROUP` inputs, uint8 ``[out, groups]``, from 1 to
            :func:`largest_factor`; None where inputs come in no groups.
    """

    codes: torch.Tensor
    scales: torch.Tensor
    bits: int
    factors: torch.Tensor | None = None

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


def largest_factor(bits: int) -> int:
    """Of a group: the products of factors and codes of ``bits`` bits are 8-bit integers."""
    return 1 << (MAX_BITS - bits)


def groups_of(inputs: int) -> int:
    """How many groups so many inputs come in."""
    return -(-inputs // GROUP)


def spread_out(factors: torch.Tensor, inputs: int) -> torch.Tensor:
    """Factors ``[out, groups]`` by input, int16 ``[out, in]``."""
    return factors.repeat_interleave(GROUP, 1)[:, :inputs].to(torch.int16)
