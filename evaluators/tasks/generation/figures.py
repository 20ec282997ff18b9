"""Pictures against those of the float pipeline: PSNR, SSIM and squared error, picture by picture.

Pictures are float32 ``[pictures, channels, height, width]`` from 0 to 1.
"""

from __future__ import annotations

from typing import NoReturn

import torch

from bitfront.evaluators.tasks.generation.task import MOST_PSNR
from bitfront.evaluators.tasks.metric import Outputs
from bitfront.spaces import UserError

# Of SSIM: pixels of a window, its deviation, and the constants of pixels from 0 to 1.
WINDOW, SIGMA, K1, K2 = 11, 1.5, 0.01, 0.03


def psnr_per_image(outputs: Outputs) -> torch.Tensor:
    """Peak signal-to-noise ratio in dB, float64 ``[pictures]``; 100 of equal ones."""
    error = mse_per_image(outputs)
    return (-10.0 * torch.log10(error.clamp(min=1e-30))).clamp(max=MOST_PSNR)


def ssim_per_image(outputs: Outputs) -> torch.Tensor:
    """Structural similarity (Wang et al. 2004, equation 13), float64 ``[pictures]``.

    Windows are Gaussian, of 11 pixels, and lie within the picture; in a tiny one they are as large as fit.
    """
    count, side = len(outputs.values), min(outputs.values.shape[-2:])
    a, b = (part.float().flatten(0, 1).unsqueeze(1) for part in (outputs.values, outputs.reference))
    window = _window(min(WINDOW, side - 1 + side % 2))
    means = [_blurred(part, window) for part in (a, b, a * a, b * b, a * b)]
    mean_a, mean_b = means[0], means[1]
    spread_a, spread_b, joint = means[2] - mean_a**2, means[3] - mean_b**2, means[4] - mean_a * mean_b
    first, second = K1**2, K2**2
    similarity = (2.0 * mean_a * mean_b + first) * (2.0 * joint + second)
    similarity /= (mean_a**2 + mean_b**2 + first) * (
        spread_a.clamp(min=0.0) + spread_b.clamp(min=0.0) + second
    )
    return similarity.double().reshape(count, -1).mean(1)


def _window(length: int) -> torch.Tensor:
    places = torch.arange(length, dtype=torch.float32) - (length - 1) / 2.0
    weights = torch.exp(-0.5 * (places / SIGMA) ** 2)
    return weights / weights.sum()


def _blurred(pictures: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    """Weighted means of all windows, one direction after the other."""
    found = torch.nn.functional.conv2d(pictures, window[None, None, :, None])
    return torch.nn.functional.conv2d(found, window[None, None, None, :])


def mse_per_image(outputs: Outputs) -> torch.Tensor:
    """Mean squared difference of pixels, float64 ``[pictures]``."""
    return (outputs.values.double() - outputs.reference.double()).square().flatten(1).mean(1)


def psnr(outputs: Outputs) -> float:
    """The mean over pictures, in dB."""
    return float(psnr_per_image(outputs).mean())


def ssim(outputs: Outputs) -> float:
    """The mean over pictures."""
    return float(ssim_per_image(outputs).mean())


def mse(outputs: Outputs) -> float:
    """The mean over pictures."""
    return float(mse_per_image(outputs).mean())


class PictureJudge:
    """Pictures have no labels: what would need them is refused."""

    def outputs(self, outputs: Outputs) -> Outputs:
        """The same."""
        return outputs

    def decisions(self, values: torch.Tensor) -> NoReturn:  # noqa: ARG002
        """Refuses."""
        raise _no_labels()

    def right(self, values: torch.Tensor, labels: torch.Tensor) -> NoReturn:  # noqa: ARG002
        """Refuses."""
        raise _no_labels()

    def temperature(self, outputs: Outputs) -> NoReturn:  # noqa: ARG002
        """Refuses."""
        raise _no_labels()

    def expected_right(self, values: torch.Tensor, reference: torch.Tensor, temperature: float) -> NoReturn:  # noqa: ARG002
        """Refuses."""
        raise _no_labels()


def _no_labels() -> UserError:
    return UserError("task generation judges pictures, not classes: use `bitfront search --task generation`")


JUDGE = PictureJudge()
