"""Exported folders: what is in them, that they run without bitfront, and what is left as it is."""

from __future__ import annotations

import csv
import json
import os
import shlex
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bare_environment import BareEnvironment
from exported_cases import changed, scale_classifier
from shared_data import SHARED

from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.data.digits import DigitsSource
from bitfront.evaluators.deployment import graph_files
from bitfront.evaluators.deployment.expectation import content_digest
from bitfront.evaluators.deployment.registry import file_document
from bitfront.search import open_run
from bitfront.search.cli.main import main
from bitfront.search.export import verification
from bitfront.search.export.folder import OWN
from bitfront.search.runs.reader import RecordedRun
from bitfront.search.session.specs import read_config_document
from bitfront.spaces import BitConfig

RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino"}
MODELS = {"onnx": ("model.onnx",), "openvino": ("model.xml", "model.bin")}
OTHERS = {
    *("README.md", "bit-config.json", "classes.json", "predict.py", "preprocessing.json"),
    *("verification.csv", "verification.json"),
}
ROOT = Path(__file__).parents[4]
PROGRAM = """\
import json, sys
from predict import Model
print(json.dumps(Model(threads=1).logits(sys.argv[1:]).tolist()))
"""


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def export_to(root: Path, run: str, name: str, *options: object) -> dict[str, Any]:
    pytest.importorskip(RUNTIMES[name])
    words = ["export", run, "--runs-dir", str(root), "--format", name, "--json", *map(str, options)]
    with redirect_stdout(StringIO()) as out:
        assert main(words) == 0
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


@pytest.fixture(scope="module")
def folders(deploy_runs: Path) -> dict[str, Path]:
    """The knee of ``small`` as folders, in the run; to be copied, not to be changed."""
    found = {name: export_to(deploy_runs, "small", name) for name in RUNTIMES}
    for name, exported in found.items():
        folder = deploy_runs / "small" / "exports" / f"knee-{exported['digest']}-{name}"
        assert (exported["folder"], exported["path"]) == (str(folder), str(folder / MODELS[name][0]))
        assert exported["verification"]["passed"]
    return {name: Path(exported["folder"]) for name, exported in found.items()}


