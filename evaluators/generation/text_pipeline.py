"""Pipelines of texts in the layout of Stable Diffusion: text encoder, U-Net, decoder and safety checker."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional

from bitfront.evaluators.generation.jobs import Job, Sampling
from bitfront.evaluators.generation.parts import (
    Decoder,
    Denoiser,
    Part,
    SafetyChecker,
    TextEncoder,
    numbered_blocks,
)
from bitfront.evaluators.generation.pipeline import Call, denoised
from bitfront.spaces import UserError

# Means and deviations of CLIP's pictures (Radford et al. 2021), which the safety checker sees.
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class TextPipeline:
    """See :class:`bitfront.evaluators.generation.pipeline.Pipeline`.

    Args:
        name: For people.
        loaded: ``StableDiffusionPipeline`` of diffusers.
    """

    def __init__(self, name: str, loaded: Any) -> None:
        self.name = name
        self.sampling = Sampling()
        self.conditions: Sequence[tuple[str, str | int]] = ()
        self._tokenizer, self._scheduler = loaded.tokenizer, loaded.scheduler
        self.channels = int(loaded.vae.config.out_channels)
        unet = loaded.unet
        side = int(unet.config.sample_size)
        self._shape = (int(unet.config.in_channels), side, side)
        lists, singles = ("down_blocks", "up_blocks"), ("mid_block",)
        parts = [
            Part("unet", Denoiser(unet, self._shape[0], True), numbered_blocks(unet, lists, singles), True),
            Part("vae", Decoder(loaded.vae)),
            Part("text_encoder", TextEncoder(loaded.text_encoder)),
        ]
        if getattr(loaded, "safety_checker", None) is not None:
            parts.append(Part("safety_checker", SafetyChecker(loaded.safety_checker)))
            self._seen_side = int(loaded.safety_checker.config.vision_config.image_size)
        self.parts = tuple(parts)

    def checked(self, conditions: Sequence[tuple[str, str | int]]) -> None:
        """Refuses to begin without a text."""
        if not conditions or not all(isinstance(condition, str) for _, condition in conditions):
            raise UserError(
                f"{self.name} makes pictures of texts: give --prompts FILE with one prompt a line"
            )

    def pictures(self, calls: Mapping[str, Call], jobs: Sequence[Job], sampling: Sampling) -> torch.Tensor:
        """See the protocol; flagged pictures are black, as diffusers has them."""
        states = calls["text_encoder"](self._tokens([str(job.condition) for job in jobs]))
        none = calls["text_encoder"](self._tokens([""])).expand_as(states)
        scheduler = copy.deepcopy(self._scheduler)
        latents = denoised(calls["unet"], scheduler, jobs, self._shape, (states, none), sampling)
        pictures = (calls["vae"](latents) * 0.5 + 0.5).clamp(0.0, 1.0)
        if "safety_checker" in calls:
            flagged = (calls["safety_checker"](self._seen(pictures)) > 0.0).any(1)
            pictures = torch.where(flagged[:, None, None, None], torch.zeros_like(pictures), pictures)
        return pictures

    def _tokens(self, texts: list[str]) -> torch.Tensor:
        length = self._tokenizer.model_max_length
        found = self._tokenizer(
            texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        )
        tokens: torch.Tensor = found.input_ids
        return tokens

    def _seen(self, pictures: torch.Tensor) -> torch.Tensor:
        side = (self._seen_side, self._seen_side)
        resized = functional.interpolate(pictures, side, mode="bicubic", antialias=True).clamp(0.0, 1.0)
        mean, std = (torch.tensor(values)[:, None, None] for values in (_CLIP_MEAN, _CLIP_STD))
        return (resized - mean) / std
