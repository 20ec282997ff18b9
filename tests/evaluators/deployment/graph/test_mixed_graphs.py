"""Graphs of mixed arithmetic in both runtimes: the evaluator's numbers, integers on integer kernels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from format_cases import ASSIGNMENTS, case, prepared
from graph_cases import RUNTIMES, model_session
from quantized_cases import Bits, config_of

from bitfront.evaluators.deployment.graph.operands import DIALECTS
from bitfront.evaluators.deployment.graph.parts import GraphParts
from bitfront.evaluators.deployment.graph_files import write_openvino
from bitfront.evaluators.deployment.runtimes.openvino import DYNAMIC_QUANTIZATION

for runtime in RUNTIMES:
    pytest.importorskip(runtime)


# In standard deviations of the logits between images. OpenVINO rounds no floats where it computes in float32,
# and codes behind them are rounded to another side here and there.
LARGEST = {"onnxruntime": 0.01, "openvino": 0.1}
SINGLE: tuple[Bits, ...] = (
    (4, "fp32", "fp32"),
    ("int8a", "fp32", 8),
    ("fp16", "fp32", "fp32"),
    (8, 8, "fp32"),
)


@pytest.mark.parametrize("name", ["vit", "swin"])
def test_single_precision_is_exact_in_both(tmp_path: Path, name: str) -> None:
    """Neither runtime may make codes of its own of floats that are multiplied with stored integers."""
    model, images = prepared(name), case(name).images
    for runtime in RUNTIMES:
        for bits in SINGLE:
            config = config_of(model.blueprint, "deploy", bits)
            found = model_session(model, config, DIALECTS[runtime], runtime, tmp_path)
            wanted = model.assemble(config)(images)
            deviation = (torch.from_numpy(found(images.numpy())) - wanted).abs().mean()
            assert deviation < 0.005 * wanted.std(0).mean(), (runtime, bits)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", ["vit", "swin", "dinov3", "inner norms"])
def test_logits_and_predictions(tmp_path: Path, name: str, runtime: str) -> None:
    model, images = prepared(name), case(name).images
    for bits in ASSIGNMENTS:
        config = config_of(model.blueprint, "deploy", bits, model.choices)
        wanted = model.assemble(config)(images)
        found = model_session(model, config, DIALECTS[runtime], runtime, tmp_path)
        got = torch.from_numpy(found(images.numpy()))
        assert (got - wanted).abs().mean() < LARGEST[runtime] * wanted.std(0).mean(), bits


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("bits", "floats"),
    [
        # Of the six products of an encoder: all four layers, all six, none; zero points bring four more.
        (("bf16", 8, 8), 4),
        (("bf16", "bf16", "bf16"), 6),
        ((4, "fp32", "fp32"), 6),
        (("int4a", 8, 8), 0),
        (("int8a", 8, 8), 0),
    ],
    ids=str,
)
def test_products_run_as_their_formats_are(tmp_path: Path, runtime: str, bits: Bits, floats: int) -> None:
    model = prepared("vit")
    config = config_of(model.blueprint, "deploy", bits)
    report = model_session(model, config, DIALECTS[runtime], runtime, tmp_path).kernels()
    products = 10 if bits[0] == "int8a" else 6
    assert report.total == 2 + products * len(model.blueprint.encoders)
    assert report.total - report.on_integers == floats * len(model.blueprint.encoders)


def test_a_written_ir_keeps_floats_wherever_it_is_loaded(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    model, images = prepared("vit"), case("vit").images
    core = openvino.Core()

    def asks(bits: Bits) -> bool:
        config = config_of(model.blueprint, "deploy", bits)
        path, _ = write_openvino(tmp_path / "m.xml", GraphParts.of(model), config, config.to_json({}, {}))
        return bool(core.read_model(path).has_rt_info(["runtime_options", DYNAMIC_QUANTIZATION]))

    assert not asks((4, 8, 8))
    assert not asks(("bf16", "fp32", 8))
    assert asks((4, "fp32", "fp32"))
    compiled = core.compile_model(str(tmp_path / "m.xml"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    wanted = model.assemble(config_of(model.blueprint, "deploy", (4, "fp32", "fp32")))(images)
    deviation = (torch.from_numpy(compiled(images.numpy())[0]) - wanted).abs().mean()
    assert deviation < 0.005 * wanted.std(0).mean()
