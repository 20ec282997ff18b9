"""Everything a quantized model needs in every allowed format, prepared once."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.parts import LinearParts
from bitfront.evaluators.models.sites import LAYER_INPUTS
from bitfront.evaluators.preparation.calibration import Calibration
from bitfront.evaluators.preparation.layer_fit import FittedLayer, FittedLayers, LayerKey
from bitfront.evaluators.quantized.kernels.backend import Kernels, kernels_for
from bitfront.evaluators.quantized.kernels.linear import IntegerLinear
from bitfront.evaluators.quantized.mixed import Product, float_product, integer_product
from bitfront.evaluators.quantized.model import Encoder, QuantizedModel
from bitfront.evaluators.quantized.parts import PartsBuilder
from bitfront.evaluators.quantizers.weights import held_weight
from bitfront.spaces import (
    KINDS,
    BitConfig,
    BitfrontError,
    Choices,
    EncoderBits,
    FormatName,
    UserError,
    pinned_bits,
)
from bitfront.spaces.formats import multiplies_integers


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
    """Quantized weights and stage constants of a model in all formats; assembles any configuration.

    Args:
        blueprint: The float model.
        calibration: Grids of its activation sites.
        scheme: ``fq-vit`` or ``deploy``.
        choices: Formats that searched tensors may take, by kind or for all kinds.
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
        choices: Choices | Sequence[FormatName],
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
        self.choices = choices if isinstance(choices, Choices) else Choices.alike(choices)
        self.kernels = kernels or kernels_for(blueprint.patch.weight.device)
        steps = log_steps or {}
        self.log_steps = {index: steps.get(index, 1.0) for index in range(len(blueprint.encoders))}
        self._weight_ranges = weight_ranges
        self._kept: dict[Hashable, FittedLayer] | None = {} if keep_codes else None
        self._build = PartsBuilder(blueprint, calibration, scheme, self.log_steps, self.kernels)
        around = self._build.around_encoders(self._outer_layers(outer or {}))
        self.embedding, self.merges, self.readout = around
        self._floats: dict[LayerKey, FittedLayer] = {}  # layers of float products
        self._linear = self._linears(layers or {})
        self._build.prepare_encoders(self.choices)

    def _rounded(self, name: str, parts: LinearParts, held: FormatName) -> FittedLayer:
        return FittedLayer(held_weight(parts.weight, held, self._weight_ranges, name=name), parts.bias)

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

    def _linears(self, fitted: FittedLayers) -> dict[LayerKey, IntegerLinear]:
        """Every linear layer of the encoders by encoder, layer, and formats of weight and input."""
        prepared: dict[LayerKey, IntegerLinear] = {}
        for index, encoder in enumerate(self.blueprint.encoders):
            for layer, parts in encoder.linear().items():
                for held in self.choices.weights:
                    rounded: FittedLayer | None = None
                    shared: IntegerLinear | None = None
                    for inputs in self.choices.activations:
                        key = (index, layer, held, inputs)
                        found = fitted.get(key)
                        if found is None:  # shared by the formats of inputs that no layer is fitted to
                            rounded = rounded or self._rounded(f"{encoder.name}.{layer}", parts, held)
                        layer_here = found or rounded
                        assert layer_here is not None, "one of the two"
                        self._keep(key, layer_here)
                        if not multiplies_integers(held, inputs):
                            self._floats[key] = layer_here
                        elif found is not None:
                            prepared[key] = self._build.linear(found)
                        else:
                            shared = shared or self._build.linear(layer_here)
                            prepared[key] = shared
        return prepared

    def linear(self, index: int, layer: str, weights: FormatName, inputs: FormatName) -> Product:
        """A linear layer of an encoder as it is computed: float32 ``[rows, out]`` from what its site holds.

        Raises:
            KeyError: It was not prepared in these formats.
        """
        key, site = (index, layer, weights, inputs), LAYER_INPUTS[layer]
        name = f"{self.blueprint.encoders[index].name}.{site}"
        grid = self.calibration.grid(name, inputs) if isinstance(inputs, int) else None
        if key in self._floats:
            return float_product(self._floats[key], grid)
        assert grid is not None, "its input is of integers"
        return integer_product(self._linear[key], grid)

    def fitted(
        self, index: int, layer: str, weight_bits: FormatName, activation_bits: FormatName
    ) -> FittedLayer:
        """Codes, scales and bias of a linear layer of an encoder.

        Args:
            index: Of the encoder.
            layer: Its name within the encoder, such as ``attn.qkv``.
            weight_bits: Format of its weight.
            activation_bits: Format of the inputs that it was fitted to.

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

    def encoder(self, bits: EncoderBits) -> Encoder:
        """One encoder in the given formats, from prepared parts; KeyError for one that was not prepared."""
        keys = {
            layer: (bits.index, layer, bits.bits("weights", layer), bits.bits("activations", layer))
            for layer in self.blueprint.encoders[bits.index].linear()
        }
        layers = {layer: self._floats[key] for layer, key in keys.items() if key in self._floats}
        linear = {layer: self._linear[key] for layer, key in keys.items() if layer not in layers}
        return self._build.encoder(bits, layers, linear)

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
        formats = config.formats()
        for kind in KINDS:
            missing = [value for value in formats.of(kind) if value not in self.choices.of(kind)]
            if missing:
                raise UserError(
                    f"widths {missing} of {kind} were not prepared; "
                    f"prepared are {list(self.choices.of(kind))}"
                )
        encoders = tuple(map(self.encoder, config.encoders))
        return QuantizedModel(self.embedding, encoders, self.merges, self.readout)
