"""Stored weights: what they give back, how many bytes they take, and that OpenVINO reads the same of them."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("openvino")

from bitfront.evaluators.generation.stored_weights import restored, rounded, stored_bytes, stored_weight

CASES = [((6, 128), (0,)), ((12, 5), (1,)), ((4, 3, 3, 3), (0,)), ((2, 4, 2, 3, 3), (0, 1)), ((64, 6), (1,))]
FORMATS = ("int4w", "int8w", "bf16", "fp16", "fp32")


def weights(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(("shape", "axes"), CASES)
@pytest.mark.parametrize("name", FORMATS)
def test_openvino_reads_what_is_meant(shape: tuple[int, ...], axes: tuple[int, ...], name: str) -> None:
    import openvino
    from openvino import opset13 as ops

    values = weights(shape)
    model = openvino.Model([ops.result(stored_weight(values, axes, name))], [])
    found = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([])[0]
    assert found.shape == shape
    assert np.allclose(found, restored(values, axes, name), atol=1e-6)


@pytest.mark.parametrize("name", ["int4w", "int8w"])
def test_integers_are_within_half_a_step(name: str) -> None:
    values = weights((6, 128))
    _, scale = rounded(values, (0,), name)
    steps = np.repeat(scale[..., 0], 128 // scale.shape[1], axis=1)
    assert (np.abs(restored(values, (0,), name) - values) <= 0.5001 * steps).all()


def test_bytes_are_those_of_values_and_scales() -> None:
    values = weights((6, 128))
    sizes = {name: stored_bytes(values, (0,), name) for name in FORMATS}
    assert sizes == {
        "int4w": 6 * 64 + 4 * 6 * 2, "int8w": 6 * 128 + 4 * 6, "bf16": 1536, "fp16": 1536, "fp32": 3072,
    }  # fmt: skip
