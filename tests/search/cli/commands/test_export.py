"""``bitfront export`` in every format that computes: what is written, verified, and refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from exported_cases import SIDECAR, scale_classifier

from bitfront.evaluators.deployment import graph_files
from bitfront.evaluators.deployment.expectation import Sidecar, sidecar_of
from bitfront.evaluators.deployment.registry import file_document
from bitfront.evaluators.deployment.runtimes import registry as runtimes
from bitfront.search.export.selection import chosen_row
from bitfront.search.runs.reader import RecordedRun
from bitfront.spaces import BitConfig

ENDINGS = {"onnx": ".onnx", "openvino": ".xml", "packed": ".safetensors"}
LIBRARIES = {"onnx": "onnxruntime", "openvino": "openvino"}
Export = Callable[..., object]


@pytest.fixture
def export(bitfront: Callable, deploy_runs: Path) -> Callable:
    def run(*arguments: object, name: str = "small"):
        return bitfront("export", name, "--runs-dir", deploy_runs, *arguments)

    return run


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


@pytest.mark.parametrize("name", ENDINGS)
def test_what_is_written(exported: dict[str, Path], deploy_runs: Path, name: str) -> None:
    path = exported[name]
    run = RecordedRun.read(deploy_runs, "small")
    row = chosen_row(run, "knee")
    document = file_document(path)
    assert BitConfig.from_json(document).digest == row["digest"]
    assert document["measured"]["size_bytes"] == row["size_bytes"]
    assert document["provenance"]["trial"] == row["trial"]
    assert document["provenance"]["evaluation"]["scheme"] == "deploy"
    assert document["provenance"]["preprocessing"]["input_size"] == [1, 16, 16]
    assert sidecar_of(path).exists()


def test_nothing_else_is_written(exported: dict[str, Path]) -> None:
    records = [f"m{ending}{SIDECAR}" for ending in ENDINGS.values()]
    assert left(exported["onnx"].parent) == sorted(["m.bin", *(f"m{e}" for e in ENDINGS.values()), *records])


@pytest.mark.parametrize("name", ENDINGS)
def test_record_beside_the_file(exported: dict[str, Path], name: str) -> None:
    path = exported[name]
    record = Sidecar.read(sidecar_of(path))
    report = record.report
    assert record.splits == ("test",)
    assert report["images"] == len(record.expected.labels) == 60
    assert report["passed"] is True
    assert report["faults"] == []
    assert report["runtime"] == {"onnx": "onnxruntime", "openvino": "openvino", "packed": "bitfront"}[name]
    assert report["runtime_version"]
    assert abs(report["top1_difference"]) <= report["largest_top1_difference"]
    assert report["equal_predictions"] >= report["least_equal_predictions"]
    assert (report["evaluator_kernels_equal"] is None) == (name == "packed")
    if name == "packed":
        assert report["equal_predictions"] == 100.0
        assert report["kernels"]["products"] == 0
    else:
        # Twelve encoders of four layers and two products, the embedding and the head.
        assert report["kernels"]["products"] == 74
        assert any("stored in 4 bits" in note for note in report["notes"])


def test_what_a_person_is_told(export: Callable, tmp_path: Path, exported: dict[str, Path]) -> None:
    path = tmp_path / "m.onnx"
    outcome = export("--format", "onnx", "--uniform", "W4A8T4", "--output", path)
    assert outcome.status == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0] == str(path)
    assert lines[1].startswith("m.onnx: 0.1")
    assert lines[1].endswith("62 of 74 matrix products on integer kernels")
    assert "points on 60 images (allowed " in lines[2]
    assert "the evaluator's two sets of kernels agree on " in lines[3]
    notes = [line for line in lines if line.startswith("note: ")]
    assert any("narrow weights of 12 encoders are stored in 4 bits" in note for note in notes)
    assert any("attention: that of 12 encoders is computed in float" in note for note in notes)
    assert "note: 12 of 74 matrix products run on float kernels" in notes
    assert not any("activations" in note for note in notes)
    assert lines[-1] == "verified"
    assert f"bitfront verify {path}" in outcome.err


def test_json_has_everything(export: Callable, tmp_path: Path, deploy_runs: Path) -> None:
    path = tmp_path / "deep" / "m.safetensors"
    words = ("--format", "packed", "--uniform", "w8a8t8", "--output", path, "--json")
    assert "there is no folder" in export(*words).error
    path.parent.mkdir()
    outcome = export(*words)
    assert outcome.status == 0, outcome.err
    found = json.loads(outcome.out)
    assert (found["run"], found["trial"], found["format"], found["path"]) == (
        "small", None, "packed", str(path),
    )  # fmt: skip
    assert found["measured"] == {}
    assert found["digest"] == BitConfig.from_json(file_document(path)).digest
    report = found["verification"]
    assert report["evaluator_size_bytes"] < report["file_bytes"] == path.stat().st_size
    recorded = json.loads(sidecar_of(path).read_text())
    assert {name: recorded[name] for name in report} == report


def test_default_place_and_runtime(export: Callable, deploy_runs: Path) -> None:
    pytest.importorskip("openvino")
    outcome = export("--format", "onnx", "--runtime", "openvino", "--pick", "size", "--json")
    assert outcome.status == 0, outcome.err
    found = json.loads(outcome.out)
    folder = deploy_runs / "small" / "exports" / f"size-{found['digest']}-onnx-openvino"
    assert (Path(found["folder"]), Path(found["path"])) == (folder, folder / "model.onnx")
    assert found["verification"]["runtime"] == "openvino"


def test_dialects_differ_and_runs_repeat(export: Callable, exported: dict[str, Path], tmp_path: Path) -> None:
    assert export("--format", "onnx", "--output", tmp_path / "a.onnx").status == 0
    assert (tmp_path / "a.onnx").read_bytes() == exported["onnx"].read_bytes()
    outcome = export("--format", "onnx", "--runtime", "openvino", "--output", tmp_path / "b.onnx")
    assert outcome.status == 0, outcome.err
    assert (tmp_path / "b.onnx").read_bytes() != exported["onnx"].read_bytes()


@pytest.mark.parametrize("name", ENDINGS)
def test_other_files_are_kept(export: Callable, tmp_path: Path, name: str, exported: dict) -> None:
    path = tmp_path / f"m{ENDINGS[name]}"
    path.write_text("precious")
    outcome = export("--format", name, "--output", path)
    assert outcome.status == 2
    assert f"{path} exists and holds something else" in outcome.error
    assert "--force" in outcome.error
    assert path.read_text() == "precious"
    assert left(tmp_path) == [path.name]
    assert export("--format", name, "--output", path, "--force").status == 0
    assert path.stat().st_size > 100_000


def test_constants_of_another_model_are_kept(
    export: Callable, tmp_path: Path, exported: dict[str, Path]
) -> None:
    (tmp_path / "m.bin").write_text("precious")
    outcome = export("--format", "openvino", "--output", tmp_path / "m.xml")
    assert outcome.status == 2
    assert "m.bin exists and holds something else" in outcome.error
    assert left(tmp_path) == ["m.bin"]


def test_the_same_file_may_be_written_again(
    export: Callable, tmp_path: Path, exported: dict[str, Path]
) -> None:
    words = ("--format", "openvino", "--output", tmp_path / "m.xml")
    assert export(*words).status == 0
    before = {path.name: path.read_bytes() for path in tmp_path.glob("m.[xb]*[ln]")}
    assert {"m.xml", "m.bin"} <= set(before)
    assert export(*words).status == 0
    for name in ("m.xml", "m.bin"):
        assert (tmp_path / name).read_bytes() == before[name]


class TestNothingIsPrepared:
    """Mistakes that are told in one line before any work is done, with nothing left behind."""

    @pytest.fixture
    def refused(self, export: Callable, tmp_path: Path) -> Callable[..., str]:
        def run(*arguments: object, name: str = "small") -> str:
            outcome = export(*arguments, name=name)
            assert outcome.status == 2, outcome.err
            assert outcome.out == ""
            assert outcome.err.count("\n") == 1, "something was prepared"
            return str(outcome.error)

        return run

    @pytest.mark.parametrize("name", ["onnx", "openvino"])
    def test_scheme_of_integer_operators_in_openvino(
        self, refused: Callable, tmp_path: Path, name: str
    ) -> None:
        pytest.importorskip("openvino")
        output = "--output", tmp_path / f"m{ENDINGS[name]}"
        error = refused("--format", name, "--runtime", "openvino", *output, name="integers")
        assert "scheme fq-vit runs in onnxruntime alone, which computes doubles as doubles" in error
        assert "--format onnx without --runtime, or search with --scheme deploy" in error
        assert left(tmp_path) == []

    @pytest.mark.parametrize("name", ENDINGS)
    def test_another_ending(self, refused: Callable, tmp_path: Path, name: str) -> None:
        error = refused("--format", name, "--output", tmp_path / "m.pt")
        assert f"m.pt needs the ending {ENDINGS[name]} for --format {name}" in error
        assert left(tmp_path) == []

    @pytest.mark.parametrize("name", ENDINGS)
    def test_a_folder_that_is_none(self, refused: Callable, tmp_path: Path, name: str) -> None:
        if name in LIBRARIES:
            pytest.importorskip(LIBRARIES[name])
        (tmp_path / "file").write_text("not a folder")
        assert "cannot write" in refused(
            "--format", name, "--output", tmp_path / "file" / f"m{ENDINGS[name]}"
        )
        assert left(tmp_path) == ["file"]

    def test_a_folder_in_the_place_of_the_file(self, refused: Callable, tmp_path: Path) -> None:
        (tmp_path / "m.safetensors").mkdir()
        error = refused("--format", "packed", "--output", tmp_path / "m.safetensors")
        assert "m.safetensors: it is a folder" in error
        assert left(tmp_path) == ["m.safetensors"]

    def test_a_name_that_is_too_long(self, refused: Callable, tmp_path: Path) -> None:
        error = refused("--format", "packed", "--output", tmp_path / ("n" * 300 + ".safetensors"))
        assert "file name too long" in error
        assert left(tmp_path) == []

    @pytest.mark.parametrize("name", LIBRARIES)
    def test_a_missing_runtime(
        self, refused: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.setattr(runtimes, "runtime_is_installed", lambda name: False)
        error = refused("--format", name, "--output", tmp_path / f"m{ENDINGS[name]}")
        assert f"{LIBRARIES[name]} is not installed: pip install" in error
        assert left(tmp_path) == []

    @pytest.mark.parametrize(
        ("options", "part"),
        [
            (("--format", "openvino", "--runtime", "onnxruntime"), "onnxruntime does not read .xml files"),
            (("--format", "packed", "--runtime", "openvino"), "openvino does not read .safetensors files"),
            (("--format", "packed", "--uniform", "W3A8T8"), "has the widths 4, 8, not 3"),
            (("--format", "packed", "--uniform", "W8A8"), "'W8A8' is not a uniform assignment"),
            (("--format", "packed", "--uniform", "W9A8T8"), "W9 is no format of weights: use 2 to 8 bits"),
            (("--format", "packed", "--pick", "best"), "--pick 'best' is no choice"),
            (("--uniform", "W8A8T8", "--pick", "size"), "not allowed with argument"),
            (("--format", "tflite"), "invalid choice: 'tflite'"),
            (("--format", "packed", "--least-equal", "101"), "'101' is not a number from 0 to 100"),
            (("--format", "packed", "--data", "nowhere"), "no such data: 'nowhere'"),
            (("--format", "packed", "--checkpoint", "gone.pth"), "gone.pth"),
        ],
        ids=str,
    )
    def test_mistakes(
        self,
        refused: Callable,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        options: tuple[str, ...],
        part: str,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        ending = ENDINGS.get(options[1], ".json")
        assert part in refused(*options, "--output", tmp_path / f"m{ending}")
        assert left(tmp_path) == []


class TestDamagedRuns:
    @pytest.fixture
    def damaged(self, bitfront: Callable, run_folder: Callable, tmp_path: Path) -> Callable[..., str]:
        def run(change: Callable[[dict], object]) -> str:
            folder = run_folder(tmp_path, name="d", count=40, scheme="deploy")
            spec = json.loads((folder / "spec.json").read_text())
            change(spec["evaluation"])
            (folder / "spec.json").write_text(json.dumps(spec))
            outcome = bitfront("export", "d", "--runs-dir", tmp_path, "--format", "packed")
            assert outcome.status == 2, outcome.err
            assert not list(folder.glob("exports/*"))
            return str(outcome.error)

        return run

    def test_a_run_from_before_recipes(self, damaged: Callable) -> None:
        assert "run d was searched by an earlier version" in damaged(lambda spec: spec.pop("recipe"))

    @pytest.mark.parametrize("value", ["4,8", [4, "8"], 5, None])
    def test_widths_that_are_none(self, damaged: Callable, value: object) -> None:
        error = damaged(lambda spec: spec.update(widths=value))
        assert "spec.json is damaged" in error

    def test_a_field_that_nobody_knows(self, damaged: Callable) -> None:
        assert "spec.json is damaged" in damaged(lambda spec: spec.update(colour="blue"))


class TestFailedVerification:
    """A file that is not what was evaluated is told from one that is, and kept."""

    @pytest.fixture
    def doctored(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable], None]:
        def doctor(change: Callable[[onnx.ModelProto], object]) -> None:
            proper = graph_files.onnx_bytes

            def wrong(*arguments: object) -> bytes:
                model = onnx.load_from_string(proper(*arguments))  # type: ignore[arg-type]
                change(model)
                return model.SerializeToString()

            monkeypatch.setattr(graph_files, "onnx_bytes", wrong)

        return doctor

    def test_it_is_kept_with_its_faults_beside_it(
        self, export: Callable, doctored: Callable, tmp_path: Path, exported: dict[str, Path]
    ) -> None:
        path = tmp_path / "m.onnx"
        doctored(lambda model: scale_classifier(model, -1.0))
        outcome = export("--format", "onnx", "--output", path)
        assert outcome.status == 1
        assert "NOT VERIFIED: top-1 is -" in outcome.out
        assert "% of predictions are the evaluator's, less than" in outcome.out
        assert left(tmp_path) == ["m.onnx", f"m.onnx{SIDECAR}"]
        record = json.loads(sidecar_of(path).read_text())
        assert record["passed"] is False
        assert len(record["faults"]) == 2
        assert record["top1"] < 50 < record["evaluator_top1"]

    def test_json(
        self, export: Callable, doctored: Callable, tmp_path: Path, exported: dict[str, Path]
    ) -> None:
        doctored(lambda model: scale_classifier(model, -1.0))
        outcome = export("--format", "onnx", "--output", tmp_path / "m.onnx", "--json")
        assert outcome.status == 1
        assert json.loads(outcome.out)["verification"]["passed"] is False

    def test_a_wide_tolerance(
        self, export: Callable, doctored: Callable, tmp_path: Path, exported: dict[str, Path]
    ) -> None:
        doctored(lambda model: scale_classifier(model, -1.0))
        tolerant = ("--top1-tolerance", "100", "--least-equal", "0")
        outcome = export("--format", "onnx", "--output", tmp_path / "m.onnx", *tolerant)
        assert outcome.status == 0, outcome.err

    def test_logits_that_are_not_finite(
        self, export: Callable, doctored: Callable, tmp_path: Path, exported: dict[str, Path]
    ) -> None:
        doctored(lambda model: scale_classifier(model, float("nan")))
        outcome = export("--format", "onnx", "--output", tmp_path / "m.onnx")
        assert outcome.status == 1
        assert "the file yields no logits for image 0 on: expected finite numbers" in outcome.error
        assert (tmp_path / "m.onnx").exists()
        assert not list(tmp_path.glob(".*"))


def test_interrupted_while_writing(export: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> bytes:
        raise KeyboardInterrupt

    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(graph_files, "onnx_bytes", interrupted)
    outcome = export("--format", "onnx", "--output", tmp_path / "m.onnx")
    assert outcome.status == 130
    assert left(tmp_path) == []


def test_packed_files_hold_both_schemes(export: Callable, tmp_path: Path) -> None:
    outcome = export("--format", "packed", "--output", tmp_path / "m.safetensors", name="integers")
    assert outcome.status == 0, outcome.err
    assert "equal predictions 100.00 %" in outcome.out


@pytest.mark.parametrize("name", ["torchao", "nncf", "modelopt"])
def test_mappings_of_other_toolchains(export: Callable, tmp_path: Path, name: str) -> None:
    outcome = export("--format", name, "--output", tmp_path / "m.json")
    assert outcome.status == 0, outcome.err
    assert outcome.out.strip() == str(tmp_path / "m.json")
    assert isinstance(json.loads((tmp_path / "m.json").read_text()), dict)
