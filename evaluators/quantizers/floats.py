"""Tensors that stay floats: bfloat16, half and single precision as number formats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from bitfront.spaces import BitfrontError

FLOAT_TYPES: Mapping[str, torch.dtype] = {
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp32": torch.float32,
}


def rounded_to(x: torch.Tensor, name: str) -> torch.Tensor:
    """Values as a float format holds them, float32, same shape; beyond its range they are infinite."""
    kind = FLOAT_TYPES[name]
    return x if kind == torch.float32 else x.to(kind).float()


@dataclass(frozen=True, eq=False)
class FloatWeight:
    """A weight in a float format.

    Attributes:
        values: float32 ``[out, in]``, each a number of the format.
        format: Its name.
    """

    values: torch.Tensor
    format: str

    @classmethod
    def of(cls, weight: torch.Tensor, name: str, layer: str) -> FloatWeight:
        """A float weight rounded to the format.

        Args:
            weight: float32 ``[out, in]``.
            name: Of the format.
            layer: Whose weight it is, for the error.

        Raises:
            BitfrontError: A value is not finite, or is beyond the format's range.
        """
        if not bool(weight.isfinite().all()):
            raise BitfrontError(f"the weight of {layer} holds NaN or infinity: check the checkpoint")
        values = rounded_to(weight, name)
        if not bool(values.isfinite().all()):
            raise BitfrontError(f"the weight of {layer} is beyond the range of {name}: use bf16 or fp32")
        return cls(values, name)

    @property
    def stored(self) -> torch.Tensor:
        """The values in the format's own type."""
        return self.values.to(FLOAT_TYPES[self.format])

    def sums(self) -> torch.Tensor:
        """Sum of the weights of each output channel, float64 ``[out]``."""
        return self.values.double().sum(1)

    def restored(self) -> torch.Tensor:
        """The weight that it stands for, float64 ``[out, in]``."""
        return self.values.double()
