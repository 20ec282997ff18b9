"""The blueprint of a vision transformer, plain or windowed: its parameters by role."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch

from bitfront.spaces import EncoderLayers

T = TypeVar("T")
Visit = Callable[[str, torch.Tensor], torch.Tensor]


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
class WindowParts:
    """Attention within windows of the image (Liu et al. 2021, Swin Transformer, section 3.2).

    Attributes:
        rows: Token of the image at each position of each window, the cyclic shift included: int32
            ``[windows, window_tokens]``, every token once.
        bias: Relative position bias, added to the scaled scores: float32
            ``[heads, window_tokens, window_tokens]``.
        mask: True where a query must not see a key: bool ``[windows, window_tokens, window_tokens]``;
            None where the windows are not shifted.
        index: Relative position of each query and key: int64 ``[window_tokens, window_tokens]``, rows of the
            table that is stored; every row occurs.
    """

    rows: torch.Tensor
    bias: torch.Tensor
    mask: torch.Tensor | None
    index: torch.Tensor

    @cached_property
    def places(self) -> torch.Tensor:
        """The inverse of ``rows``: place of each token among all window positions, int64 ``[tokens]``."""
        return self.rows.flatten().argsort()

    @cached_property
    def table_entries(self) -> int:
        """Relative positions: entries of one head in the table that is stored."""
        return int(self.index.max()) + 1

    @property
    def table(self) -> torch.Tensor:
        """The bias of each relative position: float32 ``[entries, heads]``; ``bias`` is ``table[index]``."""
        table = self.bias.new_empty(self.table_entries, len(self.bias))
        table[self.index.flatten()] = self.bias.flatten(1).T
        return table


@dataclass(frozen=True)
class EncoderParts:
    """One pre-norm encoder; layer scales are folded into ``proj`` and ``fc2``.

    Attributes:
        name: The module's path, such as ``blocks.3`` or ``layers.2.blocks.0``.
        heads: Attention heads.
        score_scales: Factor of each head from products of queries and keys to scores, float64 ``[heads]``;
            ``head_dim ** -0.5`` unless the heads were balanced.
        tokens: Tokens of one image in this encoder.
        window: The windows that attention is kept to; None where every token sees every other.
    """

    name: str
    norm1: LayerNormParts
    qkv: LinearParts
    proj: LinearParts
    norm2: LayerNormParts
    fc1: LinearParts
    fc2: LinearParts
    heads: int
    score_scales: torch.Tensor
    tokens: int
    window: WindowParts | None = None

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.qkv.weight.shape[0] // (3 * self.heads)

    @property
    def channels(self) -> int:
        """Width of the residual stream."""
        return self.qkv.weight.shape[1]

    def linear(self) -> dict[str, LinearParts]:
        """The linear layers that carry genes, by layer name, in execution order."""
        return {"attn.qkv": self.qkv, "attn.proj": self.proj, "mlp.fc1": self.fc1, "mlp.fc2": self.fc2}


@dataclass(frozen=True)
class MergeParts:
    """Patch merging: four neighbouring tokens, side by side, are normalised and projected to one.

    Attributes:
        name: The module's path, such as ``layers.1.downsample``.
        rows: The tokens that are put side by side, in this order: int32 ``[tokens_out, 4]``.
        norm: Over the four tokens' channels.
        reduction: The projection; its bias is zero unless a rotation put the norm's into it.
    """

    name: str
    rows: torch.Tensor
    norm: LayerNormParts
    reduction: LinearParts


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
    """A vision transformer whose parts share memory with the module that it was read from.

    Attributes:
        name: The model's name.
        patch: Patch embedding as a linear layer over flattened patches (channel, row, column).
        patch_size: Rows and columns of a patch.
        image_shape: Channels, rows and columns of an input image.
        prefix: Class, distillation and register tokens, shape ``[prefix, channels]``.
        positions: Position embedding of every token (zeros where a token has none), ``[tokens, channels]``;
            None where the family has none.
        embed_norm: LayerNorm of the embedded tokens before the first encoder, where there is one.
        encoders: The encoders in order.
        merges: Patch mergings by the index of the encoder that follows.
        readout: How logits are read.
        independent: Whether every logit is a probability of its own by the sigmoid, as where an image has
            any number of labels, and not all of them one distribution by the softmax.
    """

    name: str
    patch: LinearParts
    patch_size: tuple[int, int]
    image_shape: tuple[int, int, int]
    prefix: torch.Tensor
    positions: torch.Tensor | None
    embed_norm: LayerNormParts | None
    encoders: tuple[EncoderParts, ...]
    merges: Mapping[int, MergeParts]
    readout: Readout
    independent: bool = False

    def encoder_layers(self) -> tuple[EncoderLayers, ...]:
        """The encoders and their linear layers, for configurations and search spaces."""
        return tuple(
            EncoderLayers(index, encoder.name, tuple(encoder.linear()))
            for index, encoder in enumerate(self.encoders)
        )

    def outer(self) -> dict[str, LinearParts]:
        """The linear layers outside the encoders, by name, in execution order.

        ``patch_embed``, ``<merge>.reduction`` of every patch merging, and ``head.<i>`` of every classifier.
        """
        heads = {f"head.{index}": head for index, head in enumerate(self.readout.heads)}
        reductions = {f"{merge.name}.reduction": merge.reduction for merge in self.merges.values()}
        return {"patch_embed": self.patch, **reductions, **heads}

    @property
    def tokens(self) -> int:
        """Tokens of one image in the first encoder, prefix included."""
        return self.encoders[0].tokens

    @property
    def patches(self) -> int:
        """Patches of one image."""
        _, rows, columns = self.image_shape
        return (rows // self.patch_size[0]) * (columns // self.patch_size[1])

    @property
    def channels(self) -> int:
        """Width of the residual stream in the first encoder."""
        return self.encoders[0].channels

    @property
    def embedded_site(self) -> str:
        """Site of the embedded patches, on whose grid the prefix tokens join them."""
        if self.positions is not None:
            return "patch_embed"
        return "embed" if self.embed_norm is None else "embed_sum"

    def entering(self, index: int) -> str:
        """Site of the residual stream that enters encoder ``index``."""
        if index in self.merges:
            return f"{self.merges[index].name}.reduction"
        return "embed" if index == 0 else f"{self.encoders[index - 1].name}.residual2"


def map_tensors(value: T, visit: Visit, name: str) -> T:
    """A copy of a nested value with every tensor replaced by what ``visit`` gives for its name and itself.

    Args:
        value: Dataclasses, mappings and tuples of tensors; anything else in it stays as it is.
        visit: Called with (name, tensor), the name being the way to the tensor, with dots.
        name: Where the way begins.
    """
    mapped: Any = value
    if isinstance(value, torch.Tensor):
        mapped = visit(name, value)
    elif isinstance(value, Mapping):
        mapped = {key: map_tensors(part, visit, f"{name}.{key}") for key, part in value.items()}
    elif isinstance(value, tuple):
        mapped = tuple(map_tensors(part, visit, f"{name}.{index}") for index, part in enumerate(value))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        mapped = type(value)(**map_tensors(fields, visit, name))
    found: T = mapped
    return found


def blueprint_on(blueprint: Blueprint, device: torch.device) -> Blueprint:
    """A blueprint on another device; tensors on the meta device, which have no values, stay there."""
    return map_tensors(blueprint, lambda _, tensor: tensor if tensor.is_meta else tensor.to(device), "")