@pytest.fixture
def copied(folders: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy that is nobody's run's."""
    return lambda name="onnx": Path(shutil.copytree(folders[name], tmp_path / "elsewhere" / name))


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, BareEnvironment]:
    folder = tmp_path_factory.mktemp("environments")
    return {
        name: BareEnvironment(folder / name, "numpy", "PIL", runtime) for name, runtime in RUNTIMES.items()
    }


def record(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "verification.json").read_text()))


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "verification.csv").read_text().splitlines()))


class TestContent:
    @pytest.mark.parametrize("name", RUNTIMES)
    def test_files(self, folders: dict[str, Path], name: str) -> None:
        assert names_in(folders[name]) == OTHERS | set(MODELS[name])
        assert set(OWN) == OTHERS | {model for models in MODELS.values() for model in models}

    @pytest.mark.parametrize("name", RUNTIMES)
    def test_configuration(self, folders: dict[str, Path], name: str, deploy_runs: Path) -> None:
        document = json.loads((folders[name] / "bit-config.json").read_text())
        assert document == file_document(folders[name] / MODELS[name][0])
        assert BitConfig.from_json(document).digest == document["provenance"]["digest"]
        assert read_config_document(folders[name]) == document

    def test_input_and_classes(self, folders: dict[str, Path]) -> None:
        found = json.loads((folders["onnx"] / "preprocessing.json").read_text())
        assert (found["model"], found["runtime"]) == ("model.onnx", "onnxruntime")
        assert found["input"]["shape"] == ["batch", 1, 16, 16]
        assert found["mean"] == [0.306]
        graph = onnx.load(folders["onnx"] / "model.onnx").graph
        assert (found["input"]["name"], found["output"]["name"]) == (
            graph.input[0].name,
            graph.output[0].name,
        )
        classes = json.loads((folders["onnx"] / "classes.json").read_text())
        assert (classes["count"], classes["names"]) == (10, [str(digit) for digit in range(10)])

    def test_plain_metadata(self, folders: dict[str, Path]) -> None:
        entries = onnx.load(folders["onnx"] / "model.onnx").metadata_props
        found = {entry.key: entry.value for entry in entries}
        assert entries[0].key == "bitfront", "where earlier versions look for the document"
        assert found["bitfront.input_layout"] == "NCHW"
        assert found["bitfront.input_shape"] == "batch,1,16,16"
        assert found["bitfront.mean"] == "0.306"
        assert json.loads(found["bitfront.classes"]) == [str(digit) for digit in range(10)]
        assert "divided by 255" in found["bitfront.preprocessing"]
        import openvino

        model = openvino.Core().read_model(folders["openvino"] / "model.xml")
        for key, value in found.items():
            if key != "bitfront":
                assert model.get_rt_info(key.split(".")).astype(str) == value
        assert not model.has_rt_info(["framework"]), "nothing is there twice"

    @pytest.mark.parametrize("name", RUNTIMES)
    def test_each_image(self, folders: dict[str, Path], name: str) -> None:
        known, found = record(folders[name]), rows(folders[name])
        assert len(found) == known["images"] == 60
        assert [int(row["label"]) for row in found] == known["evaluator"]["labels"]
        assert [int(row["evaluator"]) for row in found] == known["evaluator"]["predictions"]
        right = [row["right"] == "true" for row in found]
        assert 100.0 * np.mean(right) == pytest.approx(known["top1"])
        assert right == [row["predicted"] == row["label"] for row in found]
        equal = [row["predicted"] == row["evaluator"] for row in found]
        assert 100.0 * np.mean(equal) == pytest.approx(known["equal_predictions"])
        assert all(0.0 <= float(row["largest_logit_difference"]) < 5.0 for row in found)
        assert found[0]["image"] == f"digits scan {found[0]['index']}"
        assert all(row["predicted_name"] == row["predicted"] for row in found)

    def test_page(self, folders: dict[str, Path]) -> None:
        text = (folders["openvino"] / "README.md").read_text()
        for words in ("float32 `[batch, 1, 16, 16]` (NCHW, greyscale)", "pip install openvino", "Verified."):
            assert words in text
        assert f"top-1 {record(folders['openvino'])['top1']:.2f} % on 60 test images in openvino" in text


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_scan_is_classified_without_bitfront(
    folders: dict[str, Path],
    environments: dict[str, BareEnvironment],
    deploy_runs: Path,
    tmp_path: Path,
    name: str,
) -> None:
    folder, environment = folders[name], environments[name]
    for module in ("torch", "bitfront", "timm", "onnx"):
        assert "ModuleNotFoundError" in environment.run("-c", f"import {module}", status=1)
    known = rows(folder)[:12]
    scans = [tmp_path / f"{row['index']}.png" for row in known]
    for row, scan in zip(known, scans, strict=True):
        DigitsSource().load(int(row["index"])).save(scan)
    found = json.loads(environment.run(folder / "predict.py", "--json", "--batch", 5, *scans))
    assert [entry["image"] for entry in found] == list(map(str, scans))
    guesses = [entry["predictions"] for entry in found]
    assert [str(guess[0]["index"]) for guess in guesses] == [row["predicted"] for row in known]
    assert [len(guess) for guess in guesses] == [5] * len(known)
    logits = np.array(json.loads(environment.run("-c", PROGRAM, *scans, cwd=folder)))
    compare(RecordedRun.read(deploy_runs, "small").evaluation, folder, known, logits)
    lines = environment.run(folder / "predict.py", scans[0], "--top", 2).splitlines()
    best = guesses[0][0]
    assert lines[:2] == [str(scans[0]), f"  * {100 * best['probability']:6.2f} %  {best['name']}"]
    assert len(lines) == 3


def compare(
    evaluation: dict[str, Any], folder: Path, known: list[dict[str, str]], logits: np.ndarray
) -> None:
    """Logits are as far from the evaluator's as they were when the file was verified."""
    context = EvaluationContext.from_spec(EvaluationSpec.from_json(evaluation))
    images, config = context.images("test"), BitConfig.from_json(read_config_document(folder))
    assert [str(index) for index in images.indices[: len(known)]] == [row["index"] for row in known]
    own = context.logits(config, "test")[: len(known)].numpy()
    assert own.argmax(1).tolist() == [int(row["evaluator"]) for row in known]
    recorded = [float(row["largest_logit_difference"]) for row in known]
    assert np.abs(logits - own).max(1) == pytest.approx(recorded, rel=1e-3, abs=1e-5)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Path]) -> Path:
    """Runs with one of DeiT-Tiny, which was not searched."""
    root, data = tmp_path_factory.mktemp("photographs"), SHARED / "imagenet-compatible" / "labels.csv"
    weights = SHARED / "deit_tiny" / "deit_tiny_patch16_224.pth"
    if not (data.exists() and weights.exists()):
        pytest.skip("the shared data are not there")
    images = {"calibration_images": 16, "search_images": 20, "test_images": 12, "threads": 1}
    make_run(root, name="deit", count=60, scheme="deploy", model="deit_tiny_patch16_224",
             checkpoint=str(weights), data=str(data), recipe="fq-vit", without=[], **images)  # fmt: skip
    space = root / "deit" / "space.json"
    space.write_text(space.read_text().replace("digits_deit", "deit_tiny_patch16_224"))
    return root


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", RUNTIMES)
def test_a_photograph_is_classified_without_bitfront(
    photographs: Path, environments: dict[str, BareEnvironment], name: str, tmp_path: Path
) -> None:
    # Twelve images tell little of two models apart, and each of them is compared below.
    words = ("--uniform", "W8A8T8", "--output", tmp_path / "shipped", "--least-equal", "50")
    export_to(photographs, "deit", name, *words, "--top1-tolerance", "50")
    folder, data = tmp_path / "shipped", SHARED / "imagenet-compatible"
    known = rows(folder)
    photos = [data / row["image"] for row in known]
    found = json.loads(environments[name].run(folder / "predict.py", "--json", *photos))
    assert [str(entry["predictions"][0]["index"]) for entry in found] == [row["predicted"] for row in known]
    logits = np.array(json.loads(environments[name].run("-c", PROGRAM, *photos, cwd=folder)))
    run = RecordedRun.read(photographs, "deit")
    compare(run.evaluation, folder, known, logits)
    assert_no_places(folder, str(SHARED), str(SHARED.resolve()), str(photographs))


