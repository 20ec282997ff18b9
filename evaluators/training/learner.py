"""A model that learns: the loss of a batch, AdamW, timm's schedule and the average of the weights."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from bitfront.evaluators.context.machine import cpu_flags
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.evaluators.training.distillation import Teacher, distillation_loss, normalised
from bitfront.evaluators.training.images import Batch
from bitfront.evaluators.training.model import parameter_groups
from bitfront.evaluators.training.recipe import TrainingRecipe
from bitfront.spaces import BitfrontError

# By how much autocast has to be quicker to be worth its rounding, and how often a step is timed.
_WORTH, _TIMED = 1.2, 3
_BETAS = (0.9, 0.999)
# The learning rate that it rises from.
_FIRST_RATE = 1e-6


@dataclass(eq=False)
class Learner:
    """What is trained, with all that its next step depends on.

    Attributes:
        module: In training mode, on its device.
        recipe: Settled.
        data_config: timm's resolved preprocessing of the model.
        steps: Of the whole training.
        steps_per_epoch: Of an epoch.
        multiple: Whether an image has any number of labels.
        teacher: Whom it learns from; None for labels alone.
        kept_logits: The teacher's logits of all images ``[images, classes]``; None to compute them.
        done: Steps that are done.
        autocast: Whether products are of bfloat16.
        last_rate: The learning rate of the last layer in the last step.
    """

    module: nn.Module
    recipe: TrainingRecipe
    data_config: Mapping[str, Any]
    steps: int
    steps_per_epoch: int
    multiple: bool = False
    teacher: Teacher | None = None
    kept_logits: torch.Tensor | None = None
    done: int = 0
    autocast: bool = False
    last_rate: float = 0.0
    optimizer: torch.optim.Optimizer = field(init=False)
    average: Any = field(init=False, default=None)
    _schedule: Any = field(init=False)

    def __post_init__(self) -> None:
        """Makes the optimizer, the schedule and the average."""
        ensure_torchvision()
        from timm.optim import create_optimizer_v2
        from timm.scheduler import create_scheduler_v2
        from timm.utils import ModelEmaV3

        recipe, self.module = self.recipe, self.module.train()
        groups = parameter_groups(self.module, recipe)
        rate = float(recipe.learning_rate or 0.0)
        self.optimizer = create_optimizer_v2(groups, opt="adamw", lr=rate, betas=_BETAS, fused=True)
        # Whole updates, of which those of the warm-up come first, so that the last one ends the schedule.
        warmup = min(round(recipe.warmup_epochs * self.steps_per_epoch), self.steps - 1)
        falling = max(1, self.steps - warmup)
        self._schedule, _ = create_scheduler_v2(
            self.optimizer,
            recipe.schedule,
            num_epochs=falling,
            decay_epochs=max(1, falling // 3),
            decay_rate=1.0 if recipe.schedule == "poly" else 0.1,
            warmup_epochs=warmup,
            warmup_lr=min(_FIRST_RATE, rate),
            warmup_prefix=True,
            step_on_epochs=False,
            updates_per_epoch=1,
        )
        if recipe.ema_decay:
            self.average = ModelEmaV3(self.module, decay=recipe.ema_decay, use_warmup=recipe.ema_warmup)

    @property
    def device(self) -> torch.device:
        """Where it is trained."""
        return next(self.module.parameters()).device

    def learn(self, batch: Batch) -> float:
        """Makes a step and returns its loss, in nats, the mean over the images.

        Raises:
            BitfrontError: The loss is not finite.
        """
        self.last_rate = max(float(group["lr"]) for group in self.optimizer.param_groups)
        total = self._backward(batch)
        if not math.isfinite(total):
            raise BitfrontError(
                f"the loss is {total} at step {self.done + 1} of {self.steps}: give a smaller "
                "--learning-rate, or more --warmup-epochs"
            )
        trained = [parameter for parameter in self.module.parameters() if parameter.grad is not None]
        nn.utils.clip_grad_norm_(trained, self.recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.done += 1
        self._schedule.step_update(self.done)
        if self.average is not None:
            # timm counts from 1 where the average is still the weights, to warm it up.
            self.average.update(self.module, step=self.done + 1 if self.recipe.ema_warmup else None)
        return total

    def _backward(self, batch: Batch) -> float:
        """Sets the gradients of the mean loss, part by part."""
        total = 0.0
        for part in batch.parts(self.recipe.accumulate):
            loss = self.loss(part) * (len(part.places) / len(batch.places))
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return total

    def loss(self, batch: Batch) -> torch.Tensor:
        """The loss of some images, in nats, a scalar."""
        pixels, labels = batch.pixels.to(self.device), batch.labels.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            logits: torch.Tensor = self.module(normalised(pixels, self.data_config))
        logits = logits.float()
        hard = self._hard_loss(logits, labels)
        if self.teacher is None:
            return hard
        if self.kept_logits is not None:
            taught = self.kept_logits[batch.places].to(self.device)
        else:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
                taught = self.teacher.logits(pixels)
        return distillation_loss(logits, taught.float(), hard, self.recipe.alpha, self.recipe.temperature)

    def _hard_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        smoothing = self.recipe.label_smoothing
        if labels.is_floating_point():  # mixed, and smoothed by timm
            return (
                binary_cross_entropy_with_logits(logits, labels)
                if self.multiple
                else cross_entropy(logits, labels)
            )
        if self.multiple:
            targets = labels.float() * (1.0 - smoothing) + 0.5 * smoothing
            return binary_cross_entropy_with_logits(logits, targets)
        return cross_entropy(logits, labels, label_smoothing=smoothing)

    def state(self) -> dict[str, Any]:
        """All that the next step depends on beside images, which are a function of the seed and the step."""
        return {
            "module": self.module.state_dict(),
            "average": None if self.average is None else self.average.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "done": self.done,
            "autocast": self.autocast,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Takes what :meth:`state` gave; timm's schedule is a function of the steps that are done."""
        self.module.load_state_dict(state["module"])
        if self.average is not None:
            self.average.module.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.done, self.autocast = int(state["done"]), bool(state["autocast"])
        self._schedule.step_update(self.done)

    def choose_precision(self, batch: Batch) -> str:
        """Takes bfloat16 where that was asked for, or is measured to be quicker; returns what was decided."""
        asked = self.recipe.precision
        if asked != "auto":
            self.autocast = asked == "bf16"
            return asked
        cuda = self.device.type == "cuda"
        quick = torch.cuda.is_bf16_supported() if cuda else "amx_bf16" in cpu_flags()
        if not quick:
            return "float32"
        seconds = {}
        for self.autocast in (False, True):
            times = [self._seconds(batch) for _ in range(_TIMED)]
            seconds[self.autocast] = min(times[1:])
        ratio = seconds[False] / seconds[True]
        self.autocast = ratio >= _WORTH
        return f"{'bf16' if self.autocast else 'float32'}, measured: bf16 is {ratio:.2f} times as quick"

    def _seconds(self, batch: Batch) -> float:
        """The time of the gradients of a batch, which are forgotten."""
        started = time.perf_counter()
        self._backward(batch)
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.optimizer.zero_grad(set_to_none=True)
        return time.perf_counter() - started
