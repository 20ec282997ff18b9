"""Encoders learn one after another to yield the stream of the float model from the one that reaches them.

Block reconstruction (BRECQ, Li et al., arXiv 2102.05426): what reaches an encoder is what the quantized ones
before it make of an image, what it shall yield is what the float model has there. Every value of the stream
is a target, so that few images tell much more than by their predictions alone, and a step costs a share of
one through all encoders. Errors weigh the more the more they move the prediction: by roots of the diagonal of
its Fisher information (FIMA-Q, arXiv 2506.11543).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from bitfront.evaluators.data.images import PreprocessedImages
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.float_forward import EncoderWalk, forward
from bitfront.evaluators.preparation.fisher import squared_gradients
from bitfront.evaluators.progress import ShareDone
from bitfront.evaluators.training.refinement.network import LearnedModel
from bitfront.evaluators.training.refinement.optimizer import Optimizer
from bitfront.evaluators.training.refinement.products import quick_products
from bitfront.evaluators.training.refinement.recipe import RefinementSpec
from bitfront.evaluators.training.refinement.variation import varied

# Learning rates; errors of all tokens scatter less than divergences of predictions do, so steps are longer.
RATES = {"latent": 1e-2, "log_scales": 2e-3, "log_steps": 2e-3, "bias": 2e-3, "weight": 2e-3}
WARM = 20
# Images of a step: each has many tokens, and many small steps teach more than few large ones.
BATCH = 4
# Varied ones beside each image: what is learned of few images again and again holds for these alone.
VIEWS = 5
# Values of a stream that are kept at most, 1 GiB: where it has more, fewer images are learned from.
MOST_VALUES = 1 << 28
# Images that pass at a time where nothing learns, and that gradients are held of.
_PASSING, _HELD = 16, 4
# Images whose gradients say what matters.
TELLING = 256
# Share of a weight that all tokens and channels have alike: where few of them matter, as in the last
# encoders, what is learned of these alone holds for the images that are learned from and no others.
EVEN = 0.3


class Reconstruction:
    """The learning of every encoder in its turn.

    Args:
        model: Learns.
        blueprint: The float model.
        images: What is learned from.
        spec: How.
    """

    def __init__(
        self, model: LearnedModel, blueprint: Blueprint, images: PreprocessedImages, spec: RefinementSpec
    ) -> None:
        self._model, self._blueprint, self._spec = model, blueprint, spec
        self._sites = [f"{encoder.name}.residual2" for encoder in blueprint.encoders]
        self._steps = max(1, spec.encoder_passes * len(images) // BATCH)
        with quick_products(), torch.no_grad():
            views = self._views(images)
            self._count = len(views)
            self._weights = self._importance(views)
            self._walk = EncoderWalk(blueprint, torch.split(views, _PASSING))
            self._streams = [model.embed(x) for x in torch.split(views, _PASSING)]

    def _views(self, images: PreprocessedImages) -> torch.Tensor:
        """Normalised images as they are and varied, as many as there is room for."""
        device = self._blueprint.patch.weight.device
        generator = torch.Generator().manual_seed(self._spec.seed)
        every = torch.arange(len(images))
        found = [images.normalised(images.pixels)]
        found += [varied(images, every, generator) for _ in range(VIEWS)]
        sizes: list[int] = []
        forward(
            self._blueprint,
            found[0][:1].to(device),
            lambda site, value: sizes.append(value.numel()) if site in self._sites else None,
        )
        return torch.cat(found)[: max(BATCH, MOST_VALUES // max(sizes))].to(device)

    def _importance(self, views: torch.Tensor) -> dict[str, torch.Tensor]:
        """By site, weights of mean 1 of tokens and channels, ``[tokens, channels]``."""
        generator = torch.Generator().manual_seed(self._spec.seed)
        tokens: dict[str, list[torch.Tensor]] = {site: [] for site in self._sites}
        channels: dict[str, list[torch.Tensor]] = {site: [] for site in self._sites}
        for part in torch.split(views[:TELLING], _HELD):
            for site, squares in squared_gradients(self._blueprint, part, generator, self._sites).items():
                tokens[site].append(squares.mean(-1))
                channels[site].append(squares.mean(1))
        return {
            site: _tamed(torch.cat(tokens[site]))[:, None] * _tamed(torch.cat(channels[site]))
            for site in self._sites
        }

    def learn(self, index: int, done: ShareDone) -> tuple[float, float]:
        """Teaches an encoder, those before it having been taught; its weighted error before and after.

        Errors are shares of the spread of what the float model has there. An encoder that comes no nearer to
        it stays as it was.

        Args:
            index: Of the encoder.
            done: Is told the share of its steps that is done.
        """
        wanted, encoder = self._wanted(), self._model.encoders[index]
        weights = self._weights[self._sites[index]] / (wanted - wanted.mean((0, 1))).square().mean()

        def error(found: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
            apart = (found.view(len(chosen), *wanted.shape[1:]) - wanted[chosen]).square()
            return (apart * weights).mean()

        stream = torch.cat(self._streams)
        stream = stream.view(self._count, -1, stream.shape[-1])
        named = dict(encoder.named_parameters())
        begun = {name: parameter.detach().clone() for name, parameter in named.items()}
        streams = self._passed(index)
        before = self._mean(error, streams)
        optimizer = Optimizer(named, RATES, self._spec.rate, self._steps, WARM)
        generator = torch.Generator().manual_seed(self._spec.seed * 10_007 + index)
        for number, chosen in zip(range(self._steps), self._chosen(generator), strict=False):
            with quick_products():
                found = self._model.advance(index, stream[chosen].flatten(0, 1), len(chosen))
                optimizer.step(number, error(found, chosen))
            done((number + 1) / self._steps)
        learned = self._passed(index)
        after = self._mean(error, learned)
        if after < before:
            streams = learned
        else:
            encoder.load_state_dict(begun)
        self._streams = streams
        return before, after

    def skip(self, index: int) -> None:
        """Takes an encoder as it is: it was taught before."""
        self._wanted()
        self._streams = self._passed(index)

    @torch.no_grad()
    def _mean(
        self, error: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], streams: Sequence[torch.Tensor]
    ) -> float:
        """The error of all views."""
        parts = torch.split(torch.arange(self._count), _PASSING)
        errors = [float(error(x, part)) * len(part) for x, part in zip(streams, parts, strict=True)]
        return sum(errors) / self._count

    def _chosen(self, generator: torch.Generator) -> Iterator[torch.Tensor]:
        """Numbers of the views of each step, all of them before any comes again."""
        while True:
            yield from torch.split(torch.randperm(self._count, generator=generator), BATCH)

    @torch.no_grad()
    def _wanted(self) -> torch.Tensor:
        """The float stream behind the next encoder, ``[views, tokens, channels]``."""
        found: list[torch.Tensor] = []

        def look(_: int, site: str, value: torch.Tensor) -> None:
            if site in self._sites:
                found.append(value)

        with quick_products():
            self._walk.advance(look)
        return torch.cat(found)

    @torch.no_grad()
    def _passed(self, index: int) -> list[torch.Tensor]:
        """The streams behind an encoder, by batch."""
        counts = [len(part) for part in torch.split(torch.arange(self._count), _PASSING)]
        with quick_products():
            return [self._model.advance(index, x, n) for x, n in zip(self._streams, counts, strict=True)]


def _tamed(squares: torch.Tensor) -> torch.Tensor:
    """Weights of mean 1 by mean squared gradients ``[images, n]``: no image's count more than another's."""
    mean = squares.mean(-1, keepdim=True)
    roots = torch.where(mean > 0, squares / mean, 1.0).mean(0).sqrt()
    return torch.lerp(roots / roots.mean(), torch.ones_like(roots), EVEN)
