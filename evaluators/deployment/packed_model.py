"""The content of a packed file: one configuration of a model, ready to be assembled."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from bitfront.evaluators.calibration import Calibration
from bitfront.evaluators.kernels.backend import Kernels, kernels_for
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.tensor_map import blueprint_on, map_tensors
from bitfront.evaluators.quantized import QuantizedModel
from bitfront.evaluators.quantized.encoder import QuantizedEncoder
from bitfront.evaluators.quantized.layer_fit import FittedLayer
from bitfront.evaluators.quantized.parts import ChosenParts, PartsBuilder
from bitfront.evaluators.recipes import Recipe
from bitfront.spaces import BitConfig, EncoderBits


@dataclass(frozen=True, eq=False)
class PackedModel:
    """A quantized model of one configuration, on the CPU.

    Attributes:
        config: Its bits.
        document: Its bit config document, with what was measured and where it comes from.
        recipe: What it was prepared with.
        blueprint: The model; its linear layers are on the meta device and have no values.
        calibration: The grid of every activation site at its width.
        layers: Linear layers of the encoders, by index and name.
        outer: The other linear layers, by the names of :meth:`Blueprint.outer`.
        log_steps: Binary logarithm of the base of 4-bit attention codes by encoder; 1 where it is missing.
        data_config: timm's resolved preprocessing: ``input_size``, ``mean``, ``std``, ``crop_pct``, ...
    """

    config: BitConfig
    document: Mapping[str, Any]
    recipe: Recipe
    blueprint: Blueprint
    calibration: Calibration
    layers: Mapping[tuple[int, str], FittedLayer]
    outer: Mapping[str, FittedLayer]
    log_steps: Mapping[int, float]
    data_config: Mapping[str, Any]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.blueprint.readout.heads[0].bias)

    def assemble(self, kernels: Kernels | None = None) -> QuantizedModel:
        """The model as it was before it was packed: its logits are the same, bit by bit, on the same kernels.

        Args:
            kernels: What computes; the quickest of the CPU where None.
        """
        kernels = kernels or kernels_for(torch.device("cpu"))
        here = self._on(kernels.device)
        build = PartsBuilder(here.blueprint, here.calibration, self.config.scheme, self.log_steps, kernels)
        merges = {
            index: build.merging(index, here.outer[f"{merge.name}.reduction"])
            for index, merge in here.blueprint.merges.items()
        }
        heads = range(len(here.blueprint.readout.heads))
        return QuantizedModel(
            build.embedding(here.outer["patch_embed"]),
            tuple(here._encoder(build, bits) for bits in self.config.encoders),
            merges,
            build.readout([here.outer[f"head.{number}"] for number in heads]),
        )

    def _on(self, device: torch.device) -> PackedModel:
        def there(_: str, tensor: torch.Tensor) -> torch.Tensor:
            return tensor.to(device)

        return dataclasses.replace(
            self,
            blueprint=blueprint_on(self.blueprint, device),
            layers=map_tensors(self.layers, there, "layers"),
            outer=map_tensors(self.outer, there, "outer"),
        )

    def _encoder(self, build: PartsBuilder, bits: EncoderBits) -> QuantizedEncoder:
        index = bits.index
        inputs = {layer: bits.bits("activations", layer) for layer in self.blueprint.encoders[index].linear()}
        operands, out = inputs["attn.qkv"], inputs["attn.proj"]
        norms = build.norm(index, 1, operands), build.norm(index, 2, inputs["mlp.fc1"])
        widths = (operands, bits.attention, out)
        attention = build.attention(index, build.scores(index, operands), widths)
        linear = {layer: build.linear(self.layers[index, layer]) for layer in inputs}
        return build.encoder(bits, ChosenParts(linear.__getitem__, norms, build.updates(index), attention))
