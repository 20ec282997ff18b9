"""Whole graphs: logits and predictions of the evaluator's, for every kind of model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from graph_cases import PORTABLE, RUNTIMES, SCHEME, bits_of, case, loaded, model_session, prepared
from quantized_cases import SMALL, config_of

from bitfront.evaluators.deployment.graph.model import configuration_graph, float_graph, rest_graph
from bitfront.evaluators.deployment.graph.operands import DIALECTS
from bitfront.evaluators.deployment.graph.parts import GraphParts
from bitfront.evaluators.models.families import blueprint_of
from bitfront.evaluators.preparation.calibration import calibrate
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.quantizers.registry import observer_named

for runtime in RUNTIMES:
    pytest.importorskip(runtime)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", SMALL)
def test_logits_and_predictions(tmp_path: Path, name: str, runtime: str) -> None:
    """Class, distillation and register tokens, average pools, norms before, windows of all sorts."""
    model, images = prepared(name), case(name).images
    for bits in ((8, 8, 8), "mixed 1"):
        config = bits_of(model, bits)
        wanted = model.assemble(config)(images)
        got = torch.from_numpy(
            model_session(model, config, DIALECTS[runtime], runtime, tmp_path)(images.numpy())
        )
        # As closely as the evaluator follows its reference, in deviations of the logits between images.
        assert (got - wanted).abs().mean() < 0.01 * wanted.std(0).mean()
        assert (got.argmax(1) == wanted.argmax(1)).float().mean() > 0.95


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", ["vit", "swin", "norm then average"])
def test_float_graphs_are_the_float_model(tmp_path: Path, name: str, runtime: str) -> None:
    found = loaded(float_graph(case(name).blueprint), tmp_path, runtime)
    images = case(name).images[:8]
    with torch.inference_mode():
        wanted = case(name).module(images)
    torch.testing.assert_close(torch.from_numpy(found(images.numpy())), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["vit", "swin"])
def test_the_rest_has_all_but_the_encoders(tmp_path: Path, name: str) -> None:
    model = prepared(name)
    config = bits_of(model, (8, 8, 8))
    found = loaded(rest_graph(GraphParts.of(model), config, DIALECTS["onnxruntime"]), tmp_path, "onnxruntime")
    assert found.kernels().total == len(model.blueprint.outer())
    assert found(case(name).images[:3].numpy()).shape == (3, 7)


def test_graphs_for_timing_have_the_same_nodes(tmp_path: Path) -> None:
    model = prepared("vit", "gptq")
    config = bits_of(model, "mixed 1")
    kept, timed = (
        configuration_graph(parts, config, DIALECTS["openvino"])
        for parts in (GraphParts.of(model), GraphParts.for_timing(model))
    )
    assert [node.op_type for node in kept.graph.node] == [node.op_type for node in timed.graph.node]


# At their real widths and resolution; of the encoders, which repeat, a few.
LARGE: dict[str, dict[str, Any]] = {
    "swin_tiny_patch4_window7_224": {"depths": (2, 2, 2, 2)},
    "vit_base_patch16_224": {"depth": 4},
    "vit_small_patch16_dinov3": {"depth": 2, "num_classes": 10, "img_size": 224},
    "eva02_small_patch14_224": {"depth": 2, "num_classes": 10},
    "vit_base_patch16_siglip_224": {"depth": 2, "num_classes": 10, "embed_dim": 384, "num_heads": 6},
    "swinv2_tiny_window8_256": {"depths": (2, 2)},
}
# The other families are compared at small sizes by quicker tests.
OTHERS = list(LARGE)[2:]


def large(name: str, timm: Any) -> tuple[PreparedModel, PreparedModel, torch.Tensor]:
    """A model with random weights, prepared for both of the evaluator's sets of kernels, and two images."""
    torch.manual_seed(0)
    blueprint = blueprint_of(name, timm.create_model(name, **LARGE[name]).eval())
    images = torch.randn(4, *blueprint.image_shape, generator=torch.Generator().manual_seed(1))
    grids = calibrate(blueprint, lambda: images.split(2), (4, 8), observer_named("minmax"), SCHEME)
    first, second = (
        PreparedModel(blueprint, grids, SCHEME, (4, 8), "minmax", kernels=kernels, keep_codes=True)
        for kernels in (None, PORTABLE)
    )
    return first, second, images[:2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.thorough if name in OTHERS else ()) for name in LARGE]
)
def test_large_models_with_random_weights(tmp_path: Path, timm: Any, name: str) -> None:
    first, second, images = large(name, timm)
    config = config_of(first.blueprint, SCHEME, "mixed 1")
    wanted = first.assemble(config)(images)
    # Random weights amplify roundings: the evaluator's own two sets of kernels, which differ by those of ties
    # alone, come to 5 % of the spread of the logits on ViT-B.
    spread = float(wanted.std())
    assert float((second.assemble(config)(images) - wanted).abs().mean()) < 0.1 * spread
    for runtime in RUNTIMES:
        found = model_session(first, config, DIALECTS[runtime], runtime, tmp_path)
        got = torch.from_numpy(found(images.numpy()))
        assert float((got - wanted).abs().mean()) < 0.2 * spread
        assert torch.corrcoef(torch.stack([got.flatten(), wanted.flatten()]))[0, 1] > 0.95
