"""How the digits models learn: the loss of digits and of tokens, the optimizer, and parts of a batch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from bitfront.evaluators.data.cluttered import DIGITS_READ
from bitfront.evaluators.models.digits_models import DigitsModel
from bitfront.evaluators.training.digits_images import ReadingBatch, ReadingImages

WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.1
LARGEST_GRADIENT = 1.0
DIGITS = 10


class DigitsLearner(nn.Module):
    """A model whose tokens learn which digit they are in as well (Jiang et al., arXiv 2104.10858).

    From what a whole image shows alone, nothing is learned for long: there are few images, and a class token
    sees the mean of all their tokens at first. What the tokens tell by goes with the training.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.tokens = nn.Linear(cast(int, module.num_features), DIGITS * DIGITS_READ + 1)
        nn.init.zeros_(self.tokens.weight)
        nn.init.zeros_(self.tokens.bias)

    def forward(self, batch: ReadingBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Sum of the losses of all digits, and what is to be added for the tokens."""
        module: Any = self.module
        features = module.forward_features(batch.images)
        logits = module.forward_head(features).view(batch.digits.numel(), DIGITS)
        loss = cross_entropy(logits, batch.digits.flatten(), label_smoothing=LABEL_SMOOTHING, reduction="sum")
        if batch.within is None:
            return loss, torch.zeros(())
        labels = _of_tokens(batch, features)
        tokens = features.flatten(1, -2)[:, -labels.shape[1] :]
        told = cross_entropy(self.tokens(tokens).flatten(0, 1), labels.flatten(), reduction="sum")
        return loss, told * batch.digits.numel() / labels.numel()


def _of_tokens(batch: ReadingBatch, features: torch.Tensor) -> torch.Tensor:
    """What tokens are to tell ``[n, tokens]``: a digit at its place in the number, or the last for none."""
    assert batch.within is not None
    side = math.isqrt(features.flatten(1, -2).shape[1])  # tokens of classes are fewer than a row
    step = batch.within.shape[-1] // side
    places = batch.within[:, step // 2 :: step, step // 2 :: step].flatten(1)
    digits = batch.digits.gather(1, places.clamp(min=0))
    return torch.where(places < 0, DIGITS * DIGITS_READ, DIGITS * places + digits)


class Lessons:
    """A model that is trained in place with AdamW, warm-up and a cosine schedule; see :class:`Course`.

    Args:
        module: The model.
        train: What it is trained on.
        model: How.
        epochs: Passes over the scans.
        seed: Of their order and distortions.
        pool: Computes the parts of a batch.
    """

    def __init__(
        self,
        module: nn.Module,
        train: ReadingImages,
        model: DigitsModel,
        epochs: int,
        seed: int,
        pool: ThreadPoolExecutor,
    ) -> None:
        self.epochs = epochs
        self._train, self._model, self._pool = train, model, pool
        self._generator = torch.Generator().manual_seed(seed)
        self._learner = learner = DigitsLearner(module)
        # Weight decay is for matrices only, not for biases, norms, class token and positions.
        matrices = [p for name, p in learner.named_parameters() if p.ndim > 1 and name.endswith(".weight")]
        chosen = {id(p) for p in matrices}
        others = [p for p in learner.parameters() if id(p) not in chosen]
        groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
        betas = 0.9, model.second_moment
        self._optimizer = torch.optim.AdamW(groups, lr=model.learning_rate, betas=betas, fused=True)
        steps = epochs * math.ceil(len(train.labels) / model.batch)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: _share(step, steps, model.warmup)
        )
        learner.train()

    def state(self) -> dict[str, Any]:
        """All that the next epoch depends on."""
        return {
            "learner": self._learner.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "generator": self._generator.get_state(),
            "images": self._train.draws(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Takes what :meth:`state` gave."""
        self._learner.load_state_dict(state["learner"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._generator.set_state(state["generator"])
        self._train.load_draws(state["images"])

    def batches(self, epoch: int, start: int) -> Iterator[ReadingBatch]:  # noqa: ARG002 - draws follow each other
        """The batches of an epoch; they go on from the draws of the one before."""
        assert start == 0
        order = torch.randperm(len(self._train.labels), generator=self._generator)
        for chosen_scans in torch.split(order, self._model.batch):
            yield self._train.batch(chosen_scans, self._generator)

    def learn(self, batch: ReadingBatch) -> tuple[float, int]:
        """Makes a step."""
        loss = _gradients(self._learner, batch, self._model.parts, self._pool)
        nn.utils.clip_grad_norm_(self._learner.parameters(), LARGEST_GRADIENT)
        self._optimizer.step()
        self._schedule.step()
        return loss, len(batch.images)


def _gradients(learner: DigitsLearner, batch: ReadingBatch, parts: int, pool: ThreadPoolExecutor) -> float:
    """Sets the gradients of the mean loss of a digit and returns that; parts are summed in order."""
    parameters = list(learner.parameters())

    def of_part(part: ReadingBatch) -> tuple[torch.Tensor, tuple[torch.Tensor | None, ...]]:
        loss, further = (value / batch.digits.numel() for value in learner(part))
        return loss.detach(), torch.autograd.grad(loss + further, parameters, allow_unused=True)

    losses, gradients = zip(*pool.map(of_part, batch.parts(parts)), strict=True)
    for parameter, of_parts in zip(parameters, zip(*gradients, strict=True), strict=True):
        parameter.grad = None if of_parts[0] is None else torch.stack(of_parts).sum(0)
    return float(sum(losses))


def _share(step: int, steps: int, rise: float) -> float:
    """Share of the peak learning rate: linear in the first steps, then half a cosine down to 0."""
    warmup = max(1, round(rise * steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
