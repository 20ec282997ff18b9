"""A study from Python: a folder of trainings and records, its figures, and how it goes on."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import bitfront.search as public
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.training.recipe import TeacherSpec, TrainingRecipe, TrainingSpec
from bitfront.search.session import study_timing, study_trainings, study_variants
from bitfront.search.session.study import Study, resume_study, study
from bitfront.search.session.study_spec import StudySpec
from bitfront.spaces import UserError

pytestmark = pytest.mark.slow
# The built-in student on the plain scans, which is prepared in a second.
EVALUATION = EvaluationSpec(
    model="digits_vit", data="digits", calibration_images=32, search_images=60, test_images=60
)
RECIPE = TrainingRecipe(
    epochs=1, train_images=80, batch=40, threads=1, precision="float32", ema_decay=0.5, learning_rate=1e-3
)
SPEC = StudySpec(
    TrainingSpec(EVALUATION, RECIPE, TeacherSpec("digits_deit", pretrained=True)),
    baselines=("test_resnet", "convnext_tiny"),
    batches=(1,),
    budget_s=0.5,
    refine_images=48,
    refine_passes=1,
)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_timing, "measure_memory", lambda *_: {})  # tested with bench
        yield study(SPEC, tmp_path_factory.mktemp("study") / "here")


@pytest.fixture
def without_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("what was paid for is done again")

    for module, names in ((study_trainings, ("train", "resume_training")), (study_variants, ("refine",))):
        for name in names:
            monkeypatch.setattr(module, name, refused)
    monkeypatch.setattr(study_timing, "measure_times", refused)


def test_the_folder(found: Study) -> None:
    inside = {path.name for path in found.folder.iterdir()}
    assert inside >= {"study.json", "figures.json", "study.csv", "study.md", "study.tex", "trainings"}
    names = {path.name for path in (found.folder / "trainings").iterdir()}
    assert names == {"alone-0", "distilled-0", "test_resnet"}
    assert json.loads((found.folder / "figures.json").read_text())["variants"] == found.figures["variants"]
    assert not list(found.folder.rglob("*.part"))


def test_all_variants_are_judged_on_the_same_images(found: Study) -> None:
    figures = found.figures
    assert figures["images"] == {"search": 60, "test": 60}
    shown = [(variant["name"], variant["arithmetic"]) for variant in figures["variants"]]
    assert shown[:4] == [
        ("alone", "float32"), ("alone + EMA", "float32"), ("distilled", "float32"), ("distilled", "dynamic"),
    ]  # fmt: skip
    assert ("distilled + EMA, refined", "refined") in shown
    assert shown[-1] == ("teacher", "float32")
    assert figures["variants"][-1]["test"]["top1"][0] > 90.0
    assert [step["step"] for step in figures["ablation"]][-2:] == ["+ INT8", "+ refined, label-free"]
    for step, before in zip(figures["ablation"][1:4], figures["ablation"], strict=False):
        change = step["test"]["top1"][0] - before["test"]["top1"][0]
        assert step["difference"]["test"]["top1"][0] == pytest.approx(change, abs=1e-9)


def test_figures_are_those_of_the_trainings(found: Study) -> None:
    record = json.loads((found.folder / "trainings" / "distilled-0" / "training.json").read_text())
    for variant in found.figures["variants"]:
        if (variant["name"], variant["arithmetic"]) == ("distilled", "float32"):
            values = record["figures"]["model.safetensors"]["values"]
            for metric in found.figures["metrics"]:
                # Areas are summed in float32 there.
                assert variant["test"][metric][0] == pytest.approx(values[metric], abs=1e-3)


def test_networks_that_take_no_such_images_are_left_out(found: Study) -> None:
    assert any("convnext_tiny is left out: it takes no images of 20x20" in n for n in found.figures["notes"])
    assert found.figures["parameters"].keys() == {"digits_vit", "test_resnet"}


def test_times_and_sizes(found: Study) -> None:
    [timed] = found.figures["times"]
    kinds = {(row["model"], row["kind"], row["runtime"]) for row in timed["rows"]}
    assert {("digits_vit", "dynamic", "torch"), ("test_resnet", "float32", "torch")} <= kinds
    runtimes = found.figures["runtimes"]
    if runtimes:
        assert ("test_resnet", "quantized", runtimes[0]) in kinds
        assert found.figures["verified"]["same_class_percent"] == 100.0
    sizes = {(v["name"], v["arithmetic"]): v["file_bytes"] for v in found.figures["variants"]}
    assert sizes["distilled + EMA", "INT8"] < sizes["distilled + EMA", "dynamic"] < sizes["alone", "float32"]


@pytest.mark.usefixtures("without_trainings")
def test_what_has_ended_is_read_again(found: Study) -> None:
    for again in (resume_study(found.folder), study(SPEC, found.folder)):
        assert again.figures["variants"] == found.figures["variants"]
        assert again.table("csv") == (found.folder / "study.csv").read_text() == found.table("csv")


def test_times_can_be_measured_again(found: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_timing, "measure_memory", lambda *_: {})
    path = found.folder / "records" / "times-1.json"
    before = path.stat().st_mtime_ns
    resume_study(found.folder, time_again=True)
    assert path.stat().st_mtime_ns > before


def test_other_settings_and_files_are_refused(found: Study, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds a study of other settings: go on with it by `bitfront study"):
        study(dataclasses.replace(SPEC, seeds=2), found.folder)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds files: choose another folder"):
        study(SPEC, tmp_path)
    with pytest.raises(UserError, match="is a file: name a folder"):
        study(SPEC, tmp_path / "notes.txt")
    with pytest.raises(UserError, match="unknown model 'resnet_of_mine'"):
        study(dataclasses.replace(SPEC, baselines=("resnet_of_mine",)), tmp_path / "new")


def test_trainings_of_other_settings_are_not_taken(found: Study, tmp_path: Path) -> None:
    (tmp_path / "trainings").mkdir()
    (tmp_path / "trainings" / "alone-0").symlink_to(found.folder / "trainings" / "alone-0")
    student = dataclasses.replace(SPEC.student, recipe=dataclasses.replace(RECIPE, epochs=2))
    with pytest.raises(UserError, match="alone-0 holds a training of other settings"):
        study(dataclasses.replace(SPEC, student=student), tmp_path)


def test_ctrl_c_in_a_training_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from bitfront.evaluators.training.learner import Learner

    def interrupted(*_: object) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(Learner, "learn", interrupted)
    with caplog.at_level("INFO", logger="bitfront"), pytest.raises(KeyboardInterrupt):
        study(SPEC, tmp_path / "a b")
    assert f"next: bitfront study --resume '{tmp_path / 'a b'}'" in caplog.text
    assert (tmp_path / "a b" / "trainings" / "alone-0" / "state.pt").is_file()


def test_is_offered_to_notebooks() -> None:
    assert public.study is study
    assert {"study", "resume_study", "StudySpec", "Study"} <= set(public.__all__)


@pytest.mark.thorough
def test_a_study_that_is_killed_goes_on_to_the_same_figures(found: Study, tmp_path: Path) -> None:
    """Killed while the student is distilled, and once more while it is judged."""
    folder = tmp_path / "killed"
    words = [
        *("study", "--output", str(folder), "--epochs", "1", "--train-images", "80", "--batch", "40"),
        *("--threads", "1", "--precision", "float32", "--ema-decay", "0.5", "--learning-rate", "0.001"),
        *("--calibration-images", "32", "--search-images", "60", "--test-images", "60", "--budget", "1s"),
        *("--baselines", "test_resnet", "--batches", "1", "--refine-images", "48", "--refine-passes", "1"),
    ]
    marks = [
        folder / "trainings" / "distilled-0" / "state.pt",
        folder / "outputs" / "distilled-int8-0.safetensors",
    ]
    for mark, command in zip(marks, (words, ["study", "--resume", str(folder)]), strict=True):
        _killed_when(mark.exists, command)
    found_again = resume_study(folder)
    for name in ("variants", "ablation"):
        ours = [entry for entry in found_again.figures[name] if entry.get("model") != "convnext_tiny"]
        for one, other in zip(ours, found.figures[name], strict=True):
            assert one["test"] == other["test"]
            assert one["search"] == other["search"]


def _killed_when(begun: Callable[[], bool], words: list[str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "bitfront.search.cli", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
    )
    try:
        ends = time.monotonic() + 200.0
        while not begun() and process.poll() is None and time.monotonic() < ends:
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert begun()
