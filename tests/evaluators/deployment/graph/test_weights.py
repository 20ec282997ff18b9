"""Weights of a graph: the codes that a runtime makes of what is stored, and how narrow that is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from graph_cases import loaded, prepared
from onnx import TensorProto

from bitfront.evaluators.deployment.graph.arithmetic import dequantized_weight
from bitfront.evaluators.deployment.graph.writer import GraphWriter
from bitfront.evaluators.quantizers.weights import GROUP, QuantizedWeight, largest_factor, quantize_weight

STORED = {2: TensorProto.INT4, 3: TensorProto.INT4, 4: TensorProto.INT4}


def graph_of(weight: QuantizedWeight) -> onnx.ModelProto:
    """Rows times the weight."""
    writer = GraphWriter()
    outputs, inputs = weight.codes.shape
    writer.op("MatMul", "rows", dequantized_weight(writer, weight, "layer"), output="products")
    return writer.model({"rows": ("count", inputs)}, {"products": ("count", outputs)})


def grouped(outputs: int, inputs: int, bits: int) -> QuantizedWeight:
    """Random codes and factors, the extremes of both among them."""
    generator = torch.Generator().manual_seed(bits)
    half, groups = 1 << (bits - 1), -(-inputs // GROUP)
    codes = torch.randint(-half, half, (outputs, inputs), generator=generator, dtype=torch.int8)
    factors = torch.randint(1, largest_factor(bits) + 1, (outputs, groups), generator=generator)
    factors[0, 0], factors[1, 0], codes[0, 0] = largest_factor(bits), 1, -half
    scales = torch.rand(outputs, generator=generator) + 0.1
    return QuantizedWeight.of_narrow_codes(codes, scales, bits, factors.to(torch.uint8))


def check(folder: Path, weight: QuantizedWeight, runtime: str) -> None:
    wanted = (weight.codes.float() * weight.scales[:, None]).T.numpy()
    got = loaded(graph_of(weight), folder, runtime)(np.eye(weight.codes.shape[1], dtype=np.float32))
    # ONNX Runtime multiplies floats by codes in blocks; a code that is one off is off by a scale, above 0.01.
    assert float(weight.scales.min()) > 0.01
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("inputs", [48, 40], ids=["whole groups", "half a group at the end"])
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 7])
def test_grouped_codes(tmp_path: Path, bits: int, inputs: int, runtime: str) -> None:
    pytest.importorskip(runtime)
    check(tmp_path, grouped(6, inputs, bits), runtime)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("bits", [2, 4, 6, 8])
def test_plain_codes(tmp_path: Path, bits: int, runtime: str) -> None:
    pytest.importorskip(runtime)
    weight = quantize_weight(torch.randn(6, 21, generator=torch.Generator().manual_seed(bits)), bits, "mse")
    check(tmp_path, weight, runtime)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 8])
def test_what_is_stored(bits: int) -> None:
    plain = quantize_weight(torch.randn(8, 64, generator=torch.Generator().manual_seed(bits)), bits, "mse")
    wanted = STORED.get(bits, TensorProto.INT8)
    for weight in (plain, grouped(8, 64, bits)):
        if weight.factors is not None and bits == 8:
            continue
        [stored] = [t for t in graph_of(weight).graph.initializer if t.name == "layer.weight"]
        assert stored.data_type == wanted
        assert len(stored.raw_data) == 8 * 64 * (1 if wanted == TensorProto.INT8 else 0.5)


def test_nibbles_by_hand() -> None:
    """Codes taken out of the bytes of a 4-bit tensor, with no code of ONNX's."""
    layer = prepared("vit").fitted(1, "mlp.fc1", 4, 8).weight
    [stored] = [t for t in graph_of(layer).graph.initializer if t.name == "layer.weight"]
    nibbles = [nibble for byte in stored.raw_data for nibble in (byte & 15, byte >> 4)]
    codes = torch.tensor([nibble - 16 * (nibble > 7) for nibble in nibbles])
    outputs, inputs = layer.codes.shape
    assert torch.equal(codes.view(inputs, outputs).T, layer.narrow_codes.long())
    assert {*codes.tolist()} == {*range(-8, 8)}


def test_factors_are_half_a_byte() -> None:
    initializers = graph_of(grouped(8, 64, 4)).graph.initializer
    [factors] = [t for t in initializers if t.data_type == TensorProto.UINT4]
    assert len(factors.raw_data) == 8 * 64 / GROUP / 2
    assert sum(len(t.raw_data) for t in initializers) < 8 * 64 / 2 + 8 * 64 / GROUP / 2 + 4 * 8 + 100
