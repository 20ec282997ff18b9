"""Everything scheme ``fq-vit`` needs at every allowed precision, prepared once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch

from bitfront.evaluators.calibration import Calibration
from bitfront.evaluators.fq_vit.embedding import IntegerEmbedding
from bitfront.evaluators.fq_vit.encoder import EncoderGrids, IntegerEncoder
from bitfront.evaluators.fq_vit.model import FqVit
from bitfront.evaluators.fq_vit.readout import IntegerReadout
from bitfront.evaluators.fq_vit.stages import IntegerNorm, IntegerSoftmax, ResidualSum
from bitfront.evaluators.kernels.linear import IntegerLinear, integer_linear
from bitfront.evaluators.models.blueprint import Blueprint, EncoderParts
from bitfront.evaluators.quantizers import PowerOfTwoGrid, quantize_weight
from bitfront.spaces import BitConfig, EncoderBits, UserError
from bitfront.spaces.config import PINNED_BITS

SCHEME = "fq-vit"
# Wider codes round so finely that compensation changes nothing that can be measured.
WIDEST_COMPENSATED = 6


class PreparedFqVit:
    """Quantized weights and stage constants of a model at all widths; assembles any configuration.

    Args:
        blueprint: The float model.
        calibration: Grids of its activation sites.
        widths: Widths that searched tensors may take.
        weight_ranges: ``mse`` or ``minmax`` (see :func:`quantize_weight`).
        moments: Second moments of the linear layers' inputs by (encoder, layer), in any number of groups;
            layers without one are rounded to nearest.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        calibration: Calibration,
        widths: Sequence[int],
        weight_ranges: str = "mse",
        moments: Iterable[Mapping[tuple[int, str], torch.Tensor]] = (),
    ) -> None:
        self.blueprint = blueprint
        self.calibration = calibration
        self.widths = tuple(widths)
        pinned = dict(PINNED_BITS)
        self._residual_bits = pinned["residual"]
        embedding = quantize_weight(blueprint.patch.weight, pinned["embedding"], weight_ranges)
        heads = [quantize_weight(h.weight, pinned["head"], weight_ranges) for h in blueprint.readout.heads]
        self.embedding = IntegerEmbedding(blueprint, calibration, embedding, pinned["embedding"])
        self.readout = IntegerReadout(blueprint, calibration, heads, pinned["head"])
        self._linear = self._linears(weight_ranges, moments)
        self._norms = {
            (index, number, bits): self._norm(encoder, number, index, bits)
            for index, encoder in enumerate(blueprint.encoders)
            for number in (1, 2)
            for bits in self.widths
        }
        self._softmaxes: dict[tuple[int, int, int], IntegerSoftmax] = {
            (index, activations, attention): self._softmax(encoder, activations, attention)
            for index, encoder in enumerate(blueprint.encoders)
            for activations in self.widths
            for attention in self.widths
        }
        self._sums = [self._residual_sums(index) for index in range(len(blueprint.encoders))]

    def _linears(
        self, weight_ranges: str, moments: Iterable[Mapping[tuple[int, str], torch.Tensor]]
    ) -> dict[tuple[int, str, int], IntegerLinear]:
        """Every linear layer of the encoders at every width."""
        layers = {
            (index, layer): parts
            for index, encoder in enumerate(self.blueprint.encoders)
            for layer, parts in encoder.linear().items()
        }
        prepared: dict[tuple[int, str, int], IntegerLinear] = {}

        def prepare(key: tuple[int, str], hessian: torch.Tensor | None) -> None:
            parts = layers.pop(key)
            for bits in self.widths:
                compensated = hessian if bits <= WIDEST_COMPENSATED else None
                weight = quantize_weight(parts.weight, bits, weight_ranges, compensated)
                prepared[*key, bits] = integer_linear(weight, parts.bias)

        for group in moments:
            for key, hessian in group.items():
                prepare(key, hessian)
        for key in list(layers):
            prepare(key, None)
        return prepared

    def _entering(self, index: int) -> PowerOfTwoGrid:
        """Grid of the residual stream that enters encoder ``index``."""
        site = "embed" if index == 0 else f"{self.blueprint.encoders[index - 1].name}.residual2"
        return self.calibration.power_of_two[site]

    def _norm(self, encoder: EncoderParts, number: int, index: int, bits: int) -> IntegerNorm:
        first = number == 1
        source = (
            self._entering(index) if first else self.calibration.power_of_two[f"{encoder.name}.residual1"]
        )
        out = self.calibration.affine[f"{encoder.name}.norm{number}", bits]
        return IntegerNorm(encoder.norm1 if first else encoder.norm2, source, out)

    def _softmax(self, encoder: EncoderParts, activations: int, attention: int) -> IntegerSoftmax:
        affine = self.calibration.affine
        step = affine[f"{encoder.name}.attn.qkv", activations].scale
        return IntegerSoftmax(
            step * step * encoder.head_dim**-0.5,
            affine[f"{encoder.name}.attn.scores", dict(PINNED_BITS)["scores"]],
            affine[f"{encoder.name}.attn.softmax", attention],
            attention,
        )

    def _residual_sums(self, index: int) -> tuple[ResidualSum, ResidualSum]:
        name, affine, stream = (
            self.blueprint.encoders[index].name,
            self.calibration.affine,
            self._residual_bits,
        )
        middle = self.calibration.power_of_two[f"{name}.residual1"]
        last = self.calibration.power_of_two[f"{name}.residual2"]
        return (
            ResidualSum(self._entering(index), affine[f"{name}.attn.proj", stream], middle),
            ResidualSum(middle, affine[f"{name}.mlp.fc2", stream], last),
        )

    def _grids(self, bits: EncoderBits) -> EncoderGrids:
        widths = {
            layer: bits.bits("activations", layer) for layer in self.blueprint.encoders[bits.index].linear()
        }
        stream = self._residual_bits
        affine = self.calibration.affine
        return EncoderGrids(
            norm1=affine[f"{bits.name}.norm1", widths["attn.qkv"]],
            qkv=affine[f"{bits.name}.attn.qkv", widths["attn.qkv"]],
            context=affine[f"{bits.name}.attn.context", widths["attn.proj"]],
            proj=affine[f"{bits.name}.attn.proj", stream],
            norm2=affine[f"{bits.name}.norm2", widths["mlp.fc1"]],
            gelu=affine[f"{bits.name}.mlp.gelu", widths["mlp.fc2"]],
            fc2=affine[f"{bits.name}.mlp.fc2", stream],
        )

    def encoder(self, bits: EncoderBits) -> IntegerEncoder:
        """One encoder at the given bits, from prepared parts."""
        index = bits.index
        activations = {
            layer: bits.bits("activations", layer) for layer in self.blueprint.encoders[index].linear()
        }

        def linear(layer: str) -> IntegerLinear:
            return self._linear[index, layer, bits.bits("weights", layer)]

        return IntegerEncoder(
            heads=self.blueprint.encoders[index].heads,
            grids=self._grids(bits),
            norm1=self._norms[index, 1, activations["attn.qkv"]],
            qkv=linear("attn.qkv"),
            softmax=self._softmaxes[index, activations["attn.qkv"], bits.attention],
            proj=linear("attn.proj"),
            sum1=self._sums[index][0],
            norm2=self._norms[index, 2, activations["mlp.fc1"]],
            fc1=linear("mlp.fc1"),
            fc2=linear("mlp.fc2"),
            sum2=self._sums[index][1],
        )

    def assemble(self, config: BitConfig) -> FqVit:
        """The integer model of a configuration.

        Raises:
            UserError: The configuration is for another scheme, other encoders, layers or widths.
        """
        names = [encoder.name for encoder in self.blueprint.encoders]
        if config.scheme != SCHEME:
            raise UserError(f"the bit config is for scheme {config.scheme!r}; this evaluator runs {SCHEME!r}")
        if [encoder.name for encoder in config.encoders] != names:
            raise UserError(
                f"the bit config has {len(config.encoders)} encoders, but {self.blueprint.name} has "
                f"{len(names)}: give the model that it was searched for"
            )
        if config.pinned != PINNED_BITS:
            raise UserError(
                f"the bit config pins {dict(config.pinned)}; scheme {SCHEME!r} runs {dict(PINNED_BITS)}"
            )
        for parts, bits in zip(self.blueprint.encoders, config.encoders, strict=True):
            unknown = bits.named_layers() - set(parts.linear())
            if unknown:
                raise UserError(
                    f"bit config: {bits.name} has no layer {', '.join(sorted(unknown))}; "
                    f"its layers are {', '.join(parts.linear())}"
                )
        missing = config.widths() - set(self.widths)
        if missing:
            raise UserError(f"widths {sorted(missing)} were not prepared; prepared are {list(self.widths)}")
        return FqVit(self.embedding, tuple(map(self.encoder, config.encoders)), self.readout)
