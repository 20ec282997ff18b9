"""Everything a quantized model needs at every allowed precision, prepared once."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.parts import LinearParts
from bitfront.evaluators.preparation.calibration import Calibration
from bitfront.evaluators.preparation.layer_fit import FittedLayer, FittedLayers
from bitfront.evaluators.quantized.kernels.backend import Kernels, kernels_for
from bitfront.evaluators.quantized.kernels.linear import IntegerLinear
from bitfront.evaluators.quantized.model import QuantizedEncoder, QuantizedModel
from bitfront.evaluators.quantized.parts import PartsBuilder
from bitfront.evaluators.quantizers.weights import quantize_weight
from bitfront.spaces import BitConfig, BitfrontError, EncoderBits, UserError, pinned_bits


def check_config(config: BitConfig, blueprint: Blueprint, scheme: str) -> None:
    """Compares a configuration with the model and the scheme that it shall be assembled for.

    Raises:
        UserError: It is for another scheme, other encoders or layers.
    """
    if config.scheme != scheme:
        raise UserError(
            f"the bit config is for scheme {config.scheme!r}; this model was prepared for {scheme!r}"
        )
    names = [encoder.name for encoder in blueprint.encoders]
    theirs = [encoder.name for encoder in config.encoders]
    if len(theirs) == len(names) and theirs != names:
        differing = next(pair for pair in zip(theirs, names, strict=True) if pair[0] != pair[1])
        raise UserError(
            f"the bit config names an encoder {differing[0]}, where {blueprint.name} has "
            f"{differing[1]}: give the model that it was searched for"
        )
    if theirs != names:
        raise UserError(
            f"the bit config has {len(config.encoders)} encoders, but {blueprint.name} has "
            f"{len(names)}: give the model that it was searched for"
        )
    if config.pinned != pinned_bits(scheme):
        raise UserError(
            f"the bit config pins {dict(config.pinned)}; scheme {scheme!r} runs {dict(pinned_bits(scheme))}"
        )
    for parts, bits in zip(blueprint.encoders, config.encoders, strict=True):
        unknown = bits.named_layers() - set(parts.linear())
        if unknown:
            raise UserError(
                f"bit config: {bits.name} has no layer {', '.join(sorted(unknown))}; "
                f"its layers are {', '.join(parts.linear())}"
            )


def _assignment(config: BitConfig) -> tuple[object, ...]:
    """What a configuration is, whatever the model is called where it lies now."""
    return config.encoders, config.pinned


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
        outer: Linear layers outside the encoders that are already quantized, by the names of
            :meth:`Blueprint.outer`; those that are missing are rounded to nearest.
        keep_codes: Whether every layer's codes stay for :meth:`fitted` and :meth:`fitted_outer`; kernels hold
            them in forms of their own.
        only: The configuration that its parts were refined for, which alone can be assembled; None for any.

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
        outer: Mapping[str, FittedLayer] | None = None,
        keep_codes: bool = False,
        only: BitConfig | None = None,
    ) -> None:
        self.blueprint = blueprint
        self.only = only
        self.calibration = calibration
        self.scheme = scheme
        self.widths = tuple(widths)
        self.kernels = kernels or kernels_for(blueprint.patch.weight.device)
        steps = log_steps or {}
        self.log_steps = {index: steps.get(index, 1.0) for index in range(len(blueprint.encoders))}
        self._weight_ranges = weight_ranges
        self._kept: dict[Hashable, FittedLayer] | None = {} if keep_codes else None
        self._build = PartsBuilder(blueprint, calibration, scheme, self.log_steps, self.kernels)
        around = self._build.around_encoders(self._outer_layers(outer or {}))
        self.embedding, self.merges, self.readout = around
        self._linear = self._linears(layers or {})
        self._build.prepare_encoders(self.widths)

    def _rounded(self, name: str, parts: LinearParts, bits: int) -> FittedLayer:
        return FittedLayer(quantize_weight(parts.weight, bits, self._weight_ranges, name=name), parts.bias)

    def _keep(self, key: Hashable, layer: FittedLayer) -> FittedLayer:
        if self._kept is not None:
            self._kept[key] = layer
        return layer

    def _outer_layers(self, fitted: Mapping[str, FittedLayer]) -> dict[str, FittedLayer]:
        """Every linear layer outside the encoders by name."""
        pinned, found = dict(pinned_bits(self.scheme)), {}
        for name, parts in self.blueprint.outer().items():
            bits = pinned["head" if name.startswith(("head.", "pool.")) else "embedding"]
            found[name] = self._keep(name, fitted.get(name) or self._rounded(name, parts, bits))
        return found

    def _linears(self, fitted: FittedLayers) -> dict[tuple[int, str, int, int], IntegerLinear]:
        """Every linear layer of the encoders by encoder, layer, weight bits and activation bits."""
        prepared: dict[tuple[int, str, int, int], IntegerLinear] = {}
        for index, encoder in enumerate(self.blueprint.encoders):
            for layer, parts in encoder.linear().items():
                for bits in self.widths:
                    rounded: tuple[FittedLayer, IntegerLinear] | None = None
                    for activations in self.widths:
                        key = (index, layer, bits, activations)
                        if key in fitted:
                            prepared[key] = self._build.linear(self._keep(key, fitted[key]))
                            continue
                        if rounded is None:  # shared by the widths of activations that no layer is fitted to
                            found = self._rounded(f"{encoder.name}.{layer}", parts, bits)
                            rounded = found, self._build.linear(found)
                        self._keep(key, rounded[0])
                        prepared[key] = rounded[1]
        return prepared

    def linear(self, index: int, layer: str, weight_bits: int, activation_bits: int) -> IntegerLinear:
        """A linear layer of an encoder as kernels run it; KeyError for widths that were not prepared."""
        return self._linear[index, layer, weight_bits, activation_bits]

    def fitted(self, index: int, layer: str, weight_bits: int, activation_bits: int) -> FittedLayer:
        """Codes, scales and bias of a linear layer of an encoder.

        Args:
            index: Of the encoder.
            layer: Its name within the encoder, such as ``attn.qkv``.
            weight_bits: Width of its codes.
            activation_bits: Width of the inputs that they were fitted to.

        Raises:
            BitfrontError: The codes were not kept, or there is no such layer or width.
        """
        name = (
            f"layer {layer} of encoder {index} at {weight_bits}-bit weights and {activation_bits}-bit inputs"
        )
        return self._found((index, layer, weight_bits, activation_bits), name)

    def fitted_outer(self, name: str) -> FittedLayer:
        """Codes, scales and bias of a linear layer outside the encoders.

        Args:
            name: As :meth:`Blueprint.outer` has it.

        Raises:
            BitfrontError: The codes were not kept, or there is no such layer.
        """
        return self._found(name, f"layer {name}")

    def _found(self, key: Hashable, name: str) -> FittedLayer:
        if self._kept is None:
            raise BitfrontError(f"the codes of {name} were not kept: prepare the model with keep_codes=True")
        if key not in self._kept:
            raise BitfrontError(f"{self.blueprint.name} was prepared without {name}")
        return self._kept[key]

    def encoder(self, bits: EncoderBits) -> QuantizedEncoder:
        """One encoder at the given bits, from prepared parts."""
        index, width = bits.index, bits.bits
        layers = {
            layer: self.linear(index, layer, width("weights", layer), width("activations", layer))
            for layer in self.blueprint.encoders[index].linear()
        }
        return self._build.encoder(bits, layers)

    def check(self, config: BitConfig) -> None:
        """Refuses a configuration that is for another model, or not what the model was refined for.

        Raises:
            UserError: It is for another scheme, other encoders or layers, or another configuration.
        """
        check_config(config, self.blueprint, self.scheme)
        if self.only is not None and _assignment(config) != _assignment(self.only):
            raise UserError(
                f"the model was refined for configuration {self.only.digest}, not for {config.digest}: "
                "refine that, or leave the refinement out"
            )

    def assemble(self, config: BitConfig) -> QuantizedModel:
        """The quantized model of a configuration.

        Raises:
            UserError: The configuration is for another scheme, other encoders, layers or widths.
        """
        self.check(config)
        missing = config.widths() - set(self.widths)
        if missing:
            raise UserError(f"widths {sorted(missing)} were not prepared; prepared are {list(self.widths)}")
        encoders = tuple(map(self.encoder, config.encoders))
        return QuantizedModel(self.embedding, encoders, self.merges, self.readout)
