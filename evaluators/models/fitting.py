"""Fitting of a small classifier: the optimiser, its schedule and the loop over distorted images."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from bitfront.evaluators.data.images import PreprocessedImages
from bitfront.evaluators.models.augmentation import Distortion

BATCH_SIZE = 64
WARMUP_SHARE = 0.1
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.1
LARGEST_GRADIENT = 1.0


def fit(module: nn.Module, train: PreprocessedImages, epochs: int, seed: int, rate: float) -> Iterator[float]:
    """Trains in place with AdamW, warm-up and a cosine schedule; yields the mean loss of every epoch.

    Args:
        module: A classifier of the images.
        train: What it is trained on, distorted anew in every epoch.
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
