"""Parts of a pipeline: a torch module with tensors in and one tensor out, and the blocks that are genes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

REST = "rest"
# Of operations of a converted model: the path of the module that they come from.
_PATH = re.compile(r"__module\.([\w.]+)")


@dataclass(frozen=True, eq=False)
class Part:
    """A component of a pipeline.

    Attributes:
        name: Such as ``unet``.
        module: Takes tensors and gives one; in evaluation mode, float32.
        blocks: Paths of the submodules that are genes of their own; none where the part is one gene.
        denoiser: Whether it is called at every step.
    """

    name: str
    module: nn.Module
    blocks: tuple[str, ...] = ()
    denoiser: bool = False

    @property
    def genes(self) -> tuple[str, ...]:
        """Names of its genes: each block, and what is in none of them; or the part itself."""
        if not self.blocks:
            return (self.name,)
        named = tuple(f"{self.name}.{block_name(path)}" for path in self.blocks)
        return (*named, f"{self.name}.{REST}") if self._beyond_blocks else named

    @cached_property
    def _beyond_blocks(self) -> bool:
        """Whether a matrix of weights is in no block."""
        return any(
            parameter.ndim > 1 and not any(name.startswith(f"{block}.") for block in self.blocks)
            for name, parameter in self.module.named_parameters()
        )

    def gene_of(self, path: str) -> str:
        """The gene of a parameter, or of an operation of the converted model, by its name."""
        if not self.blocks:
            return self.name
        found = _PATH.match(path)
        inner = found.group(1) if found else path
        for gene, block in zip(self.genes, self.blocks, strict=False):
            if inner == block or inner.startswith(f"{block}."):
                return gene
        return self.genes[-1]

    @property
    def float_bytes(self) -> int:
        """Bytes of parameters and buffers as they are held in float32."""
        tensors = [*self.module.parameters(), *self.module.buffers()]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def block_name(path: str) -> str:
    """A path without what wraps the module: ``mid_block`` of ``module.mid_block``."""
    return path.removeprefix("module.")


def numbered_blocks(module: nn.Module, lists: Sequence[str], singles: Sequence[str] = ()) -> tuple[str, ...]:
    """Paths of the entries of some lists of submodules, and of single ones, that a module has."""
    found: list[str] = []
    for name in (*lists, *singles):
        inner = getattr(module, name, None)
        if inner is not None:
            found += (
                [f"module.{name}.{i}" for i in range(len(inner))] if name in lists else [f"module.{name}"]
            )
    return tuple(found)


class Denoiser(nn.Module):
    """A U-Net or a transformer: latents, time steps and conditions to what the scheduler takes.

    Args:
        module: Of diffusers.
        channels: Of the latents; what a transformer learns of variances behind them is left out.
        hidden: Whether the condition is a sequence of hidden states, or else a class.
    """

    def __init__(self, module: nn.Module, channels: int, hidden: bool) -> None:
        super().__init__()
        self.module, self.channels, self.hidden = module, channels, hidden

    def forward(self, latents: torch.Tensor, times: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Float32 ``[n, c, h, w]``, int64 ``[n]``, and classes ``[n]`` or states ``[n, tokens, width]``."""
        if self.hidden:
            found = self.module(latents, times, encoder_hidden_states=condition).sample
        else:
            found = self.module(latents, timestep=times, class_labels=condition).sample
        kept: torch.Tensor = found[:, : self.channels]
        return kept


class Decoder(nn.Module):
    """The decoder of an autoencoder of diffusers: scaled latents to pictures from -1 to 1.

    Args:
        module: The autoencoder, or what has its ``decode``.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        config: Any = module.config
        self.scale = 1.0 / float(config.scaling_factor)
        self.shift = float(getattr(config, "shift_factor", None) or 0.0)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Float32 ``[n, c, h, w]`` to ``[n, channels, height, width]``."""
        return self.module.decode(latents * self.scale + self.shift).sample  # type: ignore[operator, no-any-return]


class Encoder(nn.Module):
    """The encoder of an autoencoder of diffusers: pictures from -1 to 1 to scaled latents, without noise.

    Args:
        module: The autoencoder.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        config: Any = module.config
        self.scale = float(config.scaling_factor)
        self.shift = float(getattr(config, "shift_factor", None) or 0.0)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Float32 ``[n, channels, height, width]`` to ``[n, c, h, w]``."""
        found = self.module.encode(pictures)  # type: ignore[operator]
        latents = found.latents if hasattr(found, "latents") else found.latent_dist.mode()
        return (latents - self.shift) * self.scale  # type: ignore[no-any-return]


class TextEncoder(nn.Module):
    """A text encoder of transformers: tokens to hidden states.

    Args:
        module: The encoder.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Int64 ``[n, tokens]`` to float32 ``[n, tokens, width]``."""
        return self.module(tokens)[0]  # type: ignore[no-any-return]


class SafetyChecker(nn.Module):
    """The safety checker of Stable Diffusion: how far pictures are beyond each concept's threshold.

    Args:
        module: Of diffusers.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Float32 ``[n, 3, h, w]`` to excess over thresholds, ``[n, concepts]``; flagged above 0."""
        model = self.module
        embedded = model.visual_projection(model.vision_model(pictures)[1])  # type: ignore[operator]
        embedded = nn.functional.normalize(embedded)
        special = embedded @ nn.functional.normalize(model.special_care_embeds).t()  # type: ignore[arg-type]
        cared = (special - model.special_care_embeds_weights > 0.0).any(1, keepdim=True)  # type: ignore[operator]
        found = embedded @ nn.functional.normalize(model.concept_embeds).t()  # type: ignore[arg-type]
        return found - model.concept_embeds_weights + 0.01 * cared  # type: ignore[operator]
