"""Formats by name: which are models, what they are called, and what is refused before anything is loaded."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bitfront.evaluators.deployment.mappings.registry import MAPPINGS
from bitfront.evaluators.deployment.registry import (
    FORMATS,
    MODEL_SUFFIXES,
    ConfigFormat,
    ModelFormat,
    exports_of,
    files_of,
    format_named,
    format_of,
)
from bitfront.evaluators.deployment.runtimes.registry import BITFRONT, RUNTIMES, runtime_named
from bitfront.evaluators.deployment.tolerance import Tolerance
from bitfront.spaces import BitConfig, EncoderBits, UserError


def test_a_format_is_a_model_or_a_document() -> None:
    models = {name for name, kind in FORMATS.items() if isinstance(kind, ModelFormat)}
    assert models == {"onnx", "openvino", "packed"}
    assert set(FORMATS) - models == {"json", *MAPPINGS}
    assert len(set(MODEL_SUFFIXES)) == len(models)
    assert all(kind.summary for kind in FORMATS.values())


def test_what_runs_a_model_is_a_runtime_that_reads_its_ending() -> None:
    for kind in FORMATS.values():
        if isinstance(kind, ModelFormat):
            assert set(kind.runtimes) <= {*RUNTIMES, BITFRONT}
    packed = runtime_named(BITFRONT)
    assert (packed.name, packed.precisions) == (BITFRONT, ("f32",))
    assert packed.suffixes == (FORMATS["packed"].suffix,)


def test_the_json_format_is_the_bit_config() -> None:
    config = BitConfig("m", "deploy", (EncoderBits(0, "blocks.0", 8, 4, 8),))
    form = format_named("json")
    assert isinstance(form, ConfigFormat)
    assert form.document(config, {"top1": 90.0}, {"run": "r"}) == config.to_json({"top1": 90.0}, {"run": "r"})


def test_unknown_formats_and_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown format 'tflite': choose one of json, onnx"):
        format_named("tflite")
    with pytest.raises(UserError, match=r"has the ending '.pt': expected .* \(.onnx, .xml, .safetensors\)"):
        format_of(tmp_path / "m.pt")
    with pytest.raises(UserError, match="no such file"):
        format_of(tmp_path / "m.onnx")


def test_graph_formats_refuse_schemes_that_no_runtime_executes() -> None:
    pytest.importorskip("onnxruntime")
    onnx, packed = format_named("onnx"), format_named("packed")
    assert isinstance(onnx, ModelFormat)
    assert isinstance(packed, ModelFormat)
    onnx.check("deploy", "onnxruntime")
    packed.check("fq-vit", BITFRONT)
    onnx.check("fq-vit", "onnxruntime")
    openvino = format_named("openvino")
    assert isinstance(openvino, ModelFormat)
    for form in (onnx, openvino):
        with pytest.raises(UserError, match=r"scheme fq-vit runs in onnxruntime alone, .* --scheme deploy"):
            form.check("fq-vit", "openvino")


def test_golden_files_are_held_to_the_bit_and_others_to_what_was_asked() -> None:
    onnx, packed = format_named("onnx"), format_named("packed")
    assert isinstance(onnx, ModelFormat)
    assert isinstance(packed, ModelFormat)
    asked = Tolerance(1.0, 90.0)
    assert onnx.tolerance("deploy", asked) == packed.tolerance("fq-vit", asked) == asked
    exact = onnx.tolerance("fq-vit", asked)
    assert (exact.exact, exact.share, exact.equal) == (True, 0.0, 100.0)


def test_an_openvino_model_is_two_files(tmp_path: Path) -> None:
    path = tmp_path / "m.xml"
    assert files_of(path) == [path]
    (tmp_path / "m.bin").touch()
    assert files_of(path) == [path, tmp_path / "m.bin"]
    assert files_of(tmp_path / "m.onnx") == [tmp_path / "m.onnx"]


def test_names_load_no_library() -> None:
    code = (
        "import sys; import bitfront.evaluators.deployment.registry; "
        "print([name for name in ('numpy', 'torch', 'onnx', 'openvino') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_exports_of_a_scheme_are_those_that_are_not_refused() -> None:
    known = {name: found for name, found in FORMATS.items() if isinstance(found, ModelFormat)}
    for scheme in ("deploy", "fq-vit"):
        words = exports_of(scheme).split(";")[0]
        for name, found in known.items():
            for runtime in found.runtimes:
                allowed = runtime in found.executed.get(scheme, ())
                assert (re.search(rf"\b{name} \([^)]*\b{runtime}\b", words) is not None) == allowed
    assert exports_of("fq-vit").startswith("onnx (for onnxruntime, to the bit)")
    assert exports_of("deploy").endswith("; their bits alone as json, torchao, nncf, modelopt")
