"""The learning: a quantized model drawn towards the float one on varied images, without labels.

The loss is the divergence of the quantized prediction from the float one, on all encoders at once (knowledge
distillation, Hinton et al. 2015), and the squared error of the stream behind every encoder relative to its
spread (as in BRECQ, arXiv 2102.05426, whose targets are those of one block). Codes learn by straight-through
rounding, scales as in LSQ (arXiv 1902.08153).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F

from bitfront.evaluators.data.images import PreprocessedImages
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.float_forward import forward
from bitfront.evaluators.training.refinement.network import LearnedModel
from bitfront.evaluators.training.refinement.products import quick_products
from bitfront.evaluators.training.refinement.recipe import RefinementSpec

# Learning rates of Adam by what a parameter's name ends with: continuous codes in code steps, logarithms of
# scales, biases and LayerNorms in their own units. Adam moves all codes alike, and where many change at once,
# what compensated rounding fitted is lost: at 17 times this rate a model of 2-bit weights falls apart.
RATES: Mapping[str, float] = {
    "latent": 3e-3,
    "log_scales": 5e-4,
    "log_steps": 5e-4,
    "bias": 5e-4,
    "weight": 5e-4,
}
BETAS = (0.9, 0.99)
# Steps in which the rates rise.
WARM = 10
# Weight of the streams' errors beside the divergence of the predictions.
STREAMS = 0.05
# Least share of an image that a crop takes.
LEAST_CROP = 0.6


def divergence(logits: torch.Tensor, target: torch.Tensor, independent: bool) -> torch.Tensor:
    """Kullback-Leibler divergence from a target's prediction to another, nats by image, ``[n]``.

    Args:
        logits: Of the prediction, ``[n, classes]``.
        target: Logits of the target, same shape.
        independent: Whether every logit has a probability of its own; the sum over all of them then.
    """
    if independent:
        p = target.sigmoid()
        cross = F.binary_cross_entropy_with_logits(logits, p, reduction="none")
        return (cross - F.binary_cross_entropy_with_logits(target, p, reduction="none")).sum(-1)
    log_p = target.log_softmax(-1)
    return (log_p.exp() * (log_p - logits.log_softmax(-1))).sum(-1)


class Learning:
    """Passes over the images; a pass depends on what was learned before it and on its number alone.

    Args:
        model: Learns.
        blueprint: The float model.
        images: What is learned from.
        spec: How.
    """

    def __init__(
        self, model: LearnedModel, blueprint: Blueprint, images: PreprocessedImages, spec: RefinementSpec
    ) -> None:
        self._model, self._blueprint, self._images, self._spec = model, blueprint, images, spec
        self._named = dict(model.named_parameters())
        self._rates = {name: RATES[name.rpartition(".")[2]] * spec.rate for name in self._named}
        self._adam = torch.optim.Adam(
            [{"params": [parameter], "lr": 0.0} for parameter in self._named.values()],
            betas=BETAS,
            fused=True,
        )
        self.steps_of_a_pass = max(1, len(images) // spec.batch)

    def run_pass(self, number: int, done: Callable[[int], None]) -> float:
        """Learns from every image once; returns the mean divergence before each step.

        Args:
            number: Of the pass, from 0.
            done: Is told how many steps all passes have done so far.
        """
        generator = torch.Generator().manual_seed(self._spec.seed * 10_007 + number)
        total, step = 0.0, number * self.steps_of_a_pass
        for chosen in self._batches(generator):
            self._set_rates(step)
            with quick_products():
                total += self._step(varied(self._images, chosen, generator))
            step += 1
            done(step)
        return total / self.steps_of_a_pass

    def _batches(self, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        order = torch.randperm(len(self._images), generator=generator)
        return torch.tensor_split(order, self.steps_of_a_pass)

    def _set_rates(self, step: int) -> None:
        """A rise over :data:`WARM` steps, and a fall by half a cosine over all."""
        every = self._spec.passes * self.steps_of_a_pass
        share = min(1.0, (step + 1) / WARM) * 0.5 * (1.0 + math.cos(math.pi * step / every))
        for group, rate in zip(self._adam.param_groups, self._rates.values(), strict=True):
            group["lr"] = rate * share

    def _step(self, x: torch.Tensor) -> float:
        x = x.to(self._blueprint.patch.weight.device)
        target, streams = self._targets(x)
        model, batch = self._model, len(x)
        stream, apart = model.embed(x), torch.zeros((), device=x.device)
        for index, wanted in enumerate(streams):
            stream = model.advance(index, stream, batch)
            apart = apart + (stream - wanted).square().sum() / (wanted - wanted.mean(0)).square().sum()
        found = divergence(model.read(stream, batch), target, self._blueprint.independent).mean()
        self._adam.zero_grad()
        torch.autograd.backward(found + STREAMS * apart)
        self._adam.step()
        return float(found.detach())

    @torch.no_grad()
    def _targets(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Logits of the float model, and its stream behind each encoder as ``[batch * tokens, channels]``."""
        streams: list[torch.Tensor] = []

        def look(site: str, value: torch.Tensor) -> None:
            if site.endswith(".residual2"):
                streams.append(value.reshape(-1, value.shape[-1]))

        return forward(self._blueprint, x, look), streams

    def state(self) -> dict[str, torch.Tensor]:
        """Everything that the next pass depends on, by name."""
        found = {f"value.{name}": parameter.detach() for name, parameter in self._named.items()}
        for name, parameter in self._named.items():
            found |= {f"adam.{name}.{part}": value for part, value in self._adam.state[parameter].items()}
        return found

    @torch.no_grad()
    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Takes up what :meth:`state` gave; KeyError where something is missing."""
        for name, parameter in self._named.items():
            parameter.copy_(state[f"value.{name}"])
            self._adam.state[parameter] = {
                part: state[f"adam.{name}.{part}"].to(parameter.device)
                for part in ("step", "exp_avg", "exp_avg_sq")
            }


def varied(images: PreprocessedImages, chosen: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Normalised images, cropped at random, half of them mirrored but for grey ones, which often are texts.

    Args:
        images: All of them.
        chosen: Which, ``[n]``.
        generator: Of the CPU.
    """
    x = images.normalised(images.pixels[chosen])
    found = []
    for one in torch.split(x, 1):
        if one.shape[1] > 1 and torch.rand((), generator=generator) < 0.5:
            one = one.flip(-1)
        found.append(_cropped(one, generator))
    return torch.cat(found)


def _cropped(image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    share = LEAST_CROP + (1.0 - LEAST_CROP) * float(torch.rand((), generator=generator))
    height, width = image.shape[2:]
    rows, columns = (max(1, round(side * math.sqrt(share))) for side in (height, width))
    top, left = (
        int(torch.randint(0, spare + 1, (), generator=generator))
        for spare in (height - rows, width - columns)
    )
    part = image[:, :, top : top + rows, left : left + columns]
    return F.interpolate(part, size=(height, width), mode="bilinear", antialias=True, align_corners=False)
