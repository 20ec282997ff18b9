"""Training of the digits models from nothing, on the train partition of the digits."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.nn.functional import affine_grid, cross_entropy, grid_sample

from bitfront.evaluators.data.digits import DigitsSource
from bitfront.evaluators.data.images import PreprocessedImages, load_images
from bitfront.evaluators.data.source import HELD_OUT, TRAIN
from bitfront.evaluators.files import check_writable
from bitfront.evaluators.models.checkpoint import round_to_half, write_weights
from bitfront.evaluators.models.digits_models import DIGITS_MODELS, EMBEDDED, build_digits
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.spaces import UserError

POSITION_TEMPERATURE = 100.0  # wavelengths of up to the grid's size; the usual 10,000 suits far larger grids
BATCH_SIZE = 64
WARMUP_SHARE = 0.1
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.1
LARGEST_GRADIENT = 1.0


@dataclass(frozen=True)
class TrainingProgress:
    """The state after an epoch.

    Attributes:
        epoch: Epochs done, from 1.
        epochs: Epochs in all.
        loss: Mean smoothed cross-entropy of the epoch, in nats; lower is better.
        seconds: Time since the training began.
    """

    epoch: int
    epochs: int
    loss: float
    seconds: float


@dataclass(frozen=True)
class TrainingResult:
    """A finished training.

    Attributes:
        model: Name of the digits model.
        path: The safetensors file.
        epochs: Epochs done.
        train_images: Scans trained on.
        held_out_images: Scans never trained on.
        held_out_top1: Top-1 accuracy on those with the weights as stored (float16), in percent.
        seconds: Duration.
        size_bytes: Size of the file.
    """

    model: str
    path: Path
    epochs: int
    train_images: int
    held_out_images: int
    held_out_top1: float
    seconds: float
    size_bytes: int


def train_digits(
    output: Path,
    *,
    model: str = EMBEDDED,
    seed: int = 0,
    epochs: int | None = None,
    threads: int = 1,
    train_images: int | None = None,
    progress: Callable[[TrainingProgress], None] | None = None,
) -> TrainingResult:
    """Trains a digits model and writes its weights, the same for the same arguments on one machine.

    The number of epochs is fixed beforehand: held-out scans are looked at once, after the last epoch.

    Args:
        output: The safetensors file to write; it appears only when it is complete.
        model: One of ``DIGITS_MODELS``; the defaults reproduce the embedded weights of ``digits_deit``.
        seed: Of the initial weights, the order of the scans and their distortions.
        epochs: Passes over the train partition (by default as many as the model is made for).
        threads: Torch threads.
        train_images: Use only so many scans of the train partition (all by default).
        progress: Called after every epoch.

    Raises:
        UserError: The model is unknown, ``epochs`` is below 1, or the file cannot be written.
    """
    if model not in DIGITS_MODELS:
        raise UserError(f"cannot train {model!r}: expected one of {', '.join(DIGITS_MODELS)}")
    epochs = DIGITS_MODELS[model].epochs if epochs is None else epochs
    if epochs < 1:
        raise UserError(f"cannot train for {epochs} epochs: expected at least 1")
    check_writable(output)
    started = time.perf_counter()
    with _seeded(seed, threads):
        module = _initial_model(model)
        train, held_out = _partitions(module, train_images)
        rate = DIGITS_MODELS[model].learning_rate
        for epoch, loss in enumerate(_fit(module, train, epochs, seed, rate), start=1):
            if progress:
                progress(TrainingProgress(epoch, epochs, loss, time.perf_counter() - started))
        state = round_to_half(module.state_dict())
        module.load_state_dict({name: value.float() for name, value in state.items()})
        top1 = _top1(module, held_out)
    facts = {"architecture": model, "seed": seed, "epochs": epochs, "held_out_top1": round(top1, 3)}
    write_weights(state, output, facts)
    return TrainingResult(
        model=model,
        path=output,
        epochs=epochs,
        train_images=len(train),
        held_out_images=len(held_out),
        held_out_top1=top1,
        seconds=time.perf_counter() - started,
        size_bytes=output.stat().st_size,
    )


@contextmanager
def _seeded(seed: int, threads: int) -> Iterator[None]:
    """Torch's global generator (the initial weights) and threads, as given and then as they were."""
    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _initial_model(name: str) -> nn.Module:
    """Xavier's weights and sine-cosine positions: from these it takes half the epochs of timm's default."""
    module: Any = build_digits(name)
    from timm.layers import build_sincos2d_pos_embed

    module.init_weights("jax")
    if not DIGITS_MODELS[name].windowed:  # windows have a bias of relative positions instead
        grid = module.patch_embed.grid_size
        positions = build_sincos2d_pos_embed(grid, dim=module.embed_dim, temperature=POSITION_TEMPERATURE)
        with torch.no_grad():
            module.pos_embed[0, -len(positions) :] = positions
    return cast(nn.Module, module)


