"""The golden model equals the evaluator to the bit, site by site, at every level of optimization."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from golden_cases import LEVELS, SCHEME, case, evaluated, observed, prepared, session
from peculiar_cases import INTEGER, peculiar_case
from quantized_cases import SMALL, WIDTHS, Bits, config_of
from safetensors.torch import save_file
from shared_data import SHARED

from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.deployment.graph.integer_model import golden_graph
from bitfront.evaluators.models.loading import load_model
from bitfront.evaluators.models.sites import trace_sites
from bitfront.evaluators.quantized.kernels.portable import PortableKernels
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.spaces import BitConfig, SearchSpace

IMAGES = 12
EVERY_WIDTH = (2, 3, 4, 5, 6, 7, 8)
WEIGHTS = SHARED / "deit_tiny" / "deit_tiny_patch16_224.pth"
PHOTOS = SHARED / "imagenet-compatible" / "labels.csv"


def assert_equal_everywhere(model: PreparedModel, config: BitConfig, images: torch.Tensor) -> None:
    """Logits and the codes of all sites, with the runtime's optimizations and without."""
    logits, sites = evaluated(model, config, images)
    activations = {site.name for site in trace_sites(model.blueprint, SCHEME) if site.kind != "weights"}
    assert sites.keys() == activations - {s for s in activations if s.endswith(("pos_embed", "attn.bias"))}
    graph = golden_graph(model, config)
    for level in LEVELS:
        got, codes = observed(graph, sites, images, level)
        assert [site for site, wanted in sites.items() if not same(codes[site], wanted)] == []
        assert same(got, logits)
        # Without anything looked into, so that all that can be fused is.
        whole = session(graph, level).run(None, {"images": images.numpy()})[0]
        assert same(torch.from_numpy(whole), logits)


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.numel() == other.numel() and torch.equal(one.double().flatten(), other.double().flatten())


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("bits", [(8, 8, 8), (4, 4, 4), "mixed 1"], ids=str)
@pytest.mark.parametrize("name", SMALL)
def test_every_site_has_the_evaluators_codes(name: str, bits: Bits) -> None:
    model = prepared(name)
    assert_equal_everywhere(model, config_of(model.blueprint, SCHEME, bits), case(name).images[:IMAGES])


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "beit" else pytest.mark.thorough) for name in INTEGER]
)
def test_position_biases_of_all_tokens(name: str) -> None:
    model = peculiar_case(name, 24)
    grids = model.calibration(SCHEME)
    found = PreparedModel(model.blueprint, grids, SCHEME, WIDTHS, keep_codes=True)
    assert_equal_everywhere(found, config_of(found.blueprint, SCHEME, "mixed 1"), model.images[:4])


@pytest.mark.parametrize("width", EVERY_WIDTH)
def test_every_width(width: int) -> None:
    model = prepared("vit", "fq-vit", EVERY_WIDTH)
    config = config_of(model.blueprint, SCHEME, (width, width, width))
    assert_equal_everywhere(model, config, case("vit").images[:IMAGES])


@pytest.mark.parametrize("name", ["vit", "swin"])
def test_minifloats(name: str) -> None:
    model = prepared(name, "runtime")
    config = config_of(model.blueprint, SCHEME, (8, 4, 4))
    assert_equal_everywhere(model, config, case(name).images[:IMAGES])


def test_it_equals_the_kernels_that_evaluate() -> None:
    model = prepared("swin", "fq-vit", kernels=PortableKernels(torch.device("cpu")))
    assert_equal_everywhere(
        model, config_of(model.blueprint, SCHEME, (8, 8, 4)), case("swin").images[:IMAGES]
    )


def test_batches_of_any_size() -> None:
    model = prepared("wide swin", "fq-vit")
    config, images = config_of(model.blueprint, SCHEME, (8, 8, 8)), case("wide swin").images
    wanted, run = model.assemble(config)(images).numpy(), session(golden_graph(model, config))
    for count in (1, 2, 7, 64):
        got = run.run(None, {"images": images[:count].numpy()})[0]
        np.testing.assert_array_equal(got, wanted[:count])


