"""The blueprint of a vision transformer, plain or windowed: its parameters by role."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from bitfront.evaluators.models.parts import EncoderParts, LinearParts, MergeParts, NormParts, Readout
from bitfront.spaces import EncoderLayers

T = TypeVar("T")
Visit = Callable[[str, torch.Tensor], torch.Tensor]


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
        patch_norm: Norm of the embedded patches before prefix and positions, where there is one.
    """

    name: str
    patch: LinearParts
    patch_size: tuple[int, int]
    image_shape: tuple[int, int, int]
    prefix: torch.Tensor
    positions: torch.Tensor | None
    embed_norm: NormParts | None
    encoders: tuple[EncoderParts, ...]
    merges: Mapping[int, MergeParts]
    readout: Readout
    independent: bool = False
    patch_norm: NormParts | None = None

    def encoder_layers(self) -> tuple[EncoderLayers, ...]:
        """The encoders and their linear layers, for configurations and search spaces."""
        return tuple(
            EncoderLayers(index, encoder.name, tuple(encoder.linear()))
            for index, encoder in enumerate(self.encoders)
        )

    def outer(self) -> dict[str, LinearParts]:
        """The linear layers outside the encoders, by name, in execution order.

        ``patch_embed``, ``<merge>.reduction`` of every patch merging, ``pool.<layer>`` of attention pooling
        and ``head.<i>`` of every classifier.
        """
        heads = {f"head.{index}": head for index, head in enumerate(self.readout.heads)}
        reductions = {f"{merge.name}.reduction": merge.reduction for merge in self.merges.values()}
        pool = {} if self.readout.pool is None else self.readout.pool.linear()
        return {"patch_embed": self.patch, **reductions, **pool, **heads}

    def norms(self) -> dict[str, NormParts]:
        """Every norm by name, in execution order but for those of patch mergings."""
        around = {"patch_norm": self.patch_norm, "embed_norm": self.embed_norm}
        found = {name: parts for name, parts in around.items() if parts is not None}
        for encoder in self.encoders:
            found |= {f"{encoder.name}.{name}": parts for name, parts in encoder.norms().items()}
        found |= {f"{merge.name}.norm": merge.norm for merge in self.merges.values()}
        found["norm"] = self.readout.norm
        return found if self.readout.pool is None else found | self.readout.pool.norms()

    def peculiarities(self) -> tuple[str, ...]:
        """In words, what it has beside plain encoders and a plain readout; see :class:`EncoderParts`."""
        found = dict.fromkeys(name for encoder in self.encoders for name in encoder.peculiarities())
        around = {
            "a norm of the patches": self.patch_norm is not None,
            "RMSNorm": not all(parts.centred for parts in self.norms().values()),
            "norms behind patch mergings": any(merge.post_norm for merge in self.merges.values()),
            "patch mergings that need padding": any(merge.padded for merge in self.merges.values()),
            "attention pooling": self.readout.pool is not None,
        }
        return tuple(found | dict.fromkeys(name for name, has in around.items() if has))

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
