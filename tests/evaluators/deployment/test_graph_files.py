"""Files of graphs: what they hold, how large they are, and what they say of themselves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from graph_cases import SCHEME, bits_of, case, prepared
from onnx import TensorProto
from quantized_cases import config_of

from bitfront.evaluators.data.images import preprocessing_to_json
from bitfront.evaluators.deployment.documents import LONGEST, read_document
from bitfront.evaluators.deployment.graph_files import onnx_document
from bitfront.evaluators.deployment.registry import (
    FileContent,
    ModelFormat,
    file_document,
    format_named,
    runtime_for,
)
from bitfront.evaluators.deployment.runtimes.registry import runtime_named
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.sites import trace_sites
from bitfront.evaluators.packed.layout import SizeModel
from bitfront.evaluators.preparation.calibrated_model import calibrate_model
from bitfront.evaluators.preparation.recipes import GROUPED_WEIGHTS, INGREDIENTS, recipe_named
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.quantizers.registry import observer_named
from bitfront.spaces import BitConfig, UserError

PREPROCESSING = {
    "input_size": [3, 16, 16],
    "interpolation": "bicubic",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "crop_pct": 0.9,
    "crop_mode": "center",
}
KINDS = {"packed": ".safetensors", "onnx": ".onnx", "openvino": ".xml"}


def write_file(subject: FileContent, kind: str, path: Path, runtime: str) -> list[Path]:
    form = format_named(kind)
    assert isinstance(form, ModelFormat)
    return form.write(subject, path, runtime)


def subject(model: PreparedModel, config: BitConfig, recipe: str = "best", without: str = "") -> FileContent:
    document = config.to_json({"top1": 71.5}, {"run": "a run", "preprocessing": PREPROCESSING})
    return FileContent(model, config, recipe_named(recipe, without.split()), document)


@pytest.fixture(scope="module")
def small() -> FileContent:
    model = prepared("vit")
    return subject(model, bits_of(model, "mixed 1"))


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_equal_models_are_equal_files(tmp_path: Path, small: FileContent, kind: str) -> None:
    if kind == "openvino":
        pytest.importorskip("openvino")
    first, second = (tmp_path / name for name in ("first", "second"))
    for folder in (first, second):
        folder.mkdir()
        assert write_file(small, kind, folder / f"m{KINDS[kind]}", "openvino")[0].parent == folder
    names = sorted(path.name for path in first.iterdir())
    assert names == (["m.onnx"] if kind == "onnx" else ["m.bin", "m.xml"])
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes()


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_files_carry_their_document(tmp_path: Path, small: FileContent, kind: str) -> None:
    if kind == "openvino":
        pytest.importorskip("openvino")
    [path, *_] = write_file(small, kind, tmp_path / f"m{KINDS[kind]}", "openvino")
    found = file_document(path)
    assert found == small.document
    assert BitConfig.from_json(found) == BitConfig.from_json(small.config.to_json())


def test_what_an_onnx_file_is(tmp_path: Path, small: FileContent) -> None:
    [path] = write_file(small, "onnx", tmp_path / "m.onnx", "onnxruntime")
    model = onnx.load(path, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 21)]
    assert model.ir_version == 10
    assert model.producer_name == "bitfront"
    keys = [entry.key for entry in model.metadata_props]
    assert keys[0] == "bitfront"
    assert {"bitfront.input_layout", "bitfront.mean", "bitfront.preprocessing"} <= set(keys)
    for info, name in ((model.graph.input[0], "images"), (model.graph.output[0], "logits")):
        assert info.name == name
        assert info.type.tensor_type.elem_type == TensorProto.FLOAT
        assert info.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert {node.domain for node in model.graph.node} == {""}


def test_four_bit_weights_are_two_to_a_byte(tmp_path: Path, small: FileContent) -> None:
    [path] = write_file(small, "onnx", tmp_path / "m.onnx", "onnxruntime")
    stored = {tensor.name: tensor for tensor in onnx.load(path).graph.initializer}
    seen = set()
    for encoder, parts in zip(small.config.encoders, small.prepared.blueprint.encoders, strict=True):
        for layer, linear in parts.linear().items():
            bits = encoder.bits("weights", layer)
            seen.add(bits)
            tensor = stored[f"{encoder.name}.{layer}.weight"]
            assert tensor.data_type == (TensorProto.INT4 if bits == 4 else TensorProto.INT8)
            assert len(tensor.raw_data) == linear.weight.numel() * bits // 8
    assert seen == {4, 8}


def test_ir_keeps_four_bits(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    model = prepared("vit")
    sizes = {}
    for bits in (4, 8):
        folder = tmp_path / str(bits)
        folder.mkdir()
        write_file(subject(model, bits_of(model, (bits, 8, 8))), "openvino", folder / "m.xml", "openvino")
        sizes[bits] = (folder / "m.bin").stat().st_size
    weights = sum(p.weight.numel() for e in model.blueprint.encoders for p in e.linear().values())
    # Half a byte less for a code, and half a byte more for the factor of a group of 16.
    assert sizes[8] - sizes[4] == pytest.approx(weights * (0.5 - 0.5 / 16), rel=0.05)


@pytest.fixture(scope="module", params=["", GROUPED_WEIGHTS], ids=["no groups", "groups"])
def deit(request: pytest.FixtureRequest, deit_tiny: Blueprint) -> tuple[PreparedModel, str]:
    """DeiT-Tiny with random weights, and what is left out of its recipe ``best``."""
    without = " ".join(name for name in INGREDIENTS if name != request.param)
    images = torch.randn(2, *deit_tiny.image_shape, generator=torch.Generator().manual_seed(0))
    recipe = recipe_named("best", without.split())
    found = calibrate_model(
        deit_tiny, lambda: [images], (4, 8), recipe, observer_named("minmax"), SCHEME, lambda share: None
    )
    model = PreparedModel(
        found.blueprint, found.calibration, SCHEME, (4, 8), "minmax", found.layers, keep_codes=True
    )
    return model, without


@pytest.mark.parametrize(("bits", "most"), [((8, 8, 8), 6.3e6), ((4, 8, 8), 3.8e6), ("mixed 1", 6.3e6)])
def test_files_are_as_large_as_the_evaluator_says(
    tmp_path: Path, deit: tuple[PreparedModel, str], bits: tuple[int, int, int] | str, most: float
) -> None:
    model, without = deit
    config = config_of(model.blueprint, SCHEME, bits)
    written = subject(model, config, without=without)
    sites = trace_sites(model.blueprint, SCHEME)
    wanted = SizeModel(model.blueprint, sites, SCHEME, written.recipe).size_bytes(config)
    for runtime in ("onnxruntime", "openvino"):
        [path] = write_file(written, "onnx", tmp_path / f"{runtime}.onnx", runtime)
        assert path.stat().st_size == pytest.approx(wanted, rel=0.02)
        assert path.stat().st_size <= most
    [path] = write_file(written, "packed", tmp_path / "m.safetensors", "")
    # Its header is padded to eight bytes, with the document or without it.
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    del header["__metadata__"]
    bare = -(-len(json.dumps(header, separators=(",", ":"))) // 8) * 8
    assert len(content) - length + bare == wanted
    assert wanted <= most


def test_scheme_of_integer_operators_has_a_golden_model_alone(tmp_path: Path) -> None:
    model = case("vit").calibration("fq-vit")
    whole = PreparedModel(case("vit").blueprint, model, "fq-vit", (4, 8), keep_codes=True)
    config = config_of(whole.blueprint, "fq-vit", (8, 8, 8))
    with pytest.raises(UserError, match=r"scheme fq-vit has integer operators .* use --scheme deploy"):
        write_file(subject(whole, config), "openvino", tmp_path / "m.xml", "openvino")
    assert not list(tmp_path.iterdir())
    written = subject(whole, config)
    [path] = write_file(written, "onnx", tmp_path / "m.onnx", "onnxruntime")
    images = case("vit").images[:8]
    got = runtime_named("onnxruntime").load(path)(images.numpy())
    np.testing.assert_array_equal(got, whole.assemble(config)(images).numpy())
    assert onnx_document(path) == written.document


def repr_of(text: str) -> str:
    return repr(text[:6])


class TestDocuments:
    def test_of_no_file_of_ours(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="carries no bit config"):
            read_document(tmp_path / "m.onnx", None)

    @pytest.mark.parametrize(
        "text", ["", "{", "[" * 100_000, " " * (LONGEST + 1), '"text"', "[]", "{}", "null"]
    )
    def test_damaged(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(UserError) as caught:
            read_document(tmp_path / "m.onnx", text)
        assert "m.onnx" in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1

    def test_preprocessing_is_what_timm_calls_it(self) -> None:
        config = {"input_size": (3, 8, 8), "mean": (0.5,), "crop_pct": 0.9, "first_conv": "patch_embed"}
        assert preprocessing_to_json(config) == {"input_size": [3, 8, 8], "mean": [0.5], "crop_pct": 0.9}


@pytest.mark.parametrize(
    ("name", "runtime", "expected"),
    [
        ("m.onnx", None, "onnxruntime"),
        ("m.onnx", "openvino", "openvino"),
        ("m.xml", None, "openvino"),
        ("m.safetensors", None, "bitfront"),
    ],
)
def test_what_runs_a_file(name: str, runtime: str | None, expected: str) -> None:
    assert runtime_for(Path(name), runtime) == expected


@pytest.mark.parametrize(("name", "runtime"), [("m.xml", "onnxruntime"), ("m.safetensors", "openvino")])
def test_what_does_not_run_a_file(name: str, runtime: str) -> None:
    with pytest.raises(UserError, match=f"{runtime} does not read"):
        runtime_for(Path(name), runtime)


def test_packed_files_are_run_by_this_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: FileContent
) -> None:
    import copy

    from bitfront.evaluators.packed import file as packed

    bare = copy.deepcopy(case("vit").module).to("meta")
    monkeypatch.setattr(packed, "model_outline", lambda name, classes, architecture: bare)
    [path] = write_file(small, "packed", tmp_path / "m.safetensors", "")
    session, images = runtime_named("bitfront").load(path), case("vit").images[:3]
    assert torch.equal(
        torch.from_numpy(session(images.numpy())), small.prepared.assemble(small.config)(images)
    )
    assert session.kernels().total == 0
