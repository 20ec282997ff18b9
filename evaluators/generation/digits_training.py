"""Training of the embedded example: an autoencoder of digits, then a transformer in its latents."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from bitfront.evaluators.data.digits import DigitsSource
from bitfront.evaluators.data.source import TRAIN
from bitfront.evaluators.files import check_writable
from bitfront.evaluators.generation.digits_dit import CLASSES, NAME, SCALING, SIDE, new_parts, scheduler
from bitfront.evaluators.models.checkpoint import round_to_half, write_weights

# Steps of the autoencoder and of the transformer.
STEPS = (400, 3000)
BATCH, LEARNING_RATES, WARMUP = 32, (4e-3, 2e-3), 0.03
# Of the moving average of the transformer's weights, which is what is kept.
DECAY = 0.995
# Noise on latents, so that the decoder bears what the transformer is off by.
LATENT_NOISE = 0.05
Told = Callable[[str, int, int, float], None]


@dataclass(frozen=True)
class GeneratorTraining:
    """A finished training.

    Attributes:
        path: The file.
        seconds: Duration.
        size_bytes: Of the file.
        reconstruction: Mean squared error of the autoencoder on held-out scans, pixels from -1 to 1.
        loss: Mean squared error of the predicted noise over the last tenth of the steps.
    """

    path: Path
    seconds: float
    size_bytes: int
    reconstruction: float
    loss: float


def scans(train: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Digits enlarged to 16x16, float32 ``[count, 1, 16, 16]`` from -1 to 1, and labels int64 ``[count]``."""
    source = DigitsSource()
    chosen = (source.partition == TRAIN) == train
    pixels = torch.from_numpy(source.scans[chosen]).float()[:, None] / 255.0
    large = functional.interpolate(pixels, (SIDE, SIDE), mode="bicubic", align_corners=False)
    return large.clamp(0.0, 1.0) * 2.0 - 1.0, torch.from_numpy(source.labels[chosen])


def train_generator(
    output: Path, *, seed: int = 0, steps: tuple[int, int] = STEPS, told: Told | None = None
) -> GeneratorTraining:
    """Trains the example and writes its weights as float16, the same for the same arguments on one machine.

    Args:
        output: The safetensors file to write; it appears only when it is complete.
        seed: Of initial weights, batches and noise.
        steps: Of the autoencoder and of the transformer.
        told: Called every hundred steps with what is trained, the step, all steps and the loss.

    Raises:
        UserError: The file cannot be written.
    """
    check_writable(output)
    started, before = time.perf_counter(), torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)  # sums in one order
        try:
            images, labels = scans(train=True)
            transformer, vae = new_parts()
            _train_autoencoder(vae, images, steps[0], told)
            with torch.no_grad():
                latents = vae.encode(images).latents  # type: ignore[operator]
            factor = float(1.0 / latents.std())
            kept, loss = _train_transformer(transformer, latents * factor, labels, steps[1], told)
            held_out, _ = scans(train=False)
            with torch.no_grad():
                error = float(functional.mse_loss(vae(held_out).sample.clamp(-1, 1), held_out))
        finally:
            torch.set_num_threads(before)
    _write(output, kept, vae, {SCALING: str(factor), "seed": str(seed), "steps": "+".join(map(str, steps))})
    return GeneratorTraining(output, time.perf_counter() - started, output.stat().st_size, error, loss)


def _train_autoencoder(vae: nn.Module, images: torch.Tensor, steps: int, told: Told | None) -> None:
    optimizer = torch.optim.AdamW(vae.parameters(), lr=LEARNING_RATES[0])
    for step in range(steps):
        _set_rate(optimizer, LEARNING_RATES[0], step, steps)
        batch = _shifted(images[torch.randint(len(images), (BATCH,))])
        latents = vae.encode(batch).latents  # type: ignore[operator]
        noisy = latents + LATENT_NOISE * latents.detach().std() * torch.randn_like(latents)
        loss = functional.mse_loss(vae.decode(noisy).sample, batch)  # type: ignore[operator]
        # Latents of a unit scale, which the decoder does not squash.
        (loss + 1e-3 * (latents.square().mean() - 1.0).square()).backward()
        optimizer.step()
        optimizer.zero_grad()
        if told and (step + 1) % 100 == 0:
            told("autoencoder", step + 1, steps, float(loss.detach()))
    vae.eval()


def _train_transformer(
    transformer: nn.Module, latents: torch.Tensor, labels: torch.Tensor, steps: int, told: Told | None
) -> tuple[nn.Module, float]:
    """Trains on predicted noise (Ho et al. 2020, equation 14); gives the averaged weights and the loss.

    While it is in training mode the transformer itself drops a tenth of the labels, for guidance without a
    classifier (Ho and Salimans 2022).
    """
    diffusion = scheduler()
    average = copy.deepcopy(transformer).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(transformer.parameters(), lr=LEARNING_RATES[1], weight_decay=0.01)
    transformer.train()
    losses: list[float] = []
    for step in range(steps):
        _set_rate(optimizer, LEARNING_RATES[1], step, steps)
        rows = torch.randint(len(latents), (BATCH,))
        clean, noise = latents[rows], torch.randn(BATCH, *latents.shape[1:])
        times = torch.randint(diffusion.config.num_train_timesteps, (BATCH,))
        guess = transformer(diffusion.add_noise(clean, noise, times), times, labels[rows]).sample
        loss = functional.mse_loss(guess, noise)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(transformer.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        decay = min(DECAY, (1.0 + step) / (10.0 + step))
        with torch.no_grad():
            for kept, new in zip(average.parameters(), transformer.parameters(), strict=True):
                kept.lerp_(new, 1.0 - decay)
        losses.append(float(loss.detach()))
        if told and (step + 1) % 100 == 0:
            told("transformer", step + 1, steps, sum(losses[-100:]) / 100)
    last = losses[-max(1, steps // 10) :]
    return average, sum(last) / len(last)


def _set_rate(optimizer: Any, rate: float, step: int, steps: int) -> None:
    """A short rise, then half a cosine."""
    warm = max(1, round(WARMUP * steps))
    share = (step + 1) / warm if step < warm else 0.5 + 0.5 * math.cos(math.pi * (step - warm) / steps)
    for group in optimizer.param_groups:
        group["lr"] = rate * share


def _shifted(images: torch.Tensor) -> torch.Tensor:
    """The images moved by up to a pixel each way, all of a batch alike."""
    down, right = (int(shift) for shift in torch.randint(-1, 2, (2,)))
    padded = functional.pad(images, (1, 1, 1, 1), value=-1.0)
    return padded[..., 1 + down : 1 + down + SIDE, 1 + right : 1 + right + SIDE]


def _write(output: Path, transformer: nn.Module, vae: nn.Module, facts: dict[str, str]) -> None:
    state = {f"transformer.{k}": v for k, v in transformer.state_dict().items()}
    state |= {f"vae.{k}": v for k, v in vae.state_dict().items()}
    write_weights(round_to_half(state), output, {"architecture": NAME, "classes": CLASSES, **facts})
