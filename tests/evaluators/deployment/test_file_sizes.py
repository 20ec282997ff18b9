"""Sizes of graph files are known before they are written, and OpenVINO's have nothing twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from graph_cases import SCHEME, prepared

from bitfront.evaluators.data.images import preprocessing_to_json
from bitfront.evaluators.deployment.compact_ir import merge_equal
from bitfront.evaluators.deployment.file_sizes import GRAPH_FILES, GraphSizes
from bitfront.evaluators.deployment.registry import FileContent, ModelFormat, format_named
from bitfront.evaluators.preparation.recipes import recipe_named
from bitfront.spaces import BitConfig, SearchSpace

PREPROCESSING = {
    "input_size": [3, 16, 16],
    "interpolation": "bicubic",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "crop_pct": 0.9,
    "crop_mode": "center",
}
RECIPE = recipe_named("best", ())


def document_of(config: BitConfig) -> dict[str, object]:
    provenance = {
        "run": 'a "run"',
        "digest": config.digest,
        "preprocessing": preprocessing_to_json(PREPROCESSING),
    }
    return config.to_json({"top1": 71.5}, provenance)


@pytest.mark.parametrize("family", ["vit", "swin"])
@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_twenty_random_configurations_have_the_size_that_was_foretold(
    tmp_path: Path, kind: str, family: str
) -> None:
    pytest.importorskip("openvino")
    model = prepared(family)
    blueprint = model.blueprint
    space = SearchSpace(
        blueprint.name,
        SCHEME,
        blueprint.encoder_layers(),
        model.choices,
        "layer" if kind == "onnx" else "encoder-kind",
    )
    sizes = GraphSizes(GRAPH_FILES[kind](), model, RECIPE, document_of)
    form, runtime = format_named(kind), {"onnx": "onnxruntime"}.get(kind, kind)
    assert isinstance(form, ModelFormat)
    genomes = space.sample(np.random.default_rng(0), 20)
    for place, genome in enumerate(genomes):
        config = space.decode(genome)
        content = FileContent(model, config, RECIPE, document_of(config))
        folder = tmp_path / str(place)
        folder.mkdir()
        files = form.write(content, folder / f"m{form.suffix}", runtime)
        written = sum(file.stat().st_size for file in files)
        # Of models of three encoders; a few constants that kinds share are a larger part of these.
        assert sizes.size_bytes(config) == pytest.approx(written, rel=1e-3, abs=600)
    assert sizes.float_bytes() > 0


def test_an_ir_has_nothing_twice(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    model = prepared("vit")
    layers = model.blueprint.encoder_layers()
    config = BitConfig.uniform(model.blueprint.name, SCHEME, layers, (4, 8, 8))
    form = format_named("openvino")
    assert isinstance(form, ModelFormat)
    [path, _] = form.write(
        FileContent(model, config, RECIPE, document_of(config)), tmp_path / "m.xml", "openvino"
    )
    text = path.read_text()
    assert "\n" not in text.partition("?>")[2].strip()
    found = openvino.Core().read_model(path)
    names = [op.get_friendly_name() for op in found.get_ordered_ops()]
    assert f"{layers[0].name}.attn.qkv.weight" in names
    assert merge_equal(found) == 0
