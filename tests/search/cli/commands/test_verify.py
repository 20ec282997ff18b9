"""``bitfront verify``: files beside their records, without them, moved, changed, damaged and foreign."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from exported_cases import changed, copied, scale_classifier
from onnx import TensorProto, helper

from bitfront.evaluators.context.machine import available_cpus
from bitfront.evaluators.deployment.expectation import content_digest, sidecar_of
from bitfront.evaluators.deployment.runtimes import registry as runtimes

KINDS = ("onnx", "openvino", "packed")
RECORDED = "against what the evaluator predicted when the file was exported"
AGAIN = "against the evaluator, prepared again"


@pytest.fixture
def file(exported: dict[str, Path], tmp_path: Path) -> Callable[..., Path]:
    """A copy of an exported file, with its record or without."""
    return lambda kind="onnx", sidecar=False: copied(exported[kind], tmp_path / "copy", sidecar)


@pytest.fixture
def refused(bitfront: Callable) -> Callable[..., str]:
    """Verifies what cannot be, and returns the line that says so."""

    def run(*arguments: object, status: int = 2) -> str:
        outcome = bitfront("verify", *arguments)
        assert outcome.status == status, outcome.err
        assert outcome.out == ""
        assert "internal error" not in outcome.error
        return str(outcome.error)

    return run


def document_of(model: onnx.ModelProto) -> dict[str, Any]:
    return dict(json.loads(model.metadata_props[0].value))


def set_document(model: onnx.ModelProto, document: object) -> None:
    text = document if isinstance(document, str) else json.dumps(document)
    helper.set_model_props(model, {"bitfront": text})


class TestRecorded:
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_file_beside_its_record(self, bitfront: Callable, file: Callable, kind: str) -> None:
        outcome = bitfront("verify", file(kind, sidecar=True))
        assert outcome.status == 0, outcome.err
        lines = outcome.out.splitlines()
        assert (lines[0], lines[-1]) == (RECORDED, "verified")
        assert "on 60 images" in lines[2]
        assert "preparing" not in outcome.err

    def test_neither_model_nor_weights_are_needed(
        self, bitfront: Callable, file: Callable, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def loaded(*arguments: object, **options: object) -> None:
            raise AssertionError("the model was loaded")

        monkeypatch.setattr("bitfront.evaluators.context.context.load_model", loaded)
        assert bitfront("verify", file(sidecar=True)).status == 0

    def test_json_is_the_record_again(self, bitfront: Callable, file: Callable) -> None:
        path = file(sidecar=True)
        outcome = bitfront("verify", path, "--json")
        assert outcome.status == 0, outcome.err
        found, recorded = json.loads(outcome.out), json.loads(sidecar_of(path).read_text())
        assert found.pop("against") in RECORDED
        assert found.pop("images_per_second") > 0
        assert {name: recorded[name] for name in found} == found

    def test_another_runtime(self, bitfront: Callable, file: Callable) -> None:
        outcome = bitfront("verify", file(sidecar=True), "--runtime", "openvino", "--json")
        assert outcome.status == 0, outcome.err
        found = json.loads(outcome.out)
        assert found["runtime"] == "openvino"
        assert found["kernels"]["products"] == 74

    def test_the_rest_in_bfloat16(self, bitfront: Callable, file: Callable) -> None:
        words = ("--runtime", "openvino", "--precision", "bf16", "--least-equal", "80", "--json")
        outcome = bitfront("verify", file(sidecar=True), *words)
        assert outcome.status == 0, outcome.err
        assert json.loads(outcome.out)["precision"] == "bf16"

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_file_that_has_changed(self, refused: Callable, file: Callable, kind: str) -> None:
        path = file(kind, sidecar=True)
        victim = path.with_suffix(".bin") if kind == "openvino" else path
        victim.write_bytes(victim.read_bytes() + (b"\0" if kind == "openvino" else b""))
        if kind == "onnx":
            changed(path, lambda model: setattr(model, "doc_string", "changed"))
        if kind == "packed":
            content = bytearray(path.read_bytes())
            content[-1] ^= 1
            path.write_bytes(content)
        error = refused(path)
        assert "has changed since it was verified" in error or "is not a packed model" in error

    def test_images_that_have_changed(self, refused: Callable, file: Callable) -> None:
        path = file(sidecar=True)
        record = json.loads(sidecar_of(path).read_text())
        record["evaluator"]["labels"][0] += 1
        sidecar_of(path).write_text(json.dumps(record))
        assert "the images are not those that" in refused(path)

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"[]",
            b"\xff\x00",
            b'{"format": "bitfront/verification", "version": 1}',
            b'{"format": "bitfront/verification", "version": 1, "evaluator": {"predictions": "x"}}',
            b'{"format": "bitfront/verification", "version": ' + b"9" * 5000 + b"}",
        ],
        ids=["empty", "cut", "list", "binary", "half", "types", "number"],
    )
    def test_records_that_are_damaged(self, refused: Callable, file: Callable, content: bytes) -> None:
        path = file()
        sidecar_of(path).write_bytes(content)
        assert "is no record of a verification" in refused(path)

    def test_a_record_that_is_huge(self, refused: Callable, file: Callable) -> None:
        path = file()
        with sidecar_of(path).open("wb") as record:
            record.truncate(10**9)
        assert "it is too large" in refused(path)


class TestRebuilt:
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_file_that_was_moved_without_its_record(
        self, bitfront: Callable, file: Callable, kind: str
    ) -> None:
        outcome = bitfront("verify", file(kind))
        assert outcome.status == 0, outcome.err
        lines = outcome.out.splitlines()
        assert (lines[0], lines[-1]) == (AGAIN, "verified")
        assert "preparing digits_deit (deploy, recipe best without log-base)" in outcome.err

    def test_on_request(self, bitfront: Callable, file: Callable) -> None:
        path = file(sidecar=True)
        before = sidecar_of(path).read_bytes()
        outcome = bitfront("verify", path, "--rebuild", "--json")
        assert outcome.status == 0, outcome.err
        found, recorded = json.loads(outcome.out), json.loads(before)
        assert found["against"] in AGAIN
        for name in ("top1", "evaluator_top1", "equal_predictions", "evaluator_kernels_equal"):
            assert found[name] == recorded[name]
        assert sidecar_of(path).read_bytes() == before

    @pytest.mark.parametrize(("split", "images"), [("search", 40), ("calibration", 32), ("all", 132)])
    def test_other_images(self, bitfront: Callable, file: Callable, split: str, images: int) -> None:
        outcome = bitfront("verify", file(sidecar=True), "--split", split, "--json")
        assert outcome.status == 0, outcome.err
        found = json.loads(outcome.out)
        assert found["images"] == images
        assert found["against"] in AGAIN

    def test_a_file_that_has_changed(self, bitfront: Callable, file: Callable) -> None:
        path = changed(file(sidecar=True), lambda model: scale_classifier(model, -1.0))
        outcome = bitfront("verify", path, "--rebuild")
        assert outcome.status == 1
        assert "NOT VERIFIED: top-1 is -" in outcome.out
        found = json.loads(bitfront("verify", path, "--rebuild", "--json").out)
        assert found["passed"] is False
        assert len(found["faults"]) == 2

    def test_a_change_that_no_prediction_shows(self, bitfront: Callable, file: Callable) -> None:
        path = changed(file(), lambda model: scale_classifier(model, 1.001))
        assert bitfront("verify", path).status == 0

    def test_a_change_that_few_predictions_show(self, bitfront: Callable, file: Callable) -> None:
        factors = np.where(np.arange(10) == 3, 0.0, 1.0)
        path = changed(file(), lambda model: scale_classifier(model, factors))
        outcome = bitfront("verify", path)
        assert outcome.status == 1
        assert "of predictions are the evaluator's" in outcome.out

    def test_nan(self, refused: Callable, file: Callable) -> None:
        path = changed(file(), lambda model: scale_classifier(model, float("nan")))
        assert "yields no logits" in refused(path, status=1)


@pytest.fixture(scope="module")
def impostor(exported: dict[str, Path]) -> Callable[..., onnx.ModelProto]:
    """A little model with the document of an exported one."""
    document = document_of(onnx.load(exported["onnx"]))

    def build(shape: tuple[int | str, ...] = ("batch", 1, 16, 16), kind: int = TensorProto.FLOAT):
        x = helper.make_tensor_value_info("x", kind, list(shape))
        y = helper.make_tensor_value_info("y", kind, None)
        graph = helper.make_graph([helper.make_node("Flatten", ["x"], ["y"])], "g", [x], [y])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        set_document(model, document)
        return model

    return build


class TestForeignFiles:
    @pytest.mark.parametrize("ending", [".onnx", ".xml", ".safetensors"])
    @pytest.mark.parametrize(
        "content",
        [b"", b"\0" * 4000, os.urandom(64) * 50, b"hello\n", b"<html><body>404</body></html>", b"\x80\x04N."],
        ids=["empty", "zeros", "noise", "text", "html", "pickle"],
    )
    def test_what_is_no_model(self, refused: Callable, tmp_path: Path, ending: str, content: bytes) -> None:
        pytest.importorskip("openvino")
        path = tmp_path / f"m{ending}"
        path.write_bytes(content)
        assert f"m{ending}" in refused(path)

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
    def test_truncated(self, refused: Callable, file: Callable, kind: str, share: float) -> None:
        path = file(kind)
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        assert path.name in refused(path)

    @pytest.mark.parametrize("name", ["m.onnx", "m.xml", "m.safetensors", "m" * 300 + ".onnx"])
    def test_missing(self, refused: Callable, tmp_path: Path, name: str) -> None:
        assert name in refused(tmp_path / name)

    @pytest.mark.parametrize("name", ["m.pt", "m", "m.bin", "m.onnx.verification.json"])
    def test_other_endings(self, refused: Callable, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(b"x")
        assert "expected a file that bitfront export wrote (.onnx, .xml, .safetensors)" in refused(
            tmp_path / name
        )

    def test_folder(self, refused: Callable, tmp_path: Path) -> None:
        (tmp_path / "m.onnx").mkdir()
        assert "no such file" in refused(tmp_path / "m.onnx")

    def test_onnx_of_somebody_else(self, refused: Callable, tmp_path: Path, impostor: Callable) -> None:
        model = impostor()
        del model.metadata_props[:]
        onnx.save(model, tmp_path / "m.onnx")
        assert "carries no bit config" in refused(tmp_path / "m.onnx")

    def test_safetensors_of_somebody_else(self, refused: Callable, tmp_path: Path) -> None:
        import torch
        from safetensors.torch import save_file

        save_file({"weight": torch.zeros(3)}, tmp_path / "m.safetensors")
        assert "is not a packed model" in refused(tmp_path / "m.safetensors")

    def test_another_model_with_our_document(
        self, bitfront: Callable, tmp_path: Path, impostor: Callable
    ) -> None:
        onnx.save(impostor(), tmp_path / "m.onnx")
        outcome = bitfront("verify", tmp_path / "m.onnx")
        assert outcome.status == 1
        assert "NOT VERIFIED" in outcome.out

    @pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
    def test_a_model_of_other_images(
        self, refused: Callable, tmp_path: Path, impostor: Callable, runtime: str
    ) -> None:
        onnx.save(impostor(("batch", 3, 8, 8)), tmp_path / "m.onnx")
        error = refused(tmp_path / "m.onnx", "--runtime", runtime, status=1)
        # OpenVINO reads the numbers all the same where a batch of other images has as many.
        assert f"{runtime} cannot classify these images" in error or "the file yields no logits" in error

    def test_a_model_without_inputs(self, refused: Callable, tmp_path: Path, impostor: Callable) -> None:
        model = impostor()
        model.graph.initializer.append(helper.make_tensor("x", TensorProto.FLOAT, [1, 2], [0.0, 1.0]))
        del model.graph.input[:]
        onnx.save(model, tmp_path / "m.onnx")
        assert "cannot be loaded by onnxruntime" in refused(tmp_path / "m.onnx")

    @pytest.mark.parametrize("where", ["initializer", "attribute"])
    def test_tensors_in_other_files(
        self, refused: Callable, tmp_path: Path, impostor: Callable, where: str
    ) -> None:
        location = onnx.StringStringEntryProto(key="location", value="../../../etc/passwd")
        elsewhere = onnx.TensorProto(
            name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=1, external_data=[location]
        )
        model = impostor()
        if where == "initializer":
            model.graph.initializer.append(elsewhere)
        else:
            model.graph.node.append(helper.make_node("Constant", [], ["w"], value=elsewhere))
        onnx.save(model, tmp_path / "m.onnx")
        assert "takes tensors from other files" in refused(tmp_path / "m.onnx")


class TestIntermediateRepresentation:
    def test_without_constants(self, refused: Callable, file: Callable) -> None:
        path = file("openvino")
        path.with_suffix(".bin").unlink()
        assert "m.xml cannot be loaded by openvino" in refused(path)

    @pytest.mark.parametrize("kept", [0, 1000, -1])
    def test_with_too_few_constants(self, refused: Callable, file: Callable, kept: int) -> None:
        path = file("openvino")
        constants = path.with_suffix(".bin")
        constants.write_bytes(constants.read_bytes()[:kept])
        assert "m.xml cannot be loaded by openvino" in refused(path)

    @pytest.mark.parametrize(
        ("pattern", "replacement"),
        [
            (r'offset="\d+"', 'offset="99999999999"'),
            (r'size="\d+"', 'size="99999999999999999999"'),
            (r'shape="[^"]*"', 'shape="-5,9999999"'),
        ],
    )
    def test_places_outside_of_the_constants(
        self, refused: Callable, file: Callable, pattern: str, replacement: str
    ) -> None:
        path = file("openvino")
        path.write_text(re.sub(pattern, replacement, path.read_text(), count=5))
        assert "m.xml cannot be loaded by openvino" in refused(path)

    @pytest.mark.parametrize(
        ("replacement", "part"),
        [
            ("", "carries no bit config"),
            ('<document value="{"/>', "carries a damaged bit config"),
            ("<document><inner value='1'/></document>", "damaged"),
        ],
    )
    def test_documents(self, refused: Callable, file: Callable, replacement: str, part: str) -> None:
        path = file("openvino")
        path.write_text(re.sub(r'<document value="[^"]*" ?/>', replacement, path.read_text()))
        assert part in refused(path)

    @pytest.mark.timeout(20)
    @pytest.mark.parametrize("beginning", ["", '<?xml version="1.0"?>'])
    def test_bombs(self, refused: Callable, tmp_path: Path, beginning: str) -> None:
        pytest.importorskip("openvino")
        entities = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
        path = tmp_path / "m.xml"
        path.write_text(
            f'{beginning}<!DOCTYPE net [<!ENTITY a0 "ha">{entities}]>'
            '<net name="&a11;" version="11"><layers></layers><edges></edges></net>'
        )
        assert "m.xml" in refused(path)


class TestDocuments:
    @pytest.fixture
    def documented(self, file: Callable) -> Callable[..., Path]:
        """A file whose document is changed, with a record that fits it or without."""

        def build(path: tuple[str | int, ...], value: object, recorded: bool) -> Path:
            found = file(sidecar=True)

            def change(model: onnx.ModelProto) -> None:
                document = inner = document_of(model)
                for key in path[:-1]:
                    inner = inner[key]
                inner[path[-1]] = value
                set_document(model, document)

            changed(found, change)
            record = json.loads(sidecar_of(found).read_text())
            if recorded:
                sidecar_of(found).write_text(json.dumps({**record, "sha256": content_digest([found])}))
            else:
                sidecar_of(found).unlink()
            return found

        return build

    @pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "null", "[]", "{}", '"text"', "9" * 5000])
    def test_that_are_none(self, refused: Callable, file: Callable, text: str) -> None:
        path = changed(file(), lambda model: set_document(model, text))
        assert "m.onnx carries a d" in refused(path)

    @pytest.mark.parametrize("recorded", [True, False])
    @pytest.mark.parametrize(
        ("path", "value"),
        [
            (("provenance",), None),
            (("provenance",), [1]),
            (("provenance", "evaluation"), 5),
            (("provenance", "evaluation"), "x"),
            (("provenance", "evaluation"), []),
            (("provenance", "evaluation", "widths"), ["a"]),
            (("provenance", "evaluation", "widths"), [9999]),
            (("provenance", "evaluation", "seed"), -1),
            (("provenance", "evaluation", "without"), [5]),
            (("provenance", "evaluation", "calibration_images"), -3),
            (("provenance", "evaluation", "test_images"), 10**9),
            (("provenance", "evaluation", "threads"), "2"),
            (("provenance", "evaluation", "data"), "/etc/passwd"),
            (("provenance", "evaluation", "scheme"), "fq-vit"),
            (("provenance", "evaluation", "model"), "resnet18"),
            (("provenance", "evaluation", "colour"), "blue"),
            (("model",), "digits_vit"),
            (("encoders",), []),
            (("encoders", 0, "weights"), "8"),
        ],
        ids=str,
    )
    def test_that_say_what_cannot_be(
        self,
        refused: Callable,
        documented: Callable,
        path: tuple[str | int, ...],
        value: object,
        recorded: bool,
    ) -> None:
        refused(documented(path, value, recorded))

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("input_size", [1, -16, 16]),
            ("input_size", [1, 10**7, 10**7]),
            ("input_size", [1, 16]),
            ("input_size", "abc"),
            ("mean", "x"),
            ("mean", []),
            ("mean", [float("nan")]),
            ("std", [0.0]),
            ("std", 5),
            ("interpolation", "magic"),
            ("interpolation", {}),
            ("crop_pct", 0),
            ("crop_pct", "a"),
            ("crop_mode", None),
        ],
        ids=str,
    )
    def test_preprocessing(self, refused: Callable, documented: Callable, name: str, value: object) -> None:
        path = documented(("provenance", "preprocessing", name), value, True)
        assert "does not say how images are preprocessed" in refused(path)

    def test_images_of_another_size(self, refused: Callable, documented: Callable) -> None:
        path = documented(("provenance", "preprocessing", "input_size"), [1, 8, 8], True)
        assert "onnxruntime cannot classify these images" in refused(path, status=1)


class TestOptions:
    @pytest.mark.parametrize(
        ("kind", "options", "part"),
        [
            ("onnx", ("--precision", "bf16"), "--precision bf16: onnxruntime computes in f32 only"),
            ("packed", ("--precision", "bf16"), "--precision bf16: bitfront computes in f32 only"),
            ("packed", ("--runtime", "openvino"), "openvino does not read .safetensors files"),
            ("openvino", ("--runtime", "onnxruntime"), "onnxruntime does not read .xml files"),
            ("onnx", ("--split", "train"), "invalid choice: 'train'"),
            ("onnx", ("--threads", "0"), "'0' is not a whole number above 0"),
            ("onnx", ("--threads", str(available_cpus() + 1)), "processors here"),
            ("onnx", ("--top1-tolerance", "-1"), "'-1' is not a number from 0 to 100"),
            ("onnx", ("--least-equal", "nan"), "'nan' is not a number from 0 to 100"),
            ("onnx", ("--data", "nowhere"), "no such data: 'nowhere'"),
            ("onnx", ("--checkpoint", "gone.pth"), "no such checkpoint: gone.pth"),
        ],
        ids=str,
    )
    def test_mistakes(
        self, refused: Callable, file: Callable, kind: str, options: tuple[str, ...], part: str
    ) -> None:
        assert part in refused(file(kind, sidecar=True), *options)

    @pytest.mark.parametrize("kind", ["onnx", "openvino"])
    def test_a_missing_runtime(
        self, refused: Callable, file: Callable, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        monkeypatch.setattr(runtimes, "runtime_is_installed", lambda name: False)
        assert "is not installed: pip install" in refused(file(kind, sidecar=True))

    def test_data_that_have_moved(self, bitfront: Callable, refused: Callable, file: Callable) -> None:
        path = file(sidecar=True)
        assert bitfront("verify", path, "--data", "digits").status == 0

    def test_nothing_is_written(self, bitfront: Callable, file: Callable, tmp_path: Path) -> None:
        path = file("openvino", sidecar=True)
        before = sorted(found.name for found in path.parent.iterdir())
        assert bitfront("verify", path).status == 0
        assert sorted(found.name for found in path.parent.iterdir()) == before


def test_fixture_files_are_as_they_were(exported: dict[str, Path], bitfront: Callable) -> None:
    """The tests above copy them."""
    for path in exported.values():
        assert bitfront("verify", path).status == 0
