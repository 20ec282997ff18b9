"""What a packed file holds of a model at one configuration: the description that sizes and files share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.sites import is_quantized, is_residual, role, site_format
from bitfront.evaluators.packed.tensors import (
    StoredTensor,
    embedded_tensors,
    float_parameter_tensors,
    float_tensors,
    packed_bytes,
    safetensors_bytes,
)
from bitfront.evaluators.preparation.calibration import Calibration
from bitfront.evaluators.preparation.log_base import LOG_BITS
from bitfront.evaluators.preparation.recipes import (
    ATTENTION_MINIFLOATS,
    GROUPED_WEIGHTS,
    HEAD_CHANNELS,
    LOG_BASE,
    RECIPES,
    Recipe,
)
from bitfront.evaluators.quantizers.grids import GRID_BITS, WIDEST_CODEBOOK, AffineGrid, PowerOfTwoGrid
from bitfront.evaluators.quantizers.weights import groups_of, largest_factor
from bitfront.spaces import BitConfig, NumberFormat, QuantSite, number_format
from bitfront.spaces.precision import MAX_BITS

# Of float formats.
STORED_TYPES = {"bf16": "BF16", "fp16": "F16", "fp32": "F32"}
# One tensor of a kind for the whole model.
SCORE_SCALES, CODEBOOKS, LOG_STEPS = "score_scales", "levels", "log_steps"
# Of files in which the codes are all there is.
_FAITHFUL = RECIPES["fq-vit"]


@dataclass(frozen=True)
class PackedWeight:
    """A linear layer.

    Attributes:
        site: The site of its weight.
        held: Its number format.
        groups: Groups of inputs that have a factor, of each output channel; 0 where they have none.
    """

    site: QuantSite
    held: NumberFormat
    groups: int

    @property
    def width(self) -> int:
        """Bits of a code."""
        return self.held.bits

    @property
    def layer(self) -> str:
        """Name of the layer, such as ``blocks.3.attn.qkv``."""
        return self.site.name.removesuffix(".weight")

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and inputs."""
        return self.site.channels, self.site.elements // self.site.channels

    @property
    def code_bytes(self) -> int:
        """Bytes of the codes, which come first."""
        return packed_bytes(self.site.elements, self.width)

    @property
    def factor_width(self) -> int:
        """Bits of a group's factor, which is stored minus one."""
        return MAX_BITS - self.width

    def tensors(self) -> Iterator[StoredTensor]:
        """Codes with factors behind them, scales, zero points and biases; or floats and biases."""
        if self.held.floating:
            yield StoredTensor(self.site.name, STORED_TYPES[self.held.name], self.shape)
            yield StoredTensor(f"{self.site.name}.bias", "F32", (self.site.channels,))
            return
        factors = packed_bytes(self.site.channels * self.groups, self.factor_width)
        yield StoredTensor(self.site.name, "U8", (self.code_bytes + factors,))
        yield StoredTensor(f"{self.site.name}.scale", "F32", (self.site.channels,))
        if self.held.zero_points:
            yield StoredTensor(f"{self.site.name}.zero_point", "I8", (self.site.channels,))
        yield StoredTensor(f"{self.site.name}.bias", "F32", (self.site.channels,))


@dataclass(frozen=True)
class PackedGrid:
    """The grid of an activation site.

    Attributes:
        site: The site.
        width: Bits that the configuration gives it.
        codebook_size: Levels of an 8-bit grid that stand for all codes; 0 where the grid is uniform.
        minifloats: Whether the codes are 8-bit ones of floats of two significant bits.
    """

    site: QuantSite
    width: int
    codebook_size: int
    minifloats: bool = False

    @property
    def qmax(self) -> int:
        """Largest code of the grid."""
        return (1 << (GRID_BITS if self.codebook_size or self.minifloats else self.width)) - 1

    @property
    def power_of_two(self) -> bool:
        """Whether every channel has an exponent."""
        return is_residual(self.site.name)

    def of(self, calibration: Calibration) -> AffineGrid | PowerOfTwoGrid:
        """The grid that calibration chose."""
        if self.power_of_two:
            return calibration.stream(self.site.name)
        return calibration.grid(self.site.name, self.width)

    def tensors(self) -> Iterator[StoredTensor]:
        """Scale, zero point and exponents."""
        yield StoredTensor(f"{self.site.name}.scale", "F32", (1,))
        yield StoredTensor(f"{self.site.name}.zero_point", "U8", (1,))
        if self.power_of_two:
            yield StoredTensor(f"{self.site.name}.exponents", "U8", (self.site.channels,))


