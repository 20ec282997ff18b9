"""Runtimes: what they report of their kernels, batches of any size, and files that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from graph_cases import RUNTIMES, bits_of, case, loaded, model_session, prepared
from onnx import TensorProto, helper

from bitfront.evaluators.context.machine import cpuinfo
from bitfront.evaluators.deployment.graph.model import float_graph
from bitfront.evaluators.deployment.graph.operands import DIALECTS
from bitfront.evaluators.deployment.runtimes import registry as runtimes
from bitfront.evaluators.deployment.runtimes.registry import runtime_named
from bitfront.evaluators.deployment.runtimes.runtime import (
    KernelReport,
    Product,
    Session,
    check_file,
    not_a_model,
)
from bitfront.spaces import BitfrontError, UserError

for name in RUNTIMES:
    pytest.importorskip(name)

# OpenVINO computes in floats what the processor has no instructions for.
VNNI = "avx512_vnni" in cpuinfo("flags")


def products(name: str) -> tuple[int, int]:
    """Linear layers of a model, and products of its attentions."""
    blueprint = case(name).blueprint
    encoders = blueprint.encoders
    return len(blueprint.outer()) + sum(len(encoder.linear()) for encoder in encoders), 2 * len(encoders)


def session(name: str, bits: tuple[int, int, int], runtime: str, folder: Path) -> Session:
    model = prepared(name)
    return model_session(model, bits_of(model, bits), DIALECTS[runtime], runtime, folder)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", ["vit", "swin"])
class TestKernels:
    @pytest.fixture(autouse=True)
    def _instructions(self, runtime: str) -> None:
        if runtime == "openvino" and not VNNI:
            pytest.skip("this CPU has no AVX512-VNNI")

    @pytest.mark.parametrize("weights", [8, 4])
    def test_every_product_is_one_of_integers(
        self, tmp_path: Path, name: str, runtime: str, weights: int
    ) -> None:
        found = session(name, (weights, 8, 8), runtime, tmp_path).kernels()
        assert found.total == sum(products(name))
        assert found.on_integers == found.total, found.products

    def test_four_bit_attention_is_computed_in_floats(self, tmp_path: Path, name: str, runtime: str) -> None:
        linear, attention = products(name)
        found = session(name, (8, 8, 4), runtime, tmp_path).kernels()
        assert found.total == linear + attention
        # Queries times keys are products of integers all the same where the runtime does not fuse the two.
        assert linear <= found.on_integers <= linear + attention // 2

    def test_float_graphs_have_none(self, tmp_path: Path, name: str, runtime: str) -> None:
        found = loaded(float_graph(case(name).blueprint), tmp_path, runtime).kernels()
        assert (found.total, found.on_integers) == (sum(products(name)), 0)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", ["vit", "swin"])
def test_batches_of_any_size(tmp_path: Path, name: str, runtime: str) -> None:
    """One session, with images of one batch classified alone, in pairs and all together."""
    found, images = session(name, (4, 8, 8), runtime, tmp_path), case(name).images[:5].numpy()
    whole = found(images)
    assert whole.shape == (5, 7)
    assert whole.dtype == np.float32
    for size in (1, 2, 5):
        parts = [found(images[start : start + size]) for start in range(0, 5, size)]
        np.testing.assert_allclose(np.concatenate(parts), whole, atol=0.05 * whole.std())


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_batch_that_is_known(tmp_path: Path, runtime: str) -> None:
    model = prepared("vit")
    path = tmp_path / "m.onnx"
    onnx.save(float_graph(model.blueprint), path)
    found = runtime_named(runtime).load(path, batch=3)
    images = case("vit").images[:3].numpy()
    np.testing.assert_allclose(found(images), runtime_named(runtime).load(path)(images), atol=1e-4)


def test_logits_stay_when_the_next_batch_is_classified(tmp_path: Path) -> None:
    """OpenVINO writes every output of a request to the same memory."""
    found, images = session("vit", (8, 8, 8), "openvino", tmp_path), case("vit").images.numpy()
    first = found(images[:2])
    kept = first.copy()
    found(images[2:4])
    np.testing.assert_array_equal(first, kept)


def test_report() -> None:
    report = KernelReport((Product("a", True, 3), Product("b", False, 2), Product("c", True, 1)))
    assert (report.total, report.on_integers) == (6, 4)


def test_precision_of_what_is_not_quantized(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(float_graph(case("vit").blueprint), path)
    with pytest.raises(UserError, match="onnxruntime computes in f32 here, not in bf16"):
        runtime_named("onnxruntime").load(path, precision="bf16")
    assert runtime_named("openvino").precisions == ("f32", "bf16")


def test_unknown_and_missing_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="unknown runtime 'tensorrt': choose one of onnxruntime, openvino"):
        runtime_named("tensorrt")
    monkeypatch.setattr(runtimes, "runtime_is_installed", lambda name: False)
    with pytest.raises(UserError, match=r"openvino is not installed: .*bitfront\[runtimes\]"):
        runtime_named("openvino")


def truncated(path: Path) -> None:
    onnx.save(float_graph(case("vit").blueprint), path)
    path.write_bytes(path.read_bytes()[:5000])


def of_operators_unheard_of(path: Path) -> None:
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    node = helper.make_node("Invented", ["x"], ["y"], domain="somewhere.else")
    graph = helper.make_graph([node], "g", infos[:1], infos[1:])
    domains = [helper.make_opsetid("", 21), helper.make_opsetid("somewhere.else", 1)]
    onnx.save(helper.make_model(graph, opset_imports=domains, ir_version=10), path)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    "make",
    [
        lambda path: None,
        lambda path: path.mkdir(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\x00\xff garbage \n" * 100),
        lambda path: path.write_text("<html><body>502 Bad Gateway</body></html>"),
        truncated,
        of_operators_unheard_of,
    ],
    ids=["missing", "folder", "empty", "garbage", "html", "truncated", "foreign"],
)
def test_files_that_are_no_models(tmp_path: Path, make, runtime: str) -> None:
    path = tmp_path / "m.onnx"
    make(path)
    with pytest.raises(BitfrontError) as caught:
        runtime_named(runtime).load(path)
    assert "m.onnx" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 500


def test_endings(tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_bytes(b"x")
    with pytest.raises(UserError, match=r"ending '\.bin'; expected \.xml or \.onnx"):
        runtime_named("openvino").load(tmp_path / "m.bin")
    (tmp_path / "m").write_bytes(b"x")
    with pytest.raises(UserError, match="ending 'none'"):
        check_file(tmp_path / "m", (".onnx",))


def test_the_reason_is_the_first_that_says_something() -> None:
    error = not_a_model(Path("m.onnx"), "x", RuntimeError("\n\n  because of this  \nand that"))
    assert str(error) == "m.onnx cannot be loaded by x (because of this): export it again"
    assert "(RuntimeError)" in str(not_a_model(Path("m.onnx"), "x", RuntimeError("")))
