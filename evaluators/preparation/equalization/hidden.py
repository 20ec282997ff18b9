"""Hidden channels of massive activations, scaled down to the range of the others.

In models that were trained at length, a few hidden channels grow a hundred times larger than all others in a
few tokens, which the stream then carries to the end and attention rests on (Sun et al., arXiv 2402.17762;
Darcet et al., arXiv 2309.16588). On one grid for all channels they leave the others no codes; clipped, what
rests on them is lost. So such a channel is divided by a number of its own, which goes into the weights of the
layer that takes it: through the gate or the norm before it where there is one, else in the float stage behind
the activation.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch

from bitfront.evaluators.models.parts import EncoderParts, LinearParts
from bitfront.evaluators.preparation.equalization.folding import normalising, reading_channels

# A channel is massive where its largest value is more than so many times what all but one value in a thousand
# stay below. DeiT's ordinary channels reach 3 times that.
MASSIVE = 8.0
QUANTILE = 0.999
# Values of a batch that the quantile is estimated from.
SAMPLE = 1 << 16


@dataclass
class HiddenRange:
    """How far the hidden channels of an encoder reach.

    Attributes:
        largest: Largest magnitude of each channel, ``[hidden]``.
        usual: What all but one value in a thousand stay below, the largest of all batches.
    """

    largest: torch.Tensor
    usual: float

    @classmethod
    def of(cls, value: torch.Tensor) -> HiddenRange:
        """Of one batch, ``[..., hidden]``."""
        flat = value.abs().reshape(-1, value.shape[-1])
        sample = flat.flatten()[:: max(1, flat.numel() // SAMPLE)]
        return cls(flat.amax(0), float(sample.kthvalue(max(1, round(QUANTILE * len(sample)))).values))

    def and_of(self, value: torch.Tensor) -> HiddenRange:
        """Of another batch as well."""
        other = HiddenRange.of(value)
        return HiddenRange(torch.maximum(self.largest, other.largest), max(self.usual, other.usual))

    def scales(self) -> torch.Tensor | None:
        """What each channel is divided by, float64 ``[hidden]``; None where none is massive."""
        massive = self.largest > MASSIVE * self.usual
        if not self.usual > 0.0 or not bool(massive.any()):
            return None
        others = self.largest[~massive]
        limit = float(others.max()) if len(others) else self.usual
        return torch.where(massive, self.largest.double() / max(limit, self.usual), 1.0)


def equalize_hidden(encoder: EncoderParts, found: HiddenRange) -> EncoderParts:
    """The same encoder with its massive hidden channels scaled down."""
    scales = found.scales()
    if scales is None:
        return encoder
    fc2 = reading_channels(encoder.fc2, scales, torch.zeros_like(scales))
    if encoder.hidden_norm is not None:
        norm = normalising(encoder.hidden_norm, scales, torch.zeros_like(scales))
        return dataclasses.replace(encoder, hidden_norm=norm, fc2=fc2)
    if encoder.gated:  # the gate's half stays as it is, and the other one is linear
        whole = torch.cat([torch.ones_like(scales), scales])
        weight, bias = encoder.fc1.weight.double() / whole[:, None], encoder.fc1.bias.double() / whole
        return dataclasses.replace(encoder, fc1=LinearParts(weight.float(), bias.float()), fc2=fc2)
    return dataclasses.replace(encoder, hidden_scales=(1.0 / scales).float(), fc2=fc2)
