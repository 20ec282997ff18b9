"""The range of each channel of a tensor that a narrow grid covers with the least squared error."""

from __future__ import annotations

from dataclasses import dataclass

import torch

# The width that ranges are fitted for: what is equalized for wide codes hardly matters.
BITS = 4
# Tried for either bound in turn, as shares of its distance to the median.
SHARES = torch.linspace(0.2, 1.0, 33)
ROUNDS = 2


@dataclass(frozen=True)
class ChannelRanges:
    """Ranges of channels.

    Attributes:
        centre: Middle of each range, float64 ``[channels]``.
        reach: Distance from the middle to the bounds, above 0, float64 ``[channels]``.
    """

    centre: torch.Tensor
    reach: torch.Tensor


def fitted_ranges(sample: torch.Tensor) -> ChannelRanges:
    """Ranges for codes of :data:`BITS` bits from a sample, float32 ``[rows, channels]``.

    Both bounds are drawn in together, then each by itself, towards the channel's median.
    """
    low, high = sample.amin(0), sample.amax(0)
    middle = sample.median(0).values
    bounds = [low, high]
    least = _squared_error(sample, low, high)

    def attempt(candidate: tuple[torch.Tensor, torch.Tensor]) -> None:
        nonlocal least
        error = _squared_error(sample, *candidate)
        better = error < least
        least = torch.where(better, error, least)
        for side in (0, 1):
            bounds[side] = torch.where(better, candidate[side], bounds[side])

    for share in SHARES:
        attempt((torch.lerp(middle, low, share), torch.lerp(middle, high, share)))
    for _ in range(ROUNDS):
        for share in SHARES:
            attempt((bounds[0], torch.lerp(middle, high, share)))
        for share in SHARES:
            attempt((torch.lerp(middle, low, share), bounds[1]))
    below, above = (bound.double() for bound in bounds)
    return ChannelRanges((below + above) / 2.0, (above - below) / 2.0)


def _squared_error(sample: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Mean squared error of each channel's uniform codes over ``[low, high]``, ``[channels]``."""
    largest = (1 << BITS) - 1
    step = ((high - low) / largest).clamp_min(torch.finfo(torch.float32).tiny)
    codes = sample.sub(low).div_(step).round_().clamp_(0, largest)
    return codes.mul_(step).add_(low).sub_(sample).square_().mean(0)
