"""What a deployable graph is made of: a float model with grids and quantized layers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bitfront.evaluators.deployment.graph.halves import has_neighbours, in_halves, layer_in_halves
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.parts import LinearParts
from bitfront.evaluators.preparation.calibration import Calibration
from bitfront.evaluators.preparation.layer_fit import FittedLayer
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.quantizers.weights import held_weight
from bitfront.spaces import SCHEMES, FormatName, UserError

SCHEME = "deploy"
QKV = "attn.qkv"


@dataclass(frozen=True, eq=False)
class GraphParts:
    """A model's numbers, as far as a graph needs them.

    Attributes:
        blueprint: The float model, its rotated channels in halves.
        calibration: Grids of its activations.
        log_steps: Binary logarithm of the base of 4-bit attention codes by encoder.
        layer: A linear layer by encoder, name, and formats of weight and input.
        outer: A layer outside the encoders by name.
    """

    blueprint: Blueprint
    calibration: Calibration
    log_steps: Mapping[int, float]
    layer: Callable[[int, str, FormatName, FormatName], FittedLayer]
    outer: Callable[[str], FittedLayer]

    @classmethod
    def of(cls, prepared: PreparedModel) -> GraphParts:
        """The parts of a prepared model that has kept its codes.

        Raises:
            UserError: The model was prepared for another scheme than ``deploy``.
        """
        check_graph_scheme(prepared.scheme)
        encoders = prepared.blueprint.encoders

        @functools.cache
        def layer(index: int, name: str, bits: FormatName, activations: FormatName) -> FittedLayer:
            found = prepared.fitted(index, name, bits, activations)
            moved = name == QKV and has_neighbours(encoders[index])
            return layer_in_halves(encoders[index], found) if moved else found

        return cls(
            in_halves(prepared.blueprint),
            prepared.calibration,
            prepared.log_steps,
            layer,
            prepared.fitted_outer,
        )

    @classmethod
    def for_timing(cls, prepared: PreparedModel) -> GraphParts:
        """Parts that take as long as the prepared model's, with weights that are merely rounded.

        Raises:
            UserError: The model was prepared for another scheme than ``deploy``.
        """
        check_graph_scheme(prepared.scheme)
        blueprint = in_halves(prepared.blueprint)

        @functools.cache
        def layer(index: int, name: str, bits: FormatName, inputs: FormatName) -> FittedLayer:  # noqa: ARG001
            return _rounded(blueprint.encoders[index].linear()[name], bits)

        @functools.cache
        def outer(name: str) -> FittedLayer:
            return _rounded(blueprint.outer()[name], 8)

        return cls(blueprint, prepared.calibration, prepared.log_steps, layer, outer)


def _rounded(parts: LinearParts, held: FormatName) -> FittedLayer:
    return FittedLayer(held_weight(parts.weight, held, "minmax"), parts.bias)


def check_graph_scheme(scheme: str) -> None:
    """Refuses a scheme whose arithmetic no runtime has quick kernels for.

    Raises:
        UserError: The scheme is not ``deploy``.
    """
    if scheme != SCHEME:
        others = ", ".join(name for name in SCHEMES if name != SCHEME)
        raise UserError(
            f"scheme {scheme} has integer operators that no runtime has kernels for: use --scheme {SCHEME} "
            f"for models that are quick in one ({others} can be exported as packed, json or a golden model)"
        )
