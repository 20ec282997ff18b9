"""All encoders learn together: a quantized model drawn towards the float one on varied images.

The loss is the divergence of the quantized prediction from the float one, on all encoders at once (knowledge
distillation, Hinton et al. 2015), and the squared error of the stream behind every encoder relative to its
spread. Scales learn as in LSQ (arXiv 1902.08153), biases and norms beside them; codes stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F

from bitfront.evaluators.data.images import PreprocessedImages
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.float_forward import forward
from bitfront.evaluators.training.refinement.network import LearnedModel
from bitfront.evaluators.training.refinement.optimizer import Optimizer
from bitfront.evaluators.training.refinement.products import quick_products
from bitfront.evaluators.training.refinement.recipe import RefinementSpec
from bitfront.evaluators.training.refinement.variation import varied

# Learning rates. Codes stay: predictions of few images say little of each, and where many change at once,
# what was fitted before is lost. So it is in EfficientQAT (arXiv 2407.11062): blocks learn, then scales.
RATES: Mapping[str, float] = {"log_scales": 2e-4, "log_steps": 2e-4, "bias": 2e-4, "weight": 2e-4}
FIXED = "latent"
WARM = 10
# Weight of the streams' errors beside the divergence of the predictions.
STREAMS = 0.05


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
        self.steps_of_a_pass = max(1, len(images) // spec.batch)
        self._steps = spec.passes * self.steps_of_a_pass
        named = dict(model.named_parameters())
        moving = {name: value for name, value in named.items() if not name.endswith(FIXED)}
        self._optimizer = Optimizer(moving, RATES, spec.rate, self._steps, WARM)

    def run_pass(self, number: int, done: Callable[[int], None]) -> float:
        """Learns from every image once; returns the mean divergence before each step.

        Args:
            number: Of the pass, from 0.
            done: Is told how many steps all passes have done so far.
        """
        for name, parameter in self._model.named_parameters():
            parameter.requires_grad_(not name.endswith(FIXED))
        generator = torch.Generator().manual_seed(self._spec.seed * 10_007 + number)
        total, step = 0.0, number * self.steps_of_a_pass
        for chosen in self._batches(generator):
            with quick_products():
                total += self._step(step, varied(self._images, chosen, generator))
            step += 1
            done(step)
        return total / self.steps_of_a_pass

    def _batches(self, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        order = torch.randperm(len(self._images), generator=generator)
        return torch.tensor_split(order, self.steps_of_a_pass)

    def _step(self, number: int, x: torch.Tensor) -> float:
        x = x.to(self._blueprint.patch.weight.device)
        target, streams = self._targets(x)
        model, batch = self._model, len(x)
        stream, apart = model.embed(x), torch.zeros((), device=x.device)
        for index, wanted in enumerate(streams):
            stream = model.advance(index, stream, batch)
            apart = apart + (stream - wanted).square().sum() / (wanted - wanted.mean(0)).square().sum()
        found = divergence(model.read(stream, batch), target, self._blueprint.independent).mean()
        self._optimizer.step(number, found + STREAMS * apart)
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
        """Everything that the next pass depends on but for the parameters, by name."""
        return self._optimizer.state()

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Takes up what :meth:`state` gave; KeyError where something is missing."""
        self._optimizer.restore(state)