@dataclass(frozen=True, eq=False)
class PackedLayout:
    """Every tensor of a packed file.

    Attributes:
        blueprint: The model; only shapes are looked at.
        sites: Its quantization sites.
        scheme: The quantization scheme: what is not quantized in it is stored in float32.
        recipe: The quantization recipe: some ingredients are stored beside the codes.
        config: The configuration.
    """

    blueprint: Blueprint
    sites: tuple[QuantSite, ...]
    scheme: str
    recipe: Recipe
    config: BitConfig

    def tensors(self) -> Iterator[StoredTensor]:
        """The tensors, in no particular order."""
        for weight in self.weights:
            yield from weight.tensors()
        for grid in self.grids:
            yield from grid.tensors()
        yield from float_parameter_tensors(self.blueprint)
        yield from embedded_tensors(self.blueprint, self.embedded_type)
        yield from self._of_recipe()

    @cached_property
    def weights(self) -> tuple[PackedWeight, ...]:
        """The linear layers."""
        return tuple(map(self._weight, (site for site in self.sites if site.kind == "weights")))

    def _weight(self, site: QuantSite) -> PackedWeight:
        held = number_format(site_format(site, self.config))
        grouped = (
            GROUPED_WEIGHTS in self.recipe
            and not site.pinned
            and held.plain
            and largest_factor(held.bits) > 1
        )
        return PackedWeight(site, held, groups_of(site.elements // site.channels) if grouped else 0)

    @cached_property
    def grids(self) -> tuple[PackedGrid, ...]:
        """The grids of the activation sites of integers."""
        sites = (site for site in self.sites if site.kind != "weights")
        widths = ((site, site_format(site, self.config)) for site in sites)
        return tuple(self._grid(site, width) for site, width in widths if isinstance(width, int))

    def _grid(self, site: QuantSite, width: int) -> PackedGrid:
        kind, narrow = role(site.name), not site.pinned and width <= WIDEST_CODEBOOK
        has_codebook = narrow and kind in self.recipe.codebook_roles
        minifloats = narrow and kind in self.recipe.minifloat_roles
        return PackedGrid(site, width, 1 << width if has_codebook else 0, minifloats)

    @cached_property
    def grid_of(self) -> dict[str, PackedGrid]:
        """The grids by the names of their sites."""
        return {grid.site.name: grid for grid in self.grids}

    @property
    def embedded_type(self) -> str:
        """Type of prefix tokens, positions and relative position biases."""
        return "U8" if is_quantized("pos_embed", self.scheme) else "F32"

    @property
    def has_score_scales(self) -> bool:
        """Whether heads have scales of their own."""
        learned = any(encoder.learned_scales for encoder in self.blueprint.encoders)
        return learned or HEAD_CHANNELS in self.recipe

    @property
    def has_log_steps(self) -> bool:
        """Whether logarithmic attention codes have bases of their own."""
        return LOG_BASE in self.recipe and ATTENTION_MINIFLOATS not in self.recipe

    @property
    def log_encoders(self) -> tuple[int, ...]:
        """Encoders whose attention codes have a base."""
        return tuple(encoder.index for encoder in self.config.encoders if encoder.attention == LOG_BITS)

    def _of_recipe(self) -> Iterator[StoredTensor]:
        """What the recipe stores beside codes and grids, one tensor of a kind for the whole model."""
        if self.has_score_scales:
            heads = sum(encoder.heads for encoder in self.blueprint.encoders)
            yield StoredTensor(SCORE_SCALES, "F32", (heads,))
        if levels := sum(grid.codebook_size for grid in self.grids):
            yield StoredTensor(CODEBOOKS, "U8", (levels,))
        if self.has_log_steps and self.log_encoders:
            yield StoredTensor(LOG_STEPS, "F32", (len(self.log_encoders),))


@dataclass(frozen=True, eq=False)
class SizeModel:
    """Sizes of a model's packed file at any configuration, and of its float file.

    Attributes:
        blueprint: The float model.
        sites: Its quantization sites.
        scheme: The quantization scheme: what is not quantized in it is stored in float32.
        recipe: The quantization recipe: some ingredients are stored beside the codes.
    """

    blueprint: Blueprint
    sites: tuple[QuantSite, ...]
    scheme: str
    recipe: Recipe = _FAITHFUL

    def size_bytes(self, config: BitConfig) -> int:
        """Bytes of the packed file without metadata: codes, scales, biases, norms and activation grids."""
        layout = PackedLayout(self.blueprint, self.sites, self.scheme, self.recipe, config)
        return safetensors_bytes(layout.tensors())

    def float_bytes(self) -> int:
        """Bytes of a file with every parameter in float32."""
        return safetensors_bytes(float_tensors(self.blueprint, self.sites))