def _partitions(module: nn.Module, train_images: int | None) -> tuple[PreprocessedImages, PreprocessedImages]:
    ensure_torchvision()
    import timm.data

    source = DigitsSource()
    config = timm.data.resolve_data_config({}, model=module)
    train = np.flatnonzero(source.partition == TRAIN)[:train_images]
    held_out = np.flatnonzero(source.partition == HELD_OUT)
    return load_images(source, train, config), load_images(source, held_out, config)


@torch.inference_mode()
def _top1(module: nn.Module, images: PreprocessedImages) -> float:
    module.eval()
    hits = sum(int((module(batch).argmax(-1) == labels).sum()) for batch, labels in images.batches(256))
    return 100.0 * hits / len(images)


@dataclass(frozen=True)
class Distortion:
    """Largest distortions; every image draws its own, uniformly up to these.

    Attributes:
        rotation: In radians, either way.
        scale: Relative growth or shrinkage of each axis.
        shear: Horizontal shift per unit of height.
        shift: As a share of the image's side.
        contrast: Relative change of the pixel values.
    """

    rotation: float = 0.22
    scale: float = 0.15
    shear: float = 0.2
    shift: float = 0.1
    contrast: float = 0.2

    def apply(self, pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Distorted copies of float pixels ``[n, channels, height, width]`` whose background is 0."""
        count = len(pixels)

        def draw(largest: float) -> torch.Tensor:
            return (2.0 * torch.rand(count, generator=generator) - 1.0) * largest

        angle, shear = draw(self.rotation), draw(self.shear)
        wide, high = 1.0 + draw(self.scale), 1.0 + draw(self.scale)
        cos, sin = angle.cos(), angle.sin()
        # rows of [rotation][shear][scale], in coordinates from -1 to 1, so that a shift counts double
        rows = (cos * wide, (shear * cos - sin) * high, 2.0 * draw(self.shift))
        columns = (sin * wide, (shear * sin + cos) * high, 2.0 * draw(self.shift))
        matrices = torch.stack([torch.stack(rows, dim=-1), torch.stack(columns, dim=-1)], dim=1)
        grid = affine_grid(matrices, list(pixels.shape), align_corners=False)
        moved = grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return (moved * (1.0 + draw(self.contrast)).view(-1, 1, 1, 1)).clamp(0.0, 255.0)


def _fit(
    module: nn.Module, train: PreprocessedImages, epochs: int, seed: int, rate: float
) -> Iterator[float]:
    """Trains in place with AdamW, warm-up and a cosine schedule; yields the mean loss of every epoch."""
    generator = torch.Generator().manual_seed(seed)
    # Weight decay is for matrices only, not for biases, norms, class token and positions.
    matrices = [p for name, p in module.named_parameters() if p.ndim > 1 and name.endswith(".weight")]
    chosen = {id(p) for p in matrices}
    others = [p for p in module.parameters() if id(p) not in chosen]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rate, fused=True)
    steps = epochs * math.ceil(len(train) / BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share(step, steps))
    distortion = Distortion()
    module.train()
    for _ in range(epochs):
        total = 0.0
        order = torch.randperm(len(train), generator=generator)
        for start in range(0, len(train), BATCH_SIZE):
            batch = order[start : start + BATCH_SIZE]
            images = train.normalised(distortion.apply(train.pixels[batch].float(), generator))
            loss = cross_entropy(module(images), train.labels[batch], label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(module.parameters(), LARGEST_GRADIENT)
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        yield total / len(train)


def _share(step: int, steps: int) -> float:
    """Share of the peak learning rate: linear warm-up, then half a cosine down to 0."""
    warmup = max(1, round(WARMUP_SHARE * steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
