"""Graphs of encoders and readouts of every peculiarity: the evaluator's numbers, on integer kernels."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from graph_cases import DIALECT_NAMES, IMAGES, RUNTIMES, SCHEME, bits_of, loaded, model_session, steps
from peculiar_cases import PECULIAR, peculiar_case
from quantized_cases import WIDTHS, Bits, Case

from bitfront.evaluators.deployment.graph.halves import in_halves, layer_in_halves
from bitfront.evaluators.deployment.graph.model import configuration_graph, float_graph, rest_graph
from bitfront.evaluators.deployment.graph.operands import DIALECTS
from bitfront.evaluators.deployment.graph.parts import GraphParts
from bitfront.evaluators.models.float_forward import forward
from bitfront.evaluators.preparation.recipes import recipe_named
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.quantizers.weights import quantize_weight

for runtime in RUNTIMES:
    pytest.importorskip(runtime)

# Every stage that a graph has is in one of these.
QUICK = ("siglip", "inner norms", "aimv2", "eva clip", "dinov3", "perception", "beit", "swin v2")
NAMES = [pytest.param(name, marks=() if name in QUICK else pytest.mark.thorough) for name in PECULIAR]
ASSIGNMENTS: tuple[Bits, ...] = ((8, 8, 8), (4, 8, 8), "mixed 1")
# As for plain encoders: where floats lie on a tie, codes are rounded to different sides.
LARGEST_DEVIATION, LARGEST_FLIPPED = 0.02, 0.15


@functools.cache
def case(name: str) -> Case:
    return peculiar_case(name, 64)


@functools.cache
def prepared(name: str) -> PreparedModel:
    found = case(name).calibrated(SCHEME, recipe_named("best"))
    return PreparedModel(
        found.blueprint,
        found.calibration,
        SCHEME,
        WIDTHS,
        layers=found.layers,
        log_steps=found.log_steps,
        keep_codes=True,
    )


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", NAMES)
def test_logits_and_predictions(tmp_path: Path, name: str, runtime: str) -> None:
    model, images = prepared(name), case(name).images
    for bits in ASSIGNMENTS:
        config = bits_of(model, bits)
        wanted = model.assemble(config)(images)
        found = model_session(model, config, DIALECTS[runtime], runtime, tmp_path)
        got = torch.from_numpy(found(images.numpy()))
        assert (got - wanted).abs().mean() < 0.01 * wanted.std(0).mean(), bits
        assert (got.argmax(1) == wanted.argmax(1)).float().mean() > 0.95, bits


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", NAMES)
def test_every_encoder_by_itself(tmp_path: Path, name: str, runtime: str) -> None:
    model = prepared(name)
    for bits in ((8, 8, 8), "mixed 1"):
        found = steps(
            model, bits_of(model, bits), DIALECTS[runtime], runtime, tmp_path, case(name).images[:IMAGES]
        )
        for index, step in enumerate(found):
            assert step.deviation < LARGEST_DEVIATION, (bits, index)
            assert step.flipped < LARGEST_FLIPPED, (bits, index)


@pytest.mark.parametrize("name", ["eva clip", "swin v2"])
def test_either_dialect_in_the_other_runtime(tmp_path: Path, name: str) -> None:
    model, images = prepared(name), case(name).images[:IMAGES]
    for dialect, other in zip(DIALECT_NAMES, DIALECT_NAMES[::-1], strict=True):
        for step in steps(model, bits_of(model, (8, 8, 8)), DIALECTS[dialect], other, tmp_path, images):
            assert step.deviation < LARGEST_DEVIATION
            assert step.flipped < LARGEST_FLIPPED


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", NAMES)
def test_float_graphs_are_the_float_model(tmp_path: Path, name: str, runtime: str) -> None:
    found = loaded(float_graph(case(name).blueprint), tmp_path, runtime)
    images = case(name).images[:4]
    with torch.inference_mode():
        wanted = case(name).module(images)
    torch.testing.assert_close(torch.from_numpy(found(images.numpy())), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", NAMES)
def test_products_are_of_integers(tmp_path: Path, name: str, runtime: str) -> None:
    """All but the two of a learned query, with which attention pools."""
    model = prepared(name)
    report = model_session(model, bits_of(model, (8, 8, 8)), DIALECTS[runtime], runtime, tmp_path).kernels()
    blueprint = model.blueprint
    pooling = 0 if blueprint.readout.pool is None else 2
    assert report.total == len(blueprint.outer()) + 6 * len(blueprint.encoders) + pooling
    assert report.total - report.on_integers == pooling


def test_the_rest_has_the_pooling(tmp_path: Path) -> None:
    model = prepared("siglip")
    graph = rest_graph(GraphParts.of(model), bits_of(model, (8, 8, 8)), DIALECTS["onnxruntime"])
    found = loaded(graph, tmp_path, "onnxruntime")
    assert found.kernels().total == len(model.blueprint.outer()) + 2
    assert found(case("siglip").images[:3].numpy()).shape == (3, 7)


@pytest.mark.parametrize("name", ["eva clip", "rope mixed", "eva02"])
def test_neighbours_in_halves_are_the_same_model(name: str) -> None:
    blueprint, images = case(name).blueprint, case(name).images[:2]
    moved = in_halves(blueprint)
    for before, after in zip(blueprint.encoders, moved.encoders, strict=True):
        assert before.rotary is not None
        assert after.rotary is not None
        assert (before.rotary.halves, after.rotary.halves) == (False, True)
        assert not torch.equal(before.qkv.weight, after.qkv.weight)
    with torch.inference_mode():
        torch.testing.assert_close(forward(moved, images), forward(blueprint, images), rtol=1e-5, atol=1e-5)


def test_quantized_layers_are_moved_as_float_ones() -> None:
    blueprint = case("eva clip").blueprint
    encoder, moved = blueprint.encoders[0], in_halves(blueprint).encoders[0]
    fitted = prepared("eva clip").fitted(0, "attn.qkv", 4, 8)
    for weight in (
        quantize_weight(encoder.qkv.weight, 4, grouped=True),
        quantize_weight(encoder.qkv.weight, 8),
    ):
        found = layer_in_halves(encoder, dataclasses.replace(fitted, weight=weight, bias=encoder.qkv.bias))
        again = quantize_weight(moved.qkv.weight, weight.bits, grouped=weight.factors is not None)
        assert torch.equal(found.weight.codes, again.codes)
        assert torch.equal(found.weight.narrow_codes, again.narrow_codes)
        assert torch.equal(found.weight.scales, again.scales)
        assert torch.equal(found.bias, moved.qkv.bias)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_hidden_channels_are_scaled(tmp_path: Path, runtime: str) -> None:
    blueprint, images = case("clip").blueprint, case("clip").images[:2]
    scales = torch.rand(blueprint.encoders[0].hidden, generator=torch.Generator().manual_seed(0)) + 0.5
    first = dataclasses.replace(blueprint.encoders[0], hidden_scales=scales)
    scaled = dataclasses.replace(blueprint, encoders=(first, *blueprint.encoders[1:]))
    found = loaded(float_graph(scaled), tmp_path, runtime)(images.numpy())
    with torch.inference_mode():
        wanted, without = forward(scaled, images), forward(blueprint, images)
    torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(wanted, without, atol=1e-3)


@pytest.mark.parametrize("name", ["eva clip", "swin v2"])
def test_graphs_for_timing_have_the_same_nodes(name: str) -> None:
    model = prepared(name)
    graphs = [
        configuration_graph(parts, bits_of(model, (8, 8, 8)), DIALECTS["openvino"])
        for parts in (GraphParts.of(model), GraphParts.for_timing(model))
    ]
    kept, timed = ([(node.op_type, len(node.input)) for node in graph.graph.node] for graph in graphs)
    assert np.array_equal(kept, timed)
