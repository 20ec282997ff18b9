"""Features of pictures by a classifier that is at hand, for FID and KID: figures say which one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from bitfront.evaluators.files import split_entry
from bitfront.evaluators.models.loading import load_model
from bitfront.spaces import UserError

AUTO, NONE = "auto", "none"
# The project's own classifier of grey digits.
_DIGITS = "digits_deit"
_BATCH = 32


@dataclass(frozen=True, eq=False)
class FeatureSource:
    """A classifier whose last features are taken.

    Attributes:
        name: As figures name it.
        module: Of timm.
        mean: Of every channel.
        std: Of every channel.
        side: Pixels of a side of what it sees.
        channels: Of what it sees.
    """

    name: str
    module: Any
    mean: torch.Tensor
    std: torch.Tensor
    side: tuple[int, int]
    channels: int

    @torch.inference_mode()
    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        """Features, float64 ``[pictures, features]``, of pictures from 0 to 1."""
        if pictures.shape[1] != self.channels:
            grey = pictures.mean(1, keepdim=True)
            pictures = grey if self.channels == 1 else grey.expand(-1, self.channels, -1, -1)
        if tuple(pictures.shape[-2:]) != self.side:
            pictures = functional.interpolate(pictures, self.side, mode="bicubic", antialias=True).clamp(
                0.0, 1.0
            )
        seen = (pictures - self.mean) / self.std
        found = [self._of(seen[start : start + _BATCH]) for start in range(0, len(seen), _BATCH)]
        return torch.cat(found).double()

    def _of(self, batch: torch.Tensor) -> torch.Tensor:
        whole = self.module.forward_features(batch)
        features: torch.Tensor = self.module.forward_head(whole, pre_logits=True)
        return features


def feature_source(text: str, channels: int) -> FeatureSource | None:
    """The classifier that a text names: ``auto``, ``none``, ``MODEL`` or ``MODEL:CHECKPOINT``.

    ``auto`` is the project's classifier of digits for grey pictures, and nothing for others.

    Args:
        text: What was asked for.
        channels: Of the pictures.

    Raises:
        UserError: There is no such model, or it has no weights at hand.
    """
    if text == NONE or (text == AUTO and channels != 1):
        return None
    model, _, checkpoint = (_DIGITS if text == AUTO else text).partition(":")
    if not checkpoint and model not in (_DIGITS, "cluttered_deit"):
        raise UserError(
            f"--features {text}: name its weights as well, such as {model}:weights.safetensors, "
            f"or take {_DIGITS}"
        )
    loaded = load_model(model, checkpoint=checkpoint or None)
    config = loaded.data_config
    height, width = config["input_size"][1:]
    mean, std = (torch.tensor(config[name], dtype=torch.float32)[:, None, None] for name in ("mean", "std"))
    name = model if not checkpoint else f"{model} ({split_entry(checkpoint)[0].rpartition('/')[2]})"
    return FeatureSource(name, loaded.module, mean, std, (height, width), int(config["input_size"][0]))
