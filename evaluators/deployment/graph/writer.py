"""Writes an ONNX graph node by node, with short names and every constant stored once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bitfront.spaces import BitfrontError, UserError

# 21 is the first with 4-bit integers; runtimes of 2024 and later read it.
OPSET = 21
IR_VERSION = 10
PRODUCER = "bitfront"
METADATA_KEY = "bitfront"
# Of the constants: a file is one protobuf message of less than 2 GiB, nodes and metadata included.
LARGEST_BYTES = (1 << 31) - (1 << 25)
# Of the number of a name, in base 36: enough for 46,655.
_NAME_DIGITS = 3
Shape = Sequence[int | str]


class GraphWriter:
    """Collects nodes and constants; tensors are referred to by their names."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._count = 0

    def constant(self, values: NDArray[Any] | float | int, name: str | None = None) -> str:
        """The name of a constant; an equal one that is there already is taken again.

        Python numbers become float32 and int64.
        """
        if isinstance(values, float | int):
            values = np.array(values, np.float32 if isinstance(values, float) else np.int64)
        key = (str(values.dtype), values.shape, values.tobytes())
        if key not in self._known:
            named = name or self._fresh("c")
            if named in self._constants:
                raise ValueError(f"two constants are named {named}")
            self._constants[named] = numpy_helper.from_array(np.ascontiguousarray(values), named)
            self._known[key] = named
        return self._known[key]

    def integers(self, *values: int) -> str:
        """The name of a constant of 64-bit integers, such as a shape."""
        return self.constant(np.array(values, np.int64))

    def op(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Adds a node with one output and returns that output's name."""
        name = output or self._fresh("t")
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def split(self, x: str, sizes: Sequence[int], axis: int) -> list[str]:
        """Parts of a tensor along an axis."""
        names = [self._fresh("t") for _ in sizes]
        self._nodes.append(helper.make_node("Split", [x, self.integers(*sizes)], names, axis=axis))
        return names

    def reshape(self, x: str, *shape: int) -> str:
        """A tensor in another shape; 0 keeps an axis, -1 takes what is left."""
        return self.op("Reshape", x, self.integers(*shape))

    def transpose(self, x: str, *order: int) -> str:
        """A tensor with its axes in another order."""
        return self.op("Transpose", x, perm=list(order))

    def model(
        self, inputs: dict[str, Shape], outputs: dict[str, Shape], metadata: str | None = None
    ) -> onnx.ModelProto:
        """The finished and checked model.

        Args:
            inputs: Shapes of the float32 inputs by name; strings are dynamic axes.
            outputs: Those of the outputs.
            metadata: A document to carry, under :data:`METADATA_KEY`.

        Raises:
            UserError: The model is too large for one ONNX file.
            BitfrontError: ONNX's own checker refuses the model.
        """
        stored = sum(len(tensor.raw_data) for tensor in self._constants.values())
        if stored > LARGEST_BYTES:
            raise UserError(
                f"the graph holds {stored / 1e9:.1f} GB, more than fits into one ONNX file: choose a smaller "
                "model or fewer bits, or export it as packed"
            )

        def infos(shapes: dict[str, Shape]) -> list[onnx.ValueInfoProto]:
            return [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
                for name, shape in shapes.items()
            ]

        graph = helper.make_graph(
            self._nodes, PRODUCER, infos(inputs), infos(outputs), list(self._constants.values())
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name=PRODUCER,
        )
        if metadata is not None:
            helper.set_model_props(model, {METADATA_KEY: metadata})
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise BitfrontError(f"the ONNX graph is not valid: {error}") from error
        return model

    def _fresh(self, prefix: str) -> str:
        """Names of one length: what a part of a graph takes does not depend on what stands before it."""
        self._count += 1
        return f"{prefix}{np.base_repr(self._count, 36).lower().zfill(_NAME_DIGITS)}"
