"""The task of generation: its metrics by name."""

from __future__ import annotations

from bitfront.evaluators.tasks.metric import Metric
from bitfront.evaluators.tasks.task import Task

_FIGURES = "bitfront.evaluators.tasks.generation.figures"
# Of equal pictures the ratio is infinite; a mean over pictures needs a number.
MOST_PSNR = 100.0

GENERATION = Task(
    name="generation",
    title="pictures, against those of the float pipeline at equal seeds",
    metrics=(
        Metric(
            name="psnr",
            title="PSNR",
            direction="maximise",
            unit="dB",
            ideal=MOST_PSNR,
            worst=lambda _: 0.0,
            compute=f"{_FIGURES}:psnr",
            per_image=f"{_FIGURES}:psnr_per_image",
            least=0.01,
            decimals=3,
            relative=True,
        ),
        Metric(
            name="ssim",
            title="SSIM",
            direction="maximise",
            unit="",
            ideal=1.0,
            worst=lambda _: 0.0,
            compute=f"{_FIGURES}:ssim",
            per_image=f"{_FIGURES}:ssim_per_image",
            least=1e-4,
            decimals=5,
            relative=True,
        ),
        Metric(
            name="mse",
            title="mean squared error",
            direction="minimise",
            unit="",
            ideal=0.0,
            worst=lambda _: 1.0,
            compute=f"{_FIGURES}:mse",
            per_image=f"{_FIGURES}:mse_per_image",
            least=1e-7,
            decimals=8,
            relative=True,
        ),
    ),
    always=("psnr", "ssim", "mse"),
    primary="psnr",
    # No picture is right or wrong.
    counted="psnr",
    loss="mse",
    distance="mse",
    multiple=False,
    judge=f"{_FIGURES}:JUDGE",
)
