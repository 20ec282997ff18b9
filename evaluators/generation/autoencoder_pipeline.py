"""An autoencoder alone: photographs through encoder and decoder, every block of which is a gene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from bitfront.evaluators.files import readable
from bitfront.evaluators.generation.jobs import Job, Sampling
from bitfront.evaluators.generation.parts import Part
from bitfront.evaluators.generation.pipeline import Call
from bitfront.spaces import UserError
from bitfront.spaces.errors import one_line

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


class AutoencoderPipeline:
    """See :class:`bitfront.evaluators.generation.pipeline.Pipeline`; conditions are files.

    Args:
        name: For people.
        encoder: Pictures to latents, and the paths of its blocks.
        decoder: Latents to pictures, and the paths of its blocks.
        signed: Whether its pictures are from -1 to 1, or else from 0 to 1.
        channels: Of its pictures.
        side: Pixels of a side of the centre that is cut out of a photograph.
    """

    def __init__(
        self,
        name: str,
        encoder: tuple[nn.Module, tuple[str, ...]],
        decoder: tuple[nn.Module, tuple[str, ...]],
        *,
        signed: bool,
        channels: int = 3,
        side: int = 224,
    ) -> None:
        self.name, self.side, self.channels = name, side, channels
        self.sampling = Sampling(steps=1, guidance=1.0)
        self.conditions: Sequence[tuple[str, str | int]] = ()
        self._signed, self._mode = signed, "L" if channels == 1 else "RGB"
        self.parts = (Part("encoder", *encoder), Part("decoder", *decoder))

    def checked(self, conditions: Sequence[tuple[str, str | int]]) -> None:
        """Refuses to begin without photographs."""
        if not conditions or not all(isinstance(condition, str) for _, condition in conditions):
            raise UserError(f"{self.name} codes photographs: give --photographs DIR, a folder of images")

    def pictures(self, calls: Mapping[str, Call], jobs: Sequence[Job], sampling: Sampling) -> torch.Tensor:  # noqa: ARG002
        """See the protocol."""
        found = self.originals(jobs)
        found = found * 2.0 - 1.0 if self._signed else found
        found = calls["decoder"](calls["encoder"](found))
        return (found * 0.5 + 0.5 if self._signed else found).clamp(0.0, 1.0)

    def originals(self, jobs: Sequence[Job]) -> torch.Tensor:
        """The photographs, float32 ``[jobs, channels, side, side]`` from 0 to 1."""
        return torch.stack([self._photograph(Path(str(job.condition))) for job in jobs])

    def _photograph(self, path: Path) -> torch.Tensor:
        try:
            with Image.open(path) as opened:
                image = opened.convert(self._mode)
        except OSError as error:
            raise UserError(f"{path} is no picture ({one_line(error, 80)}): remove it") from error
        scale = self.side / min(image.size)
        if scale > 1.0:  # small ones are enlarged, of large ones the centre is cut out as it is
            size = tuple(max(self.side, round(length * scale)) for length in image.size)
            image = image.resize((size[0], size[1]), Image.Resampling.BICUBIC)
        left, top = ((length - self.side) // 2 for length in image.size)
        pixels = (
            np.asarray(image.crop((left, top, left + self.side, top + self.side)), dtype=np.float32) / 255.0
        )
        return torch.from_numpy(pixels.reshape(self.side, self.side, -1)).permute(2, 0, 1).contiguous()


def photographs(folder: Path, count: int | None) -> list[tuple[str, str | int]]:
    """The images of a folder by name, the first ``count`` of them, as conditions.

    Raises:
        UserError: There are none, or fewer than asked for.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: give --photographs DIR, a folder of images")
    with readable(folder):
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    if not found or (count is not None and len(found) < count):
        raise UserError(
            f"{folder} has {len(found)} images ({', '.join(ENDINGS)}), and {count or 1} are needed"
        )
    return [(path.name, str(path.resolve())) for path in found[:count]]


def blocks_of(module: nn.Module, path: str) -> tuple[str, ...]:
    """Paths of the entries of a sequence of layers that have weights, for genes."""
    layers: Any = module.get_submodule(path) if path else module
    prefix = f"{path}." if path else ""
    return tuple(
        f"{prefix}{name}" for name, layer in layers.named_children() if any(True for _ in layer.parameters())
    )
