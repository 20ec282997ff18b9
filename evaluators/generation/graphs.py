"""OpenVINO models of parts: converted, calibrated for integers by NNCF, assembled from formats by gene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bitfront.evaluators.generation.parts import Part
from bitfront.evaluators.generation.quiet import quiet
from bitfront.evaluators.generation.stored_weights import stored_bytes, stored_weight
from bitfront.spaces import UserError
from bitfront.spaces.part_formats import INTEGER

Arrays = tuple[NDArray[Any], ...]
_WEIGHTED = ("MatMul", "Convolution", "GroupConvolution")
_FAKE = "FakeQuantize"


@dataclass(frozen=True)
class WeightedOp:
    """A product with constant weights.

    Attributes:
        name: Of the operation.
        gene: Whose format it has.
        values: Float32, as the operation takes them.
        axes: Those of output channels.
        share: Multiply-accumulates of the operation as a share of all of its part.
    """

    name: str
    gene: str
    values: NDArray[np.float32]
    axes: tuple[int, ...]
    share: float


class PartGraph:
    """The graphs of one part, from which models of any assignment of formats are assembled.

    Args:
        part: The component.
        inputs: Of some calls, on which it is converted and calibrated.
        integers: Whether integer activations are wanted, for which NNCF finds ranges.
    """

    def __init__(self, part: Part, inputs: Sequence[Arrays], integers: bool) -> None:
        self.part = part
        self._float = converted(part, inputs[0])
        self._integers = quantized(self._float, inputs) if integers else None

    @cached_property
    def products(self) -> tuple[WeightedOp, ...]:
        """The products with constant weights, in the order of the graph."""
        found: list[WeightedOp] = []
        for op in self._float.get_ordered_ops():
            values = _weight(op)
            if values is None:
                continue
            kind = op.get_type_name()
            axes: tuple[int, ...]
            if kind == "MatMul":
                axes = (values.ndim - 2 if op.get_attributes()["transpose_b"] else values.ndim - 1,)
            else:
                axes = (0,) if kind == "Convolution" else (0, 1)
            work = values.size * _positions(op, values, axes)
            found.append(
                WeightedOp(
                    op.get_friendly_name(), self.part.gene_of(op.get_friendly_name()), values, axes, work
                )
            )
        total = sum(product.share for product in found) or 1.0
        return tuple(WeightedOp(p.name, p.gene, p.values, p.axes, p.share / total) for p in found)

    @cached_property
    def other_bytes(self) -> int:
        """Bytes of all constants of the float model that are no weights of products."""
        weights = sum(product.values.nbytes for product in self.products)
        return constant_bytes(self._float) - weights

    def weight_bytes(self, gene: str, name: str) -> int:
        """Bytes of a gene's weights, with their scales, in a format."""
        return sum(stored_bytes(p.values, p.axes, name) for p in self.products if p.gene == gene)

    def theory_bytes(self, gene: str, bits: int) -> float:
        """Bytes of a gene's weights at so many bits each, without scales."""
        return sum(product.values.size for product in self.products if product.gene == gene) * bits / 8.0

    def share_of_work(self, gene: str) -> float:
        """Multiply-accumulates of a gene's products as a share of the part's."""
        return sum(product.share for product in self.products if product.gene == gene)

    def assembled(self, formats: Mapping[str, str]) -> Any:
        """The OpenVINO model with the format of every gene.

        Raises:
            UserError: Integers are asked for that were not calibrated.
        """
        integers = INTEGER in (formats[gene] for gene in self.part.genes)
        if integers and self._integers is None:
            raise UserError(f"{self.part.name} was not calibrated for {INTEGER}: name it among --formats")
        chosen: Any = self._integers if integers else self._float
        model = chosen.clone()
        ops = {op.get_friendly_name(): op for op in model.get_ordered_ops()}
        if integers:
            for op in list(ops.values()):
                if formats[self.part.gene_of(op.get_friendly_name())] != INTEGER:
                    _bypass_quantizers(op)
        for product in self.products:
            name = formats[product.gene]
            if name != INTEGER:
                weight = stored_weight(product.values, product.axes, name)
                ops[product.name].input(1).replace_source_output(weight)
        model.validate_nodes_and_infer_types()
        return model


def converted(part: Part, inputs: Arrays) -> Any:
    """The float32 model of a part, for batches of any size.

    Raises:
        UserError: OpenVINO cannot convert it.
    """
    import openvino

    example = tuple(torch.from_numpy(np.ascontiguousarray(value)) for value in inputs)
    with quiet(), torch.no_grad():
        try:
            return openvino.convert_model(
                part.module, example_input=example if len(example) > 1 else example[0]
            )
        except Exception as error:
            reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
            raise UserError(
                f"OpenVINO cannot convert {part.name} ({reason}): leave it out, or mend it"
            ) from error


def quantized(model: Any, inputs: Sequence[Arrays]) -> Any:
    """A copy with quantizers before its products, with the ranges that NNCF finds on some calls.

    Without smoothing and bias correction, which change what other formats of the same part share with it.

    Raises:
        UserError: NNCF is not installed.
    """
    try:
        with quiet():
            import nncf
            from nncf.quantization.advanced_parameters import (
                AdvancedQuantizationParameters,
                AdvancedSmoothQuantParameters,
            )
    except ImportError as error:
        raise UserError(f"format {INTEGER} needs NNCF: pip install 'bitfront[generation]'") from error
    none = AdvancedSmoothQuantParameters(matmul=-1, convolution=-1)
    with quiet():
        return nncf.quantize(
            model.clone(),
            nncf.Dataset([list(call) for call in inputs]),
            subset_size=len(inputs),
            preset=nncf.QuantizationPreset.MIXED,
            advanced_parameters=AdvancedQuantizationParameters(
                disable_bias_correction=True, smooth_quant_alphas=none
            ),
        )


def constant_bytes(model: Any) -> int:
    """Bytes of all constants of a model."""
    return sum(op.get_byte_size() for op in model.get_ops() if op.get_type_name() == "Constant")


def _weight(op: Any) -> NDArray[np.float32] | None:
    if op.get_type_name() not in _WEIGHTED:
        return None
    source = op.input_value(1).get_node()
    if source.get_type_name() != "Constant" or source.get_element_type().get_type_name() != "f32":
        return None
    return np.array(source.data, dtype=np.float32)


def _positions(op: Any, values: NDArray[np.float32], axes: tuple[int, ...]) -> float:
    """Output positions of a product for one example, as far as its shape is known; 1 for unknown lengths."""
    shape = op.get_output_partial_shape(0)
    known = [int(d.get_length()) for d in list(shape)[1:] if d.is_static]
    channels = int(np.prod([values.shape[axis] for axis in axes]))
    return max(1.0, float(np.prod(known)) / channels)


def _bypass_quantizers(op: Any) -> None:
    for port in op.inputs():
        source = port.get_source_output().get_node()
        if source.get_type_name() == _FAKE:
            port.replace_source_output(source.input_value(0))
