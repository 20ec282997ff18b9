"""The blueprint of a plain vision transformer: its parameters by role, and its float forward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

Tap = Callable[[str, torch.Tensor], None]


@dataclass(frozen=True)
class LinearParts:
    """A linear layer: ``weight`` ``[out, in]`` and ``bias`` ``[out]``, zeros where it has none."""

    weight: torch.Tensor
    bias: torch.Tensor


@dataclass(frozen=True)
class LayerNormParts:
    """A LayerNorm over the last axis: ``weight`` and ``bias`` of shape ``[channels]``."""

    weight: torch.Tensor
    bias: torch.Tensor
    eps: float


@dataclass(frozen=True)
class EncoderParts:
    """One pre-norm encoder; layer scales are folded into ``proj`` and ``fc2``."""

    name: str
    norm1: LayerNormParts
    qkv: LinearParts
    proj: LinearParts
    norm2: LayerNormParts
    fc1: LinearParts
    fc2: LinearParts
    heads: int

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.qkv.weight.shape[0] // (3 * self.heads)

    def linear(self) -> dict[str, LinearParts]:
        """The linear layers that carry genes, by layer name, in execution order."""
        return {"attn.qkv": self.qkv, "attn.proj": self.proj, "mlp.fc1": self.fc1, "mlp.fc2": self.fc2}


@dataclass(frozen=True)
class Readout:
    """How logits are read from the last residual stream.

    Attributes:
        norm: The final LayerNorm.
        tokens: Tokens that are read, each by its own head; empty where ``average`` is used.
        average: First token of the average pool, or None where class tokens are read.
        norm_first: Whether the norm is applied before pooling (only matters for average pooling).
        heads: Classifiers, one for each token read; their logits are averaged.
    """

    norm: LayerNormParts
    tokens: tuple[int, ...]
    average: int | None
    norm_first: bool
    heads: tuple[LinearParts, ...]


@dataclass(frozen=True)
class Blueprint:
    """A plain vision transformer.

    Attributes:
        name: The model's name.
        patch: Patch embedding as a linear layer over flattened patches (channel, row, column).
        patch_size: Rows and columns of a patch.
        image_shape: Channels, rows and columns of an input image.
        prefix: Class, distillation and register tokens, shape ``[prefix, channels]``.
        positions: Position embedding of every token (zeros where a token has none), ``[tokens, channels]``.
        encoders: The encoders in order.
        readout: How logits are read.
    """

    name: str
    patch: LinearParts
    patch_size: tuple[int, int]
    image_shape: tuple[int, int, int]
    prefix: torch.Tensor
    positions: torch.Tensor
    encoders: tuple[EncoderParts, ...]
    readout: Readout

    @property
    def tokens(self) -> int:
        """Tokens of one image, prefix included."""
        return int(self.positions.shape[0])

    @property
    def channels(self) -> int:
        """Width of the residual stream."""
        return int(self.positions.shape[1])


def patches_of(images: torch.Tensor, patch_size: tuple[int, int]) -> torch.Tensor:
    """Cuts ``[batch, channels, rows, columns]`` into ``[batch, patches, values of a patch]``."""
    batch, channels, rows, columns = images.shape
    height, width = patch_size
    grid = images.reshape(batch, channels, rows // height, height, columns // width, width)
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * height * width)


def _ignore(site: str, value: torch.Tensor) -> None:
    """A tap that looks at nothing."""


def _linear(x: torch.Tensor, parts: LinearParts) -> torch.Tensor:
    return F.linear(x, parts.weight, parts.bias)


def _norm(x: torch.Tensor, parts: LayerNormParts) -> torch.Tensor:
    return F.layer_norm(x, (x.shape[-1],), parts.weight, parts.bias, parts.eps)


def forward(blueprint: Blueprint, images: torch.Tensor, tap: Tap = _ignore) -> torch.Tensor:
    """The float forward pass; ``tap`` sees the tensor at every quantization site by name.

    Args:
        blueprint: The model.
        images: Normalised images, ``[batch, channels, rows, columns]``.
        tap: Called with (site name, tensor) in execution order.

    Returns:
        Logits ``[batch, classes]``.
    """
    tap("image", images)
    x = _linear(patches_of(images, blueprint.patch_size), blueprint.patch)
    x = torch.cat([blueprint.prefix.expand(len(x), -1, -1), x], dim=1)
    tap("patch_embed", x)
    tap("pos_embed", blueprint.positions)
    x = x + blueprint.positions
    tap("embed", x)
    for encoder in blueprint.encoders:
        x = _encode(encoder, x, tap)
    return _read(blueprint.readout, x, tap)


def _encode(encoder: EncoderParts, x: torch.Tensor, tap: Tap) -> torch.Tensor:
    def seen(site: str, value: torch.Tensor) -> torch.Tensor:
        tap(f"{encoder.name}.{site}", value)
        return value

    batch, tokens, _ = x.shape
    qkv = seen("attn.qkv", _linear(seen("norm1", _norm(x, encoder.norm1)), encoder.qkv))
    q, k, v = qkv.reshape(batch, tokens, 3, encoder.heads, encoder.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
    scores = seen("attn.scores", (q @ k.transpose(-2, -1)) * encoder.head_dim**-0.5)
    attention = seen("attn.softmax", scores.softmax(-1))
    context = seen("attn.context", (attention @ v).transpose(1, 2).reshape(batch, tokens, -1))
    x = seen("residual1", x + seen("attn.proj", _linear(context, encoder.proj)))
    hidden = seen("mlp.gelu", F.gelu(_linear(seen("norm2", _norm(x, encoder.norm2)), encoder.fc1)))
    return seen("residual2", x + seen("mlp.fc2", _linear(hidden, encoder.fc2)))


def _read(readout: Readout, x: torch.Tensor, tap: Tap) -> torch.Tensor:
    if readout.average is None:
        read = x[:, list(readout.tokens)]
    elif readout.norm_first:
        x = _norm(x, readout.norm)
        tap("norm_tokens", x)
        read = x[:, readout.average :].mean(1, keepdim=True)
    else:
        read = x[:, readout.average :].mean(1, keepdim=True)
        tap("pool", read)
    if readout.average is None or not readout.norm_first:
        read = _norm(read, readout.norm)
    tap("norm", read)
    logits = torch.stack([_linear(read[:, i], head) for i, head in enumerate(readout.heads)]).mean(0)
    tap("head", logits)
    return logits
