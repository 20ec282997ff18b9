"""Constants of the residual sum and LayerNorm kernels, as every implementation takes them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
I32 = NDArray[np.int32]


class AddedTo(NamedTuple):
    """What the compiled sum takes after ``x``."""

    zero_point: int
    factor: F64


class Added(NamedTuple):
    """What the compiled sum takes after ``y``."""

    zero_point: int
    factor: F64
    zero: int
    qmax: int


class IntegerNormArguments(NamedTuple):
    """What the compiled integer LayerNorm takes from ``shift`` on."""

    shift: I32
    epsilon: float
    gain: F64
    mantissa: F64
    step: F64
    bias: F64
    zero: int
    qmax: int


class FloatNormArguments(NamedTuple):
    """What the compiled float LayerNorm takes from ``weight`` on, both over the output scale."""

    weight: F32
    bias: F32
    epsilon: float
    zero: int
    qmax: int


@dataclass(frozen=True, eq=False)
class SumTerms:
    """A sum of two code tensors on the grid of a third.

    Attributes:
        x_zero: Zero point of the residual stream's codes.
        x_factor: Their channel scales over the sum's, float64 ``[channels]``.
        y_zero: Zero point of the codes that are added.
        y_factor: Their scale over the sum's channel scales, float64 ``[channels]``.
        zero: Zero point of the sum.
        qmax: Largest code of the sum.
    """

    x_zero: int
    x_factor: torch.Tensor
    y_zero: int
    y_factor: torch.Tensor
    zero: int
    qmax: int

    @functools.cached_property
    def arguments(self) -> tuple[AddedTo, Added]:
        """For the compiled kernels."""
        added = Added(self.y_zero, self.y_factor.numpy(), self.zero, self.qmax)
        return AddedTo(self.x_zero, self.x_factor.numpy()), added


@dataclass(frozen=True, eq=False)
class IntegerNormTerms:
    """An integer LayerNorm of codes on a power-of-two grid.

    Attributes:
        source_zero: Zero point of the input.
        shift: ``2^exponent`` of each channel, int32 ``[channels]``.
        epsilon: LayerNorm's epsilon in units of the squared layer scale.
        gain: LayerNorm's weight over the output scale, float64 ``[channels]``.
        mantissa: ``frexp`` fraction of ``|gain|``, float64 ``[channels]``.
        step: ``2^-8`` times the ``frexp`` power of two of ``|gain|``, float64 ``[channels]``.
        bias: LayerNorm's bias over the output scale, float64 ``[channels]``.
        zero: Zero point of the output.
        qmax: Largest code of the output.
    """

    source_zero: int
    shift: torch.Tensor
    epsilon: float
    gain: torch.Tensor
    mantissa: torch.Tensor
    step: torch.Tensor
    bias: torch.Tensor
    zero: int
    qmax: int

    @functools.cached_property
    def arguments(self) -> IntegerNormArguments:
        """For the compiled kernels."""
        arrays = (self.gain.numpy(), self.mantissa.numpy(), self.step.numpy(), self.bias.numpy())
        return IntegerNormArguments(self.shift.numpy(), self.epsilon, *arrays, self.zero, self.qmax)


@dataclass(frozen=True, eq=False)
class FloatNormTerms:
    """A float LayerNorm whose output is put on an affine grid.

    Attributes:
        weight: LayerNorm's weight, float32 ``[channels]``.
        bias: LayerNorm's bias, float32 ``[channels]``.
        epsilon: LayerNorm's epsilon.
        scale: Scale of the output.
        zero: Zero point of the output.
        qmax: Largest code of the output.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    epsilon: float
    scale: float
    zero: int
    qmax: int

    @functools.cached_property
    def arguments(self) -> FloatNormArguments:
        """For the compiled kernels."""
        weight, bias = (self.weight / self.scale).numpy(), (self.bias / self.scale).numpy()
        return FloatNormArguments(weight, bias, self.epsilon, self.zero, self.qmax)
