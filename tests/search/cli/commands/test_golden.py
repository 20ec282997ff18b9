"""Golden models of scheme ``fq-vit`` from the command line: exported, and verified to the bit."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import onnx
import pytest
from exported_cases import changed, copied
from onnx import numpy_helper

from bitfront.evaluators.deployment.expectation import Sidecar, sidecar_of
from bitfront.evaluators.deployment.registry import file_document
from bitfront.search.cli.main import main

IMAGES = 60


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Path]) -> Path:
    """The knee of a run that was not searched at all; to be copied, not to be changed."""
    root, images = tmp_path_factory.mktemp("golden"), {"calibration_images": 32, "search_images": 40}
    recipe = {"recipe": "fq-vit", "without": []}
    make_run(root, name="g", count=60, scheme="fq-vit", threads=1, test_images=IMAGES, **images, **recipe)
    path = root / "m.onnx"
    words = ["export", "g", "--runs-dir", root, "--format", "onnx", "--output", path, "--json"]
    with redirect_stdout(io.StringIO()) as out:
        assert main([str(word) for word in words]) == 0
    found = json.loads(out.getvalue())["verification"]
    assert found["to_the_bit"] is found["passed"] is True
    assert found["bit_equal_images"] == found["images"] == IMAGES
    return path


def by_one_bit(model: onnx.ModelProto) -> None:
    """Changes the scale of the logits to the next float32 number."""
    [last] = [node for node in model.graph.node if node.output[0] == "logits"]
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    scale = numpy_helper.to_array(stored[last.input[1]])
    more = np.nextafter(scale, np.float32(np.inf)).astype(np.float32)
    added = numpy_helper.from_array(more, "changed")
    model.graph.initializer.append(added)
    last.input[1] = "changed"


def test_its_record_has_every_images_logits(golden: Path) -> None:
    record = Sidecar.read(sidecar_of(golden))
    assert record.report["largest_top1_difference"] == 0.0
    assert record.report["least_equal_predictions"] == 100.0
    assert record.expected.digests is not None
    assert len(record.expected.digests) == IMAGES
    assert file_document(golden)["scheme"] == "fq-vit"


def test_verified_by_its_record_alone(bitfront: Callable, golden: Path, tmp_path: Path) -> None:
    outcome = bitfront("verify", copied(golden, tmp_path, sidecar=True))
    assert outcome.status == 0, outcome.err
    assert "against what the evaluator predicted when the file was exported" in outcome.out
    assert (
        "all logits equal to the evaluator's to the bit on 60 of 60 images (all are asked for)" in outcome.out
    )
    assert "note: a golden model" in outcome.out
    assert outcome.out.splitlines()[-1] == "verified"


def test_one_bit_in_the_logits_is_told(bitfront: Callable, golden: Path, tmp_path: Path) -> None:
    path = changed(copied(golden, tmp_path), by_one_bit)
    outcome = bitfront("verify", path, "--least-equal", "0", "--top1-tolerance", "100")
    assert outcome.status == 1, outcome.err
    assert "NOT VERIFIED: the outputs of 60 images of 60 are not the evaluator's to the bit" in outcome.out
    found = json.loads(bitfront("verify", path, "--json").out)
    assert (found["equal_predictions"], found["bit_equal_images"], found["passed"]) == (100.0, 0, False)


def test_another_runtime(bitfront: Callable, golden: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    outcome = bitfront("verify", copied(golden, tmp_path, sidecar=True), "--runtime", "openvino")
    assert outcome.status == 2
    assert "scheme fq-vit runs in onnxruntime alone" in outcome.error