def assert_no_places(folder: Path, *further: str) -> None:
    """No file has a path of this machine."""
    places = {
        str(ROOT),
        str(ROOT.resolve()),
        str(Path.home()),
        str(folder),
        str(folder.parent),
        os.getcwd(),
        *further,
    }
    for path in folder.iterdir():
        content = path.read_bytes()
        for place in places - {"/"}:
            assert place.encode() not in content, f"{path.name} has {place}"


@pytest.fixture(scope="module")
def own_data(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Path]) -> tuple[Path, Path]:
    """Runs with one of images in files, and the table of these."""
    folder, source = tmp_path_factory.mktemp("data") / "my scans", DigitsSource()
    (folder / "images").mkdir(parents=True)
    lines = ["path,label"]
    for index in np.flatnonzero(source.partition == "held-out")[:180]:
        source.load(int(index)).resize((20, 24)).save(folder / "images" / f"{index}.png")
        lines.append(f"images/{index}.png,digit {source.labels[index]}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    root = tmp_path_factory.mktemp("own-runs")
    images = {"calibration_images": 16, "search_images": 20, "test_images": 40, "threads": 1}
    quick = {"recipe": "fq-vit", "without": [], "data": str(folder / "labels.csv")}
    source_name = f"table:{folder}/mine.csv"
    make_run(root, name="own", count=60, scheme="deploy", source=source_name, **images, **quick)
    return root, folder / "labels.csv"


@pytest.fixture(scope="module")
def shipped(own_data: tuple[Path, Path]) -> dict[str, Path]:
    return {name: Path(export_to(own_data[0], "own", name)["folder"]) for name in RUNTIMES}


class TestPlaces:
    @pytest.mark.parametrize("name", RUNTIMES)
    def test_there_are_none(self, shipped: dict[str, Path], own_data: tuple[Path, Path], name: str) -> None:
        assert_no_places(shipped[name], *map(str, own_data), str(own_data[1].parent))
        document = json.loads((shipped[name] / "bit-config.json").read_text())
        assert document["provenance"]["evaluation"]["data"] == ".../labels.csv"
        assert document["measured"]["latency_source"] == "table:mine.csv"
        assert {row["image"].split("/")[0] for row in rows(shipped[name])} == {"images"}
        assert {row["label_name"].split()[0] for row in rows(shipped[name])} == {"digit"}
        classes = json.loads((shipped[name] / "classes.json").read_text())
        assert classes["names"][3] == "digit 3"

    def test_nor_in_files_for_other_toolchains(
        self, bitfront: Callable, own_data: tuple[Path, Path], tmp_path: Path
    ) -> None:
        words = ("export", "own", "--runs-dir", own_data[0], "--format", "torchao")
        assert bitfront(*words, "--output", tmp_path / "m.json").status == 0
        assert_no_places(tmp_path, *map(str, own_data), str(own_data[1].parent))

    def test_a_folder_in_its_run_is_verified(self, bitfront: Callable, shipped: dict[str, Path]) -> None:
        for path in (shipped["onnx"], shipped["onnx"] / "model.onnx"):
            outcome = bitfront("verify", path)
            assert outcome.status == 0, outcome.err
            assert outcome.out.splitlines()[-1] == "verified"
            assert "preparing" not in outcome.err

    def test_one_that_was_moved_needs_its_data(
        self,
        bitfront: Callable,
        shipped: dict[str, Path],
        own_data: tuple[Path, Path],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        folder = Path(shutil.copytree(shipped["onnx"], tmp_path / "moved"))
        outcome = bitfront("verify", folder)
        assert outcome.status == 2
        assert "model.onnx names labels.csv without a folder" in outcome.error
        assert "give --data" in outcome.error
        assert bitfront("verify", folder, "--data", own_data[1]).status == 0
        # Where the runs of this machine are, the run tells.
        monkeypatch.setenv("BITFRONT_RUNS", str(own_data[0]))
        assert bitfront("verify", folder, "--rebuild").status == 0

    def test_another_run_of_that_name_tells_nothing(
        self, bitfront: Callable, shipped: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = Path(shutil.copytree(shipped["onnx"], tmp_path / "moved"))
        spec = json.loads((shipped["onnx"].parents[1] / "spec.json").read_text())
        (tmp_path / "runs" / "own").mkdir(parents=True)
        spec["evaluation"]["seed"] = 5
        (tmp_path / "runs" / "own" / "spec.json").write_text(json.dumps(spec))
        monkeypatch.setenv("BITFRONT_RUNS", str(tmp_path / "runs"))
        assert "give --data" in bitfront("verify", folder).error

    def test_a_file_alone_has_a_record_that_knows_them(
        self, bitfront: Callable, own_data: tuple[Path, Path], tmp_path: Path
    ) -> None:
        export_to(own_data[0], "own", "onnx", "--output", tmp_path / "m.onnx")
        assert str(own_data[1]).encode() not in (tmp_path / "m.onnx").read_bytes()
        assert bitfront("verify", tmp_path / "m.onnx").status == 0
        document = read_config_document(tmp_path / "m.onnx")
        assert document["provenance"]["evaluation"]["data"] == str(own_data[1])
        # As earlier versions wrote them: the file has the places, and no other metadata.
        known = json.loads((tmp_path / "m.onnx.verification.json").read_text())
        model = onnx.load(tmp_path / "m.onnx")
        onnx.helper.set_model_props(model, {"bitfront": json.dumps(document)})
        onnx.save(model, tmp_path / "m.onnx")
        del known["places"]
        known["sha256"] = content_digest([tmp_path / "m.onnx"])
        (tmp_path / "m.onnx.verification.json").write_text(json.dumps(known))
        assert bitfront("verify", tmp_path / "m.onnx").status == 0

    def test_configurations_are_evaluated(
        self, bitfront: Callable, shipped: dict[str, Path], own_data: tuple[Path, Path], tmp_path: Path
    ) -> None:
        words = ("--latency", "model:bops", "--json")
        found = json.loads(bitfront("evaluate", "--config", shipped["onnx"], *words).out)
        assert found["data"] == str(own_data[1])
        path = shutil.copy(shipped["onnx"] / "bit-config.json", tmp_path / "c.json")
        outcome = bitfront("evaluate", "--config", path, *words)
        assert outcome.status == 2
        assert "the bit config names labels.csv without a folder" in outcome.error
        outcome = bitfront("evaluate", "--config", path, "--data", own_data[1], *words)
        assert json.loads(outcome.out)["top1"] == found["top1"]

    def test_what_is_said_to_do_next_can_be_done(
        self, bitfront: Callable, own_data: tuple[Path, Path], tmp_path: Path
    ) -> None:
        words = ("export", "own", "--runs-dir", own_data[0], "--format", "onnx")
        outcome = bitfront(*words, "--output", tmp_path / "a folder")
        assert outcome.out.splitlines()[0] == str(tmp_path / "a folder")
        (line,) = [line for line in outcome.err.splitlines() if line.startswith("next: ")]
        command = shlex.split(line.removeprefix("next: "))
        assert command == ["bitfront", "verify", str(tmp_path / "a folder"), "--data", str(own_data[1])]
        assert bitfront(*command[1:]).status == 0


class TestWhatIsThere:
    """Folders that exist already, exports that fail, and names that are neither a file's nor a folder's."""

    @pytest.fixture
    def export(self, bitfront: Callable, deploy_runs: Path) -> Callable:
        pytest.importorskip("onnxruntime")
        return lambda *options: bitfront(
            "export", "small", "--runs-dir", deploy_runs, "--format", "onnx", *options
        )

    def test_written_again(self, export: Callable, tmp_path: Path) -> None:
        folder = tmp_path / "shipped"
        assert export("--output", folder).status == 0
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        (folder / "notes.txt").write_text("mine")
        (folder / "__pycache__").mkdir()
        assert export("--output", folder).status == 0
        for name, content in before.items():
            assert name == "verification.json" or (folder / name).read_bytes() == content
        assert names_in(folder) == {*before, "notes.txt", "__pycache__"}
        assert names_in(tmp_path) == {"shipped"}

    def test_an_empty_folder(self, export: Callable, tmp_path: Path) -> None:
        (tmp_path / "empty.v1").mkdir()
        assert export("--output", tmp_path / "empty.v1").status == 0
        assert names_in(tmp_path / "empty.v1") == {*OTHERS, "model.onnx"}

    def test_another_export(self, export: Callable, tmp_path: Path, copied: Callable) -> None:
        folder = copied("openvino")
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        (folder / "notes.txt").write_text("mine")
        outcome = export("--output", folder)
        assert outcome.status == 2
        assert f"{folder} exists and holds another " in outcome.error
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {**before, "notes.txt": b"mine"}
        assert export("--output", folder, "--force").status == 0
        assert names_in(folder) == {*OTHERS, "model.onnx", "notes.txt"}

    def test_a_changed_program(self, export: Callable, copied: Callable) -> None:
        folder = copied("onnx")
        with (folder / "predict.py").open("a") as program:
            program.write("# mine")
        assert "holds another predict.py" in export("--output", folder).error

    def test_a_folder_of_something_else(self, export: Callable, tmp_path: Path) -> None:
        folder = tmp_path / "holidays"
        folder.mkdir()
        (folder / "beach.jpg").write_text("precious")
        outcome = export("--output", folder)
        assert outcome.status == 2
        assert outcome.err.count("\n") == 1, "something was prepared"
        assert "holidays exists and holds other files" in outcome.error
        assert names_in(folder) == {"beach.jpg"}
        assert export("--output", folder, "--force").status == 0
        assert (folder / "beach.jpg").read_text() == "precious"

    @pytest.mark.parametrize(
        ("place", "words"),
        [
            ("m.pt", "m.pt needs the ending .onnx for --format onnx, or none for a folder"),
            ("file", "file: it is a file; expected the name of a folder"),
            ("gone/away/m", "there is no folder"),
            ("n" * 300, "file name too long"),
        ],
    )
    def test_no_places(self, export: Callable, tmp_path: Path, place: str, words: str) -> None:
        (tmp_path / "file").write_text("precious")
        outcome = export("--output", tmp_path / place)
        assert outcome.status == 2
        assert words in outcome.error
        assert names_in(tmp_path) == {"file"}

    @pytest.mark.parametrize("when", ["writing", "verifying"])
    def test_interrupted(
        self, export: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
    ) -> None:
        def interrupted(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        if when == "writing":
            monkeypatch.setattr(graph_files, "onnx_bytes", interrupted)
        else:
            monkeypatch.setattr(verification, "verify", interrupted)
        assert export("--output", tmp_path / "shipped").status == 130
        assert names_in(tmp_path) == set()

    def test_a_model_that_is_not_what_was_evaluated(
        self, export: Callable, bitfront: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        proper = graph_files.onnx_bytes

        def wrong(*arguments: Any) -> bytes:
            model = onnx.load_from_string(proper(*arguments))
            scale_classifier(model, -1.0)
            return bytes(model.SerializeToString())

        monkeypatch.setattr(graph_files, "onnx_bytes", wrong)
        assert export("--output", tmp_path / "shipped").status == 1
        assert "NOT VERIFIED: top-1 is -" in (tmp_path / "shipped" / "README.md").read_text()
        assert record(tmp_path / "shipped")["passed"] is False

    def test_verifying_a_folder(self, bitfront: Callable, copied: Callable, tmp_path: Path) -> None:
        folder = copied("onnx")
        assert bitfront("verify", folder).status == 0
        changed(folder / "model.onnx", lambda model: setattr(model, "doc_string", "changed"))
        assert "has changed since it was verified" in bitfront("verify", folder).error
        (folder / "model.onnx").unlink()
        assert "no such file" in bitfront("verify", folder).error


def test_without_a_verification(deploy_runs: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    exported = open_run("small", runs_dir=deploy_runs).export("knee", "onnx", tmp_path / "m", verify=False)
    assert exported.folder == tmp_path / "m"
    assert exported.path == exported.files[0] == tmp_path / "m" / "model.onnx"
    assert {file.name for file in exported.files} == {*OTHERS, "model.onnx"} - {
        "verification.csv",
        "verification.json",
    }
    assert "was not verified" in (tmp_path / "m" / "README.md").read_text()
