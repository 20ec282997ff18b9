"""Fitting of a small classifier: distorted images, the optimiser, its schedule and the loop."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import affine_grid, cross_entropy, grid_sample

from bitfront.evaluators.data.images import PreprocessedImages

BATCH_SIZE = 64
WARMUP_SHARE = 0.1
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.1
LARGEST_GRADIENT = 1.0


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


def fit(module: nn.Module, train: PreprocessedImages, epochs: int, seed: int, rate: float) -> Iterator[float]:
    """Trains in place with AdamW, warm-up and a cosine schedule; yields the mean loss of every epoch.

    Args:
        module: A classifier of the images.
        train: What it is trained on, distorted differently in every epoch.
        epochs: Passes over the images.
        seed: Of the order of the images and their distortions.
        rate: Largest learning rate of the schedule.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(_parameter_groups(module), lr=rate, fused=True)
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


def _parameter_groups(module: nn.Module) -> list[dict[str, object]]:
    """Weight decay for matrices only, not for biases, norms, class token and positions."""
    matrices = [p for name, p in module.named_parameters() if p.ndim > 1 and name.endswith(".weight")]
    chosen = {id(p) for p in matrices}
    others = [p for p in module.parameters() if id(p) not in chosen]
    return [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]


def _share(step: int, steps: int) -> float:
    """Share of the peak learning rate: linear warm-up, then half a cosine down to 0."""
    warmup = max(1, round(WARMUP_SHARE * steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