def test_it_is_made_of_standard_operators_and_narrow_weights() -> None:
    model = prepared("vit", "fq-vit", EVERY_WIDTH)
    stored = {}
    for width in (3, 4, 8):
        graph = golden_graph(model, config_of(model.blueprint, SCHEME, (width, 8, 8))).graph
        assert {node.domain for node in graph.node} == {""}
        kinds = {node.op_type for node in graph.node}
        assert not {kind for kind in kinds if "Quant" in kind or "Integer" in kind or "QLinear" in kind}
        [weight] = [tensor for tensor in graph.initializer if tensor.name == "blocks.0.mlp.fc1.weight"]
        stored[width] = weight.data_type, len(weight.raw_data)
    inputs = 32 * 128
    four, eight = (onnx.TensorProto.INT4, inputs // 2), (onnx.TensorProto.INT8, inputs)
    assert stored == {3: four, 4: four, 8: eight}


def test_sums_are_integers_of_the_codes_that_enter() -> None:
    model = prepared("vit", "fq-vit")
    config, images = config_of(model.blueprint, SCHEME, (4, 8, 8)), case("vit").images[:2]
    site, layer = "blocks.1.norm2", "blocks.1.mlp.fc1"
    names = {site: images, f"{layer}.sums": images, f"{site}.multiplier": images}
    _, found = observed(golden_graph(model, config), names, images, "default")
    weight = model.fitted(1, "mlp.fc1", 4, 8).weight
    centred = found[site].long() - model.calibration.grid(site, 8).zero_point
    assert torch.equal(found[f"{layer}.sums"], (centred @ weight.codes.long().T).double())
    multiplier = found[f"{site}.multiplier"]
    assert torch.equal(multiplier, multiplier.round())
    assert float(multiplier.abs().max()) <= 255


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("model", "recipe"),
    [
        pytest.param("digits_deit", "best", marks=pytest.mark.thorough),
        ("digits_vit", "fq-vit"),
        pytest.param("digits_swin", "fq-vit", marks=pytest.mark.thorough),
    ],
)
def test_models_of_digits_on_all_test_images(model: str, recipe: str, tmp_path: Path) -> None:
    checkpoint = None
    if model != "digits_deit":  # which alone has weights of its own
        torch.manual_seed(0)
        checkpoint = tmp_path / "random.safetensors"
        save_file(load_model(model, untrained=True).module.state_dict(), checkpoint)
    spec = EvaluationSpec(
        model=model,
        checkpoint=checkpoint and str(checkpoint),
        data="digits",
        scheme=SCHEME,
        recipe=recipe,
        batch_size=64,
        threads=1,
        allow_chance=True,
    )
    context = EvaluationContext.from_spec(spec, keep_codes=True)
    space = SearchSpace(model, SCHEME, context.encoders, (4, 8), "layer")
    configs = [BitConfig.uniform(model, SCHEME, context.encoders, bits) for bits in ((8, 8, 8), (4, 4, 4))]
    configs += map(space.decode, space.sample(np.random.default_rng(0), 2))
    for config in configs:
        wanted = context.logits(config, "test").numpy()
        run = session(golden_graph(context.prepared, config))
        batches = [batch for batch, _ in context.images("test").batches(50)]
        got = np.concatenate([run.run(None, {"images": batch.numpy()})[0] for batch in batches])
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not (WEIGHTS.is_file() and PHOTOS.is_file()), reason="the shared data folder is absent")
def test_deit_tiny_on_photographs() -> None:
    spec = EvaluationSpec(
        model="deit_tiny_patch16_224",
        checkpoint=str(WEIGHTS),
        data=str(PHOTOS),
        scheme=SCHEME,
        recipe="fq-vit",
        calibration_images=8,
        search_images=4,
        test_images=4,
        batch_size=4,
        threads=1,
    )
    context = EvaluationContext.from_spec(spec, keep_codes=True)
    images = context.images("test").batches(4)
    config = BitConfig.uniform(spec.model, SCHEME, context.encoders, (4, 8, 4))
    assert_equal_everywhere(context.prepared, config, next(iter(images))[0])
