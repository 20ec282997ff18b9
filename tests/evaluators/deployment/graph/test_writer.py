"""Graphs node by node: constants are stored once, names are told apart, invalid graphs are refused."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from bitfront.evaluators.deployment.graph import writer as writing
from bitfront.evaluators.deployment.graph.writer import GraphWriter
from bitfront.spaces import BitfrontError, UserError


def test_equal_constants_are_stored_once() -> None:
    writer = GraphWriter()
    first = writer.constant(np.array([1.0, 2.0], np.float32))
    assert writer.constant(np.array([1.0, 2.0], np.float32)) == first
    assert writer.constant(np.array([1.0, 2.0], np.float32), "named") == first
    others = [
        writer.constant(np.array([[1.0, 2.0]], np.float32)),
        writer.constant(np.array([1.0, 2.0], np.float64)),
        writer.constant(np.array([1.0, 2.0], np.float32).view(np.int32)),
        writer.constant(1.0),
        writer.constant(1),
        writer.integers(1),
    ]
    assert len({first, *others}) == 7


def test_two_constants_of_one_name() -> None:
    writer = GraphWriter()
    writer.constant(np.zeros(2, np.float32), "w")
    with pytest.raises(ValueError, match="two constants are named w"):
        writer.constant(np.ones(2, np.float32), "w")


def test_numbers_have_the_types_of_onnx() -> None:
    writer = GraphWriter()
    x = writer.op("Mul", "x", writer.constant(0.5))
    writer.op("Reshape", x, writer.integers(0, -1), output="y")
    model = writer.model({"x": ("n", 2, 2)}, {"y": ("n", 4)}, '{"a": 1}')
    assert [t.data_type for t in model.graph.initializer] == [TensorProto.FLOAT, TensorProto.INT64]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"
    assert {entry.key: entry.value for entry in model.metadata_props} == {"bitfront": '{"a": 1}'}


@pytest.mark.parametrize("fault", ["unknown input", "unknown operator", "wrong shape"])
def test_invalid_graphs(fault: str) -> None:
    writer = GraphWriter()
    operator = "Invented" if fault == "unknown operator" else "Relu"
    writer.op(operator, "z" if fault == "unknown input" else "x", output="y")
    with pytest.raises(BitfrontError, match="the ONNX graph is not valid"):
        writer.model({"x": ("n", 2)}, {"y": ("n", 3 if fault == "wrong shape" else 2)})


def test_more_than_a_file_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = GraphWriter()
    writer.op("Add", "x", writer.constant(np.zeros((1, 2), np.float32)), output="y")
    monkeypatch.setattr(writing, "LARGEST_BYTES", 8)
    writer.model({"x": ("n", 2)}, {"y": ("n", 2)})
    monkeypatch.setattr(writing, "LARGEST_BYTES", 7)
    with pytest.raises(UserError, match="more than fits into one ONNX file"):
        writer.model({"x": ("n", 2)}, {"y": ("n", 2)})
