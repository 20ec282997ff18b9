"""Model size: bytes of the packed file that carries a configuration."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.quantized.attention import LOG_BITS
from bitfront.evaluators.quantizers.levels import WIDEST_LEVELS
from bitfront.evaluators.quantizers.weights import GROUP, largest_factor
from bitfront.evaluators.recipes import GROUPED_WEIGHTS, HEAD_CHANNELS, LOG_BASE, RECIPES, Recipe
from bitfront.evaluators.site_roles import is_quantized, is_residual, role
from bitfront.evaluators.sites import site_width
from bitfront.spaces import BitConfig, QuantSite
from bitfront.spaces.precision import MAX_BITS

# A safetensors file: 8 bytes of header length, the JSON header padded to 8 bytes, then the tensors.
_LENGTH_BYTES = 8
_TYPES = {"U8": 1, "I8": 1, "F32": 4}

# Of files in which the codes are all there is.
_FAITHFUL = RECIPES["fq-vit"]


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a file: safetensors type name and shape (of bytes, where values are packed)."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the payload."""
        return math.prod(self.shape) * _TYPES[self.dtype]


def safetensors_bytes(tensors: Iterable[StoredTensor]) -> int:
    """Exact size of a safetensors file with these tensors and no metadata."""
    header: dict[str, object] = {}
    offset = 0
    # The writer's own order, widest type first and then by name: it decides the digits of the offsets.
    for tensor in sorted(tensors, key=lambda tensor: (-_TYPES[tensor.dtype], tensor.name)):
        header[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
    text = len(json.dumps(header, separators=(",", ":")).encode())
    return _LENGTH_BYTES + math.ceil(text / 8) * 8 + offset


def packed_bytes(values: int, bits: int) -> int:
    """Bytes of ``values`` integers of ``bits`` bits side by side (4-bit values two to a byte)."""
    return math.ceil(values * bits / 8)


class SizeModel:
    """Sizes of a model's packed file at any configuration, and of its float file.

    Args:
        blueprint: The float model.
        sites: Its quantization sites.
        scheme: The quantization scheme: what is not quantized in it is stored in float32.
        recipe: The quantization recipe: some ingredients are stored beside the codes.
    """

    def __init__(
        self, blueprint: Blueprint, sites: Iterable[QuantSite], scheme: str, recipe: Recipe = _FAITHFUL
    ) -> None:
        self._sites = tuple(sites)
        self._weights = {site.name: site for site in self._sites if site.kind == "weights"}
        self._blueprint = blueprint
        self._scheme = scheme
        self._recipe = recipe

    def size_bytes(self, config: BitConfig) -> int:
        """Bytes of the packed file: weights at their widths, scales, biases, norms and activation grids."""
        return safetensors_bytes(self._packed(config))

    def float_bytes(self) -> int:
        """Bytes of a file with every parameter in float32."""
        return safetensors_bytes(self._float())

    def _packed(self, config: BitConfig) -> Iterable[StoredTensor]:
        for site in self._sites:
            if site.kind == "weights":
                nbytes = self._weight_bytes(site, site_width(site, config))
                yield StoredTensor(site.name, "U8", (nbytes,))
                yield StoredTensor(f"{site.name}.scale", "F32", (site.channels,))
                yield StoredTensor(f"{site.name}.bias", "F32", (site.channels,))
            else:
                # Scale and zero point of every activation grid.
                yield StoredTensor(f"{site.name}.scale", "F32", (1,))
                yield StoredTensor(f"{site.name}.zero_point", "U8", (1,))
                if is_residual(site.name):
                    yield StoredTensor(f"{site.name}.exponents", "U8", (site.channels,))
        yield from self._norms()
        yield from self._embedded("U8" if is_quantized("pos_embed", self._scheme) else "F32")
        yield from self._of_recipe(config)

    def _weight_bytes(self, site: QuantSite, width: int) -> int:
        """Bytes of a weight's codes, and of the factors of its groups where it has some."""
        nbytes = packed_bytes(site.elements, width)
        if GROUPED_WEIGHTS not in self._recipe or site.pinned or largest_factor(width) == 1:
            return nbytes
        groups = site.channels * math.ceil(site.elements / site.channels / GROUP)
        # From 1 to 2^(8 - width), in so many bits.
        return nbytes + packed_bytes(groups, MAX_BITS - width)

    def _of_recipe(self, config: BitConfig) -> Iterable[StoredTensor]:
        """What the recipe stores beside codes and grids, one tensor of a kind for the whole model."""
        encoders = self._blueprint.encoders
        if HEAD_CHANNELS in self._recipe:
            yield StoredTensor("score_scales", "F32", (sum(encoder.heads for encoder in encoders),))
        searched = [site for site in self._sites if not site.pinned and site.kind != "weights"]
        widths = [(site, site_width(site, config)) for site in searched]
        levels = sum(
            1 << width
            for site, width in widths
            if role(site.name) in self._recipe.level_roles and width <= WIDEST_LEVELS
        )
        if levels:
            yield StoredTensor("levels", "U8", (levels,))
        bases = sum(site.kind == "attention" and width == LOG_BITS for site, width in widths)
        if bases and LOG_BASE in self._recipe:
            yield StoredTensor("log_steps", "F32", (bases,))

    def _norms(self) -> Iterable[StoredTensor]:
        norms = {
            **{
                f"{e.name}.norm{n}": (e.norm1, e.norm2)[n - 1]
                for e in self._blueprint.encoders
                for n in (1, 2)
            },
            **{f"{merge.name}.norm": merge.norm for merge in self._blueprint.merges.values()},
            "norm": self._blueprint.readout.norm,
        }
        if self._blueprint.embed_norm is not None:
            norms["embed_norm"] = self._blueprint.embed_norm
        for name, parts in norms.items():
            yield StoredTensor(f"{name}.weight", "F32", tuple(parts.weight.shape))
            yield StoredTensor(f"{name}.bias", "F32", tuple(parts.bias.shape))

    def _embedded(self, dtype: str) -> Iterable[StoredTensor]:
        """Prefix tokens, positions and relative position biases."""
        if len(self._blueprint.prefix):
            yield StoredTensor("prefix", dtype, tuple(self._blueprint.prefix.shape))
        if self._blueprint.positions is not None:
            yield StoredTensor("positions", dtype, tuple(self._blueprint.positions.shape))
        for encoder in self._blueprint.encoders:
            if encoder.window is not None:
                table = (encoder.window.table_entries, encoder.heads)
                yield StoredTensor(f"{encoder.name}.attn.bias_table", dtype, table)

    def _float(self) -> Iterable[StoredTensor]:
        for site in self._weights.values():
            yield StoredTensor(site.name, "F32", (site.channels, site.elements // site.channels))
            yield StoredTensor(f"{site.name}.bias", "F32", (site.channels,))
        yield from self._norms()
        yield from self._embedded("F32")
