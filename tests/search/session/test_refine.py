"""Refining: what helped is kept beside the point, what did not changes nothing, and kills lose nothing."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from refined_cases import FIGURES, compared

import bitfront.search as public
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.tasks.paired import Paired
from bitfront.evaluators.tasks.registry import task_named
from bitfront.evaluators.training.refinement import course
from bitfront.evaluators.training.refinement import refinement as core
from bitfront.evaluators.training.refinement.recipe import RefinementSpec
from bitfront.search.runs.refined import file_of, read_refined, record_of, unfinished_of
from bitfront.search.runs.refined_table import TABLE
from bitfront.search.runs.refinement import Refinement
from bitfront.search.session import refine_work
from bitfront.search.session.refine import refine
from bitfront.search.session.run import Run, open_run
from bitfront.spaces import BitConfig, UserError

WHY_NOT = refine_work.why_not
QUICK = RefinementSpec(encoder_passes=0, passes=1, batch=32, threads=1)
IMAGES = 96


@pytest.fixture(scope="module", autouse=True)
def _found_to_help() -> Iterator[None]:
    """Whether a few steps on a few images helped is left to chance otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core, "_fell", lambda *_: True)
        patch.setattr(refine_work, "why_not", lambda *_: "")
        yield


@pytest.fixture(scope="module")
def searched(deploy_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folders of which ``small`` is of scheme deploy: their trials were not searched."""
    root = tmp_path_factory.mktemp("searched")
    for name in ("small", "integers"):
        shutil.copytree(deploy_runs / name, root / name)
    path = root / "small" / "spec.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "latency": "model:bops"}))
    return root


@pytest.fixture
def runs(searched: Path, tmp_path: Path) -> Path:
    for name in ("small", "integers"):
        shutil.copytree(searched / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def run(runs: Path) -> Run:
    return open_run("small", runs_dir=runs)


def narrowest(run: Run) -> int:
    """The point that has most to recover."""
    return int(run.front.sort_values("size_bytes")["trial"].iloc[0])


@pytest.fixture(scope="module")
def refined(searched: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Refinement]:
    """Run folders of which ``small`` has a refined point; not to be changed."""
    root = tmp_path_factory.mktemp("refined")
    shutil.copytree(searched / "small", root / "small")
    run = open_run("small", runs_dir=root)
    return root, run.refine(narrowest(run), images=IMAGES, learning=QUICK)


class TestPointOfARun:
    def test_it_is_kept_beside_the_point(self, refined: tuple[Path, Refinement]) -> None:
        root, found = refined
        assert found.helped
        assert found.why == ""
        assert found.path == file_of(root / "small", found.config.digest)
        run = open_run("small", runs_dir=root)
        (point,) = run.refined
        assert point == found.point
        assert set(run.refined_front) == {found.trial}
        assert point.images == "32 that calibrate and 64 of digits that no split has"
        assert point.figures["images"] + point.figures["held_out"] == IMAGES
        assert (root / "small" / TABLE).is_file()
        assert (root / "small" / "plots" / "front.png").is_file()
        assert not unfinished_of(root / "small", found.config.digest).exists()

    def test_what_is_kept_is_what_was_compared(self, refined: tuple[Path, Refinement]) -> None:
        root, found = refined
        run = open_run("small", runs_dir=root)
        before, after = (run.evaluate(found.trial, refined=which) for which in (False, True))
        assert found.point.test.before.values == before.values
        assert found.point.test.after.values == after.values
        assert after.refinement == str(found.path)
        assert before.to_json().keys() | {"refinement"} == after.to_json().keys()
        assert before.size_bytes == after.size_bytes
        difference = found.point.test.differences["kl"]
        assert difference.value == pytest.approx(after.values["kl"] - before.values["kl"])

    def test_it_learned_from_no_image_of_a_split(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[Any] = []

        def look(*arguments: Any, **options: Any) -> Any:
            seen.append(arguments[3])
            raise UserError("enough")

        monkeypatch.setattr(refine_work, "refine", look)
        with pytest.raises(UserError, match="enough"):
            run.refine(narrowest(run), images=700, learning=QUICK)
        context = refine_work.EvaluationContext.from_spec(EvaluationSpec.from_json(run.evaluation))
        pixels = {one.numpy().tobytes() for one in seen[0].pixels}
        for split in ("search", "test"):
            held = {one.numpy().tobytes() for one in context.images(split).pixels}  # type: ignore[arg-type]
            assert not pixels & held
        calibrating = {one.numpy().tobytes() for one in context.images("calibration").pixels}
        assert calibrating <= pixels
        assert not seen[0].labels.any()
        assert not unfinished_of(run.path, run.config(narrowest(run)).digest).exists()

    def test_exports_and_files_are_those_of_what_was_learned(self, refined: tuple[Path, Refinement]) -> None:
        root, found = refined
        run = open_run("small", runs_dir=root)
        exported = run.export(found.trial, "packed", refined=True)
        assert exported.refined
        assert exported.passed
        assert exported.path.name == f"trial{found.trial}-refined-{found.config.digest}.safetensors"
        assert exported.verification is not None
        right = exported.verification.figures.to_json()["top1"]
        assert right == pytest.approx(found.point.test.after.values["top1"])
        assert exported.measured["test_top1"] == found.point.test.after.values["top1"]
        assert run.verify(exported.path, rebuild=True).passed
        plain = run.export(found.trial, "json", refined=True)
        document = json.loads(plain.path.read_text())
        assert document["provenance"]["evaluation"]["refinement"] == str(found.path)
        assert (
            public.evaluate(config=plain.path, latency="model:bops").values == found.point.test.after.values
        )

    def test_it_is_refined_once(self, refined: tuple[Path, Refinement]) -> None:
        root, found = refined
        run = open_run("small", runs_dir=root)
        again = (
            f"trial {found.trial} is refined already: .*--pick {found.trial} --refined .*or refine it again"
        )
        with pytest.raises(UserError, match=again):
            run.refine(found.trial, learning=QUICK)


class TestWhatDoesNotHelp:
    @pytest.fixture
    def files(self, run: Run) -> Callable[[], dict[str, bytes]]:
        def content() -> dict[str, bytes]:
            kept = (path for path in run.path.rglob("*") if path.is_file())
            found = {str(path): path.read_bytes() for path in kept}
            return {name: text for name, text in found.items() if not name.endswith(("log.txt", ".lock"))}

        return content

    def test_nothing_is_changed(
        self, run: Run, files: Callable[[], dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = files()
        monkeypatch.setattr(refine_work, "why_not", lambda *_: "worse")
        found = run.refine(narrowest(run), images=IMAGES, learning=QUICK)
        assert (found.helped, found.why, found.path) == (False, "worse", None)
        assert found.point.test.differences  # which says by how much
        assert files() == before
        assert open_run(run.name, runs_dir=run.path.parent).refined == ()

    @pytest.mark.parametrize(
        ("kl", "top1", "helped", "why"),
        [
            (-0.2, 1.0, True, ""),
            (-0.05, 1.0, True, ""),  # which other images have shown
            (-0.2, 1.0, False, ""),  # these show it themselves
            (-0.05, 1.0, False, "neither 64 images that judged it"),
            (0.01, 1.0, True, "on 300 search images it is farther from the float model"),
            (-0.2, -1.0, True, ""),  # not shown
            (-0.2, -4.0, True, "on 300 search images it is shown to be worse"),
        ],
    )
    def test_what_speaks_against_it(self, kl: float, top1: float, helped: bool, why: str) -> None:
        task = task_named("classification")
        differences = {"kl": Paired(kl, 0.05), "top1": Paired(top1, 1.0)}
        case = dataclasses.replace(compared(90.0, 1.0, 300), differences=differences)
        figures = {**FIGURES, "helped": helped}
        found = WHY_NOT(task, task.metric("top1"), case, figures)
        assert found.startswith(why)
        assert bool(found) == bool(why)


def test_less_is_worse_or_better_by_the_metric() -> None:
    assert refine_work.shown_worse(1.0, Paired(-2.0, 1.0))
    assert not refine_work.shown_worse(1.0, Paired(-1.0, 1.0))
    assert refine_work.shown_worse(-1.0, Paired(0.2, 0.1))
    assert not refine_work.shown_worse(-1.0, Paired(-0.2, float("nan")))


class TestInterrupted:
    TWO = dataclasses.replace(QUICK, passes=2)

    @staticmethod
    def _killed_after(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, calls: int) -> None:
        """Has a process die, as far as that can be had here, behind some calls of a function."""
        true, count = getattr(module, name), [0]

        def counted(*arguments: Any, **options: Any) -> Any:
            result = true(*arguments, **options)
            count[0] += 1
            if count[0] == calls:
                raise KeyboardInterrupt
            return result

        monkeypatch.setattr(module, name, counted)

    @pytest.mark.parametrize(("module", "name"), [(course, "keep_state"), (refine_work, "read_refinement")])
    def test_it_ends_in_the_same_result(
        self, run: Run, runs: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str
    ) -> None:
        """Killed within the learning, and when that has ended."""
        trial, options = narrowest(run), {"images": IMAGES, "learning": self.TWO}
        shutil.copytree(runs / "small", runs / "whole")
        whole = open_run("whole", runs_dir=runs).refine(trial, **options)
        with monkeypatch.context() as patch:
            self._killed_after(patch, module, name, 1)
            with pytest.raises(KeyboardInterrupt):
                run.refine(trial, **options)
        assert open_run("small", runs_dir=runs).refined == ()
        with pytest.raises(
            UserError, match=f"refining trial {trial} was interrupted: go on with .*--resume`"
        ):
            run.refine(trial, **options)
        with pytest.raises(UserError, match="keeps its settings"):
            run.refine(trial, resume=True, images=3)
        found = run.refine(resume=True)
        assert found.trial == trial
        assert found.point.content == whole.point.content
        assert found.point.test.after.values == whole.point.test.after.values
        assert not unfinished_of(run.path, found.config.digest).exists()

    def test_without_one_there_is_nothing_to_go_on_with(self, run: Run) -> None:
        with pytest.raises(UserError, match="has no refinement to go on with"):
            run.refine(resume=True)
        with pytest.raises(UserError, match="there is no refinement to go on with"):
            run.refine(narrowest(run), resume=True)

    def test_several_ask_for_one(self, run: Run) -> None:
        for trial in run.front["trial"].iloc[:2]:
            unfinished_of(run.path, run.config(int(trial)).digest).mkdir(parents=True)
        trials = sorted(int(trial) for trial in run.front["trial"].iloc[:2])
        with pytest.raises(UserError, match=r"several refinements .*: name one with --pick: ") as error:
            run.refine(resume=True)
        assert all(str(trial) in str(error.value) for trial in trials)

    def test_force_begins_again(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            self._killed_after(patch, course, "keep_state", 1)
            with pytest.raises(KeyboardInterrupt):
                run.refine(narrowest(run), images=IMAGES, learning=self.TWO)
        found = run.refine(narrowest(run), images=IMAGES, learning=QUICK, force=True)
        assert found.point.learning["passes"] == 1


class TestRefused:
    def test_before_anything_is_prepared(self, runs: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(refine_work, "RefineWork", None)
        integers = open_run("integers", runs_dir=runs)
        with pytest.raises(UserError, match="run integers is of scheme fq-vit, and scheme deploy alone"):
            integers.refine()
        with pytest.raises(UserError, match="trial 9999 is not on the front"):
            run.refine(9999)
        with pytest.raises(UserError, match="--refine-data nowhere: there is no such place"):
            run.refine(refine_data="nowhere")
        with pytest.raises(UserError, match="--passes 0"):
            run.refine(learning=RefinementSpec(passes=0))

    def test_images_that_there_are_not(self, run: Run, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"--images 9999: there are [\d,]+ that neither steer nor report"):
            run.refine(images=9999)
        with pytest.raises(UserError, match="20 images are too few"):
            run.refine(images=20)

    def test_a_damaged_request_is_named(self, run: Run) -> None:
        state = unfinished_of(run.path, run.config(narrowest(run)).digest)
        state.mkdir(parents=True)
        (state / "request.json").write_text("{}")
        with pytest.raises(UserError, match=r"request\.json is damaged"):
            run.refine(resume=True)

    def test_another_calibration(self, refined: tuple[Path, Refinement]) -> None:
        root, found = refined
        run = open_run("small", runs_dir=root)
        spec = EvaluationSpec.from_json(run.evaluation).moved(refinement=found.path)
        other = dataclasses.replace(spec, calibration_images=48)
        with pytest.raises(UserError, match="refines another calibration than this one"):
            public.evaluate(other, found.config, latency="model:bops")
        uniform = BitConfig.from_json({**found.config.to_json()})
        eight = dataclasses.replace(
            uniform,
            encoders=tuple(
                dataclasses.replace(one, weights=8, activations=8, attention=8) for one in uniform.encoders
            ),
        )
        with pytest.raises(UserError, match=f"refined for configuration {found.config.digest}, not for"):
            public.evaluate(spec, eight, latency="model:bops")
        searching = public.RunSpec(evaluation=spec)
        with pytest.raises(UserError, match="a search is of many"):
            public.search(searching, runs_dir=root / "none")


class TestConfigOfNoRun:
    SPEC = EvaluationSpec(
        model="digits_deit",
        scheme="deploy",
        calibration_images=32,
        search_images=40,
        test_images=60,
        threads=1,
    )

    def test_a_folder_that_evaluate_takes(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        config = run.config(narrowest(run))
        found = refine(self.SPEC, config, images=IMAGES, learning=QUICK)
        folder = tmp_path / f"digits_deit-{config.digest}-refined"
        assert found.helped
        assert found.bit_config is not None
        assert found.bit_config.resolve() == folder / "bit-config.json"
        names = {"bit-config.json", "refined.json", "refined.safetensors"}
        assert {path.name for path in folder.iterdir()} == names
        assert read_refined(record_of(folder / "refined.safetensors")) == found.point
        again = public.evaluate(config=folder, latency="model:bops")
        assert again.values == found.point.test.after.values
        with pytest.raises(UserError, match="is of a model that was refined"):
            refine(config=folder, output="other")
        with pytest.raises(UserError, match="is refined already: `bitfront evaluate --config"):
            refine(self.SPEC, config, images=IMAGES, learning=QUICK)

    def test_other_images_are_learned_from(self, run: Run, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        (tmp_path / "photos").mkdir()
        for index in range(50):
            pixels = rng.integers(0, 255, (16, 16), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / f"{index}.png")
        config = run.config(narrowest(run))
        found = refine(self.SPEC, config, tmp_path / "out", refine_data=tmp_path / "photos", learning=QUICK)
        assert found.point.images == "32 that calibrate and 50 of photos"
        assert found.helped == (tmp_path / "out" / "bit-config.json").exists()

    def test_what_cannot_be_refined(self, run: Run, tmp_path: Path) -> None:
        config = run.config(narrowest(run))
        with pytest.raises(UserError, match="name what is to be refined"):
            refine()
        with pytest.raises(UserError, match="name it with --output"):
            refine(resume=True)
        with pytest.raises(UserError, match="there is no refinement to go on with"):
            refine(output=tmp_path / "none", resume=True)
        (tmp_path / "taken").mkdir()
        (tmp_path / "taken" / "other").touch()
        with pytest.raises(UserError, match="holds files: choose another folder"):
            refine(self.SPEC, config, tmp_path / "taken")
        with pytest.raises(UserError, match="the bit config is for scheme deploy, not fq-vit"):
            refine(dataclasses.replace(self.SPEC, scheme="fq-vit"), config)
