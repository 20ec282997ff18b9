"""Pipelines of classes: a diffusion transformer and the decoder of its latents."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from bitfront.evaluators.generation.jobs import Job, Sampling
from bitfront.evaluators.generation.parts import Decoder, Denoiser, Part, numbered_blocks
from bitfront.evaluators.generation.pipeline import Call, denoised
from bitfront.spaces import UserError

_FEW = 10


class ClassPipeline:
    """See :class:`bitfront.evaluators.generation.pipeline.Pipeline`.

    Args:
        name: For people.
        transformer: ``DiTTransformer2DModel`` of diffusers.
        vae: The autoencoder of its latents.
        scheduler: Of diffusers.
        sampling: How it is sampled unless told otherwise.
    """

    def __init__(
        self, name: str, transformer: Any, vae: Any, scheduler: Any, sampling: Sampling | None = None
    ) -> None:
        self.name = name
        self.sampling = sampling or Sampling(guidance=4.0)
        self._scheduler = scheduler
        config = transformer.config
        self._shape = (config.in_channels, config.sample_size, config.sample_size)
        self._classes = int(config.num_embeds_ada_norm)
        self.channels = int(vae.config.out_channels)
        blocks = numbered_blocks(transformer, ("transformer_blocks",))
        self.parts = (
            Part("transformer", Denoiser(transformer, config.in_channels, False), blocks, True),
            Part("vae", Decoder(vae)),
        )

    @property
    def conditions(self) -> Sequence[tuple[str, str | int]]:
        """The first ten classes."""
        return [(f"class {i}", i) for i in range(min(self._classes, _FEW))]

    def checked(self, conditions: Sequence[tuple[str, str | int]]) -> None:
        """Refuses what is no class of it."""
        for text, condition in conditions:
            if not isinstance(condition, int) or not 0 <= condition < self._classes:
                raise UserError(
                    f"{text!r} is no class of {self.name}: give numbers from 0 to {self._classes - 1} "
                    "with --classes"
                )

    def pictures(self, calls: Mapping[str, Call], jobs: Sequence[Job], sampling: Sampling) -> torch.Tensor:
        """See the protocol; the class that stands for none is the one behind the last."""
        classes = torch.tensor([job.condition for job in jobs], dtype=torch.int64)
        none = torch.full_like(classes, self._classes)
        scheduler = copy.deepcopy(self._scheduler)
        latents = denoised(calls["transformer"], scheduler, jobs, self._shape, (classes, none), sampling)
        return (calls["vae"](latents) * 0.5 + 0.5).clamp(0.0, 1.0)
