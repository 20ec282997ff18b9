"""Everything a quantized model needs at every allowed precision, prepared once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bitfront.evaluators.calibration import Calibration
from bitfront.evaluators.kernels.attention_terms import AttentionTerms
from bitfront.evaluators.kernels.backend import Kernels, kernels_for
from bitfront.evaluators.kernels.linear import IntegerLinear
from bitfront.evaluators.models.blueprint import Blueprint, LinearParts
from bitfront.evaluators.quantized.attention import LOG_BITS, attention_terms
from bitfront.evaluators.quantized.embedding import QuantizedEmbedding
from bitfront.evaluators.quantized.encoder import EncoderGrids, QuantizedEncoder
from bitfront.evaluators.quantized.layer_fit import FittedLayers
from bitfront.evaluators.quantized.merging import QuantizedMerging
from bitfront.evaluators.quantized.model import QuantizedModel
from bitfront.evaluators.quantized.readout import QuantizedReadout
from bitfront.evaluators.quantized.scheme import scheme_named
from bitfront.evaluators.quantizers import QuantizedWeight, quantize_weight
from bitfront.evaluators.sites import FOLLOWS
from bitfront.spaces import BitConfig, EncoderBits, UserError, pinned_bits


class PreparedModel:
    """Quantized weights and stage constants of a model at all widths; assembles any configuration.

    Args:
        blueprint: The float model.
        calibration: Grids of its activation sites.
        scheme: ``fq-vit`` or ``deploy``.
        widths: Widths that searched tensors may take.
        weight_ranges: ``mse`` or ``minmax`` (see :func:`quantize_weight`).
        layers: Fitted linear layers of the encoders; those that are missing are rounded to nearest.
        log_steps: Binary logarithm of the base of 4-bit attention codes by encoder; 1 where it is missing.
        kernels: What computes; the quickest of the blueprint's device where None.

    Raises:
        BitfrontError: A weight is not finite, or calibration never reached a site; both are named.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        calibration: Calibration,
        scheme: str,
        widths: Sequence[int],
        weight_ranges: str = "mse",
        layers: FittedLayers | None = None,
        log_steps: Mapping[int, float] | None = None,
        kernels: Kernels | None = None,
    ) -> None:
        self.blueprint = blueprint
        self.calibration = calibration
        self.scheme = scheme
        self.widths = tuple(widths)
        self.kernels = kernels or kernels_for(blueprint.patch.weight.device)
        self.log_steps = {
            index: (log_steps or {}).get(index, 1.0) for index in range(len(blueprint.encoders))
        }
        self._weight_ranges = weight_ranges
        self._stages = scheme_named(scheme, blueprint, calibration, self.kernels)
        self._pinned = dict(pinned_bits(scheme))
        self.embedding = self._embedding()
        self.merges = {index: self._merging(index) for index in blueprint.merges}
        self.readout = self._readout()
        self._linear = self._linears(layers or {})
        encoders = range(len(blueprint.encoders))
        self._norms = {
            (index, number, bits): self._stages.norm(index, number, bits)
            for index in encoders
            for number in (1, 2)
            for bits in self.widths
        }
        self._attention = self._attentions()
        self._updates = [self._stages.updates(index) for index in encoders]

    def _quantized(self, name: str, parts: LinearParts, bits: int) -> QuantizedWeight:
        return quantize_weight(parts.weight, bits, self._weight_ranges, name=name)

    def _embedding(self) -> QuantizedEmbedding:
        bits = self._pinned["embedding"]
        weight = self._quantized("patch_embed", self.blueprint.patch, bits)
        image = self.calibration.grid("image", bits)
        return QuantizedEmbedding(self._stages, image, self.blueprint.patch_size, weight)

    def _merging(self, index: int) -> QuantizedMerging:
        merge = self.blueprint.merges[index]
        weight = self._quantized(f"{merge.name}.reduction", merge.reduction, self._pinned["embedding"])
        projection = self._stages.merge_projection(index, weight)
        return QuantizedMerging(merge.name, merge.rows, self._stages.merge_norm(index), projection)

    def _readout(self) -> QuantizedReadout:
        parts, bits = self.blueprint.readout, self._pinned["head"]
        heads = [
            self.kernels.linear(self._quantized(f"head.{i}", head, bits), head.bias)
            for i, head in enumerate(parts.heads)
        ]
        normed = self.calibration.grid("norm", bits)
        return QuantizedReadout(self._stages, parts.tokens, parts.average, heads, normed)

    def _linears(self, fitted: FittedLayers) -> dict[tuple[int, str, int, int], IntegerLinear]:
        """Every linear layer of the encoders by encoder, layer, weight bits and activation bits."""
        prepared: dict[tuple[int, str, int, int], IntegerLinear] = {}
        for index, encoder in enumerate(self.blueprint.encoders):
            for layer, parts in encoder.linear().items():
                for bits in self.widths:
                    plain: IntegerLinear | None = None
                    for activations in self.widths:
                        found = fitted.get((index, layer, bits, activations))
                        if found is not None:
                            prepared[index, layer, bits, activations] = self.kernels.linear(
                                found.weight, found.bias
                            )
                            continue
                        if plain is None:
                            weight = self._quantized(f"{encoder.name}.{layer}", parts, bits)
                            plain = self.kernels.linear(weight, parts.bias)
                        prepared[index, layer, bits, activations] = plain
        return prepared

    def _attentions(self) -> dict[tuple[int, int, int, int], AttentionTerms]:
        """Attention by encoder and the bits of its operands, of the attention matrix and of its output."""
        found: dict[tuple[int, int, int, int], AttentionTerms] = {}
        for index, encoder in enumerate(self.blueprint.encoders):
            for activations in self.widths:
                scores = self._stages.scores(index, activations)
                for attention in self.widths:
                    for out in self.widths:
                        found[index, activations, attention, out] = attention_terms(
                            encoder,
                            scores,
                            self.calibration,
                            (activations, attention, out),
                            self.kernels.device,
                            self.log_steps[index] if attention == LOG_BITS else 1.0,
                        )
        return found

    def _grids(self, name: str, widths: Mapping[str, int]) -> EncoderGrids:
        grid, levels = self.calibration.grid, self.calibration.levels
        found = {}
        for site, layer in FOLLOWS.items():
            table = levels.get((f"{name}.{site}", widths[layer]))
            if table is not None:
                found[site] = table.to(self.kernels.device)
        return EncoderGrids(
            norm1=grid(f"{name}.norm1", widths["attn.qkv"]),
            qkv=grid(f"{name}.attn.qkv", widths["attn.qkv"]),
            context=grid(f"{name}.attn.context", widths["attn.proj"]),
            norm2=grid(f"{name}.norm2", widths["mlp.fc1"]),
            gelu=grid(f"{name}.mlp.gelu", widths["mlp.fc2"]),
            levels=found,
        )

    def encoder(self, bits: EncoderBits) -> QuantizedEncoder:
        """One encoder at the given bits, from prepared parts."""
        index = bits.index
        layers = self.blueprint.encoders[index].linear()
        activations = {layer: bits.bits("activations", layer) for layer in layers}

        def linear(layer: str) -> IntegerLinear:
            return self._linear[index, layer, bits.bits("weights", layer), activations[layer]]

        operands, out = activations["attn.qkv"], activations["attn.proj"]
        return QuantizedEncoder(
            name=bits.name,
            kernels=self.kernels,
            grids=self._grids(bits.name, activations),
            norm1=self._norms[index, 1, operands],
            qkv=linear("attn.qkv"),
            attention=self._attention[index, operands, bits.attention, out],
            proj=linear("attn.proj"),
            sum1=self._updates[index][0],
            norm2=self._norms[index, 2, activations["mlp.fc1"]],
            fc1=linear("mlp.fc1"),
            fc2=linear("mlp.fc2"),
            sum2=self._updates[index][1],
        )

    def assemble(self, config: BitConfig) -> QuantizedModel:
        """The quantized model of a configuration.

        Raises:
            UserError: The configuration is for another scheme, other encoders, layers or widths.
        """
        self._check(config)
        encoders = tuple(map(self.encoder, config.encoders))
        return QuantizedModel(self.embedding, encoders, self.merges, self.readout)

    def _check(self, config: BitConfig) -> None:
        names = [encoder.name for encoder in self.blueprint.encoders]
        if config.scheme != self.scheme:
            raise UserError(
                f"the bit config is for scheme {config.scheme!r}; this model was prepared for {self.scheme!r}"
            )
        theirs = [encoder.name for encoder in config.encoders]
        if len(theirs) == len(names) and theirs != names:
            differing = next(pair for pair in zip(theirs, names, strict=True) if pair[0] != pair[1])
            raise UserError(
                f"the bit config names an encoder {differing[0]}, where {self.blueprint.name} has "
                f"{differing[1]}: give the model that it was searched for"
            )
        if theirs != names:
            raise UserError(
                f"the bit config has {len(config.encoders)} encoders, but {self.blueprint.name} has "
                f"{len(names)}: give the model that it was searched for"
            )
        if config.pinned != pinned_bits(self.scheme):
            raise UserError(
                f"the bit config pins {dict(config.pinned)}; scheme {self.scheme!r} runs {self._pinned}"
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
