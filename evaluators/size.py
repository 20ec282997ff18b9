"""Model size: bytes of the packed file that carries a configuration."""

from __future__ import annotations

from collections.abc import Iterable

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.packed_layout import PackedLayout
from bitfront.evaluators.recipes import RECIPES, Recipe
from bitfront.evaluators.stored_tensor import safetensors_bytes
from bitfront.evaluators.whole_tensors import float_tensors
from bitfront.spaces import BitConfig, QuantSite

# Of files in which the codes are all there is.
_FAITHFUL = RECIPES["fq-vit"]


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
        self._blueprint = blueprint
        self._sites = tuple(sites)
        self._scheme = scheme
        self._recipe = recipe

    def size_bytes(self, config: BitConfig) -> int:
        """Bytes of the packed file without metadata: codes, scales, biases, norms and activation grids."""
        layout = PackedLayout(self._blueprint, self._sites, self._scheme, self._recipe, config)
        return safetensors_bytes(layout.tensors())

    def float_bytes(self) -> int:
        """Bytes of a file with every parameter in float32."""
        return safetensors_bytes(float_tensors(self._blueprint, self._sites))
