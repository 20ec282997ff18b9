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

import torch

from bitfront.evaluators.models.parts import EncoderParts, LinearParts
from bitfront.evaluators.preparation.equalization.folding import normalising, reading_channels

# A channel is massive where it reaches so many times as far as the median channel.
MASSIVE = 8.0


def channel_scales(largest: torch.Tensor) -> torch.Tensor | None:
    """What each channel is divided by, float64 ``[hidden]``; None where none is massive.

    Massive channels come to reach as far as the farthest of the others.

    Args:
        largest: Largest magnitude of each channel, ``[hidden]``.
    """
    massive = largest > MASSIVE * largest.median()
    if not bool(massive.any()) or not bool(largest.median() > 0.0):
        return None
    farthest = largest[~massive].max().double()
    return torch.where(massive, largest.double() / farthest, 1.0)


def equalize_hidden(encoder: EncoderParts, largest: torch.Tensor) -> EncoderParts:
    """The same encoder with its massive hidden channels scaled down.

    Args:
        encoder: The float encoder.
        largest: Largest magnitude of each hidden channel on the calibration images, ``[hidden]``.
    """
    scales = channel_scales(largest)
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
