"""The interface for Python: the README's example, threads, scripts without a guard, objects in memory."""

from __future__ import annotations

import dataclasses
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest
import quick_spec
from matplotlib.figure import Figure

from bitfront import search as public
from bitfront.search import (
    BitConfig,
    EvaluationSpec,
    Run,
    RunSpec,
    UserError,
    list_runs,
    open_run,
    overlay,
    resume,
    search,
)
from bitfront.search.session.worker_pool import WorkerOptions
from bitfront.search.workers.local_cluster import WorkerSettings

# Scripts, too, time their models a few times only, and report on a few images.
QUICKLY = (
    "from bitfront.evaluators.data import splits\n"
    "splits.LARGEST_DEFAULT_TEST = 300\n"
    "from bitfront.evaluators.latency import measured, timed_runtime\n"
    "measured.TimingProtocol = lambda: timed_runtime.TimingProtocol(1, 2, 2, 0.1, 1)\n"
)
README = Path(__file__).parents[3] / "README.md"
QUICK = dataclasses.replace(quick_spec.QUICK, test_images=64)


def script(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    path = folder / "script.py"
    path.write_text(text)
    return subprocess.run([sys.executable, path], cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder in which the README's example has run as a script, and what it printed."""
    folder = tmp_path_factory.mktemp("example")
    texts = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    (text,) = (text for text in texts if "RunSpec" in text)
    assert len(text.splitlines()) < 20
    done = script(folder, QUICKLY + text.replace("evaluations=40", "evaluations=6"))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder, done.stdout


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.timeout(600)
class TestTheExampleOfTheReadme:
    def test_prints_a_front_and_leaves_a_picture_and_a_verified_file(self, example: tuple[Path, str]) -> None:
        folder, printed = example
        assert "test_top1" in printed
        assert printed.splitlines()[-1].endswith(".safetensors True")
        assert (folder / "front.png").stat().st_size > 10_000

    def test_its_run_can_be_opened(self, example: tuple[Path, str]) -> None:
        run = open_run(runs_dir=example[0] / "runs")
        assert run.name == "numbers"
        assert (len(run.trials), run.interrupted, run.message) == (6, False, "")
        assert isinstance(run.front, pd.DataFrame)
        assert run.knee in set(run.front["trial"])
        assert run.pick("size")["size_bytes"] == run.front["size_bytes"].min()
        assert isinstance(run.config(), BitConfig)
        assert run.config(run.knee).digest == run.pick()["digest"]
        figures = run.figures()
        assert list(figures) == ["front", "front_size", "front_latency", "bit_map", "hypervolume"]
        assert all(isinstance(figure, Figure) for figure in figures.values())
        [narrow] = run.figures(size="column", title="", only=["front_size"]).values()
        assert (narrow.get_figwidth(), narrow.texts) == (3.25, [])
        with pytest.raises(UserError, match="named twice"):
            overlay([run, run])
        assert [summary.name for summary in list_runs(runs_dir=example[0] / "runs")] == ["numbers"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_model_and_images_in_memory_are_searched(tmp_path: Path) -> None:
    from bitfront.evaluators.data.digits import DigitsSource
    from bitfront.evaluators.models.loading import load_model

    model = load_model("digits_deit").module
    source = DigitsSource()
    images = [(source.load(i), source.labels[i]) for i in range(200)]
    spec = RunSpec(evaluation=QUICK, latency="model:bops", evaluations=2, space="encoder", allow_uniform=True)
    run = search(spec, name="mine", runs_dir=tmp_path, model=model, data=images, workers=0)
    assert Path(run.evaluation["checkpoint"]).parent == tmp_path / "mine" / "inputs"
    assert len(run.front) > 0
    assert run.evaluate().size_bytes == run.pick()["size_bytes"]

    # A run that is moved has them still.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run.path.rename(elsewhere / "moved")
    moved = open_run("moved", runs_dir=elsewhere)
    assert Path(moved.evaluation["data"]).parent.parent == elsewhere / "moved" / "inputs"
    exported = moved.export("knee", "packed")
    assert exported.passed
    (elsewhere / "moved").rename(elsewhere / "mine")
    file = elsewhere / "mine" / "exports" / exported.path.name
    assert open_run("mine", runs_dir=elsewhere).verify(file).passed
    assert len(resume("mine", runs_dir=elsewhere, evaluations=3, workers=0).trials) >= 3


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ctrl_c_returns_the_run_so_far_and_another_thread_goes_on_with_it(tmp_path: Path) -> None:
    def interrupt(text: str, share: float) -> None:
        if text.startswith("searching") and share >= 0.5 and not interrupted:
            interrupted.append(share)
            signal.raise_signal(signal.SIGINT)

    interrupted: list[float] = []
    spec = RunSpec(evaluation=QUICK, latency="model:bops", evaluations=8, allow_uniform=True)
    run = search(spec, name="cut", runs_dir=tmp_path, workers=0, progress=interrupt)
    assert run.interrupted
    assert 4 <= len(run.trials) < 8

    # It goes on in another thread, which is told of the steps.
    found: list[Run] = []
    told: list[tuple[str, float]] = []
    threads = set()

    def progress(text: str, share: float) -> None:
        threads.add(threading.current_thread())
        told.append((text, share))

    thread = threading.Thread(
        target=lambda: found.append(resume("cut", runs_dir=tmp_path, workers=0, progress=progress))
    )
    thread.start()
    thread.join()
    [whole] = found
    assert (whole.interrupted, whole.summary["evaluations"]) == (False, 8)
    assert whole.trials["digest"].tolist()[: len(run.trials)] == run.trials["digest"].tolist()
    assert threads == {thread}
    assert all(0.0 <= share <= 1.0 for _, share in told)
    assert told[0][0].startswith("preparing digits_deit")
    assert ("searching, 8 evaluations", 1.0) in told


def test_a_script_that_starts_processes_without_a_guard_is_told(tmp_path: Path) -> None:
    done = script(
        tmp_path,
        "from bitfront.search import RunSpec, UserError, search\n"
        "def main():\n"
        "    search(RunSpec(), workers=2)\n"
        "try:\n"
        "    main()\n"
        "except UserError as error:\n"
        "    print(error)\n",
    )
    assert done.stdout == (
        "worker processes import script.py again and would run line 5 there, too: put it under "
        '`if __name__ == "__main__":`, or give workers=0 to evaluate in this process\n'
    )
    assert not (tmp_path / "runs").exists()


def test_so_is_a_training_whose_images_processes_load(tmp_path: Path) -> None:
    done = script(
        tmp_path,
        "from bitfront.search import TrainingRecipe, TrainingSpec, UserError, train\n"
        "try:\n"
        "    train(TrainingSpec(recipe=TrainingRecipe(loaders=2)))\n"
        "except UserError as error:\n"
        "    print(error)\n",
    )
    assert done.stdout.endswith(
        'put it under `if __name__ == "__main__":`, or give loaders=0 to load images in this process\n'
    )
    assert [path.name for path in tmp_path.iterdir()] == ["script.py"]


@pytest.mark.parametrize("thread", [False, True])
def test_a_guarded_script_may_start_processes(tmp_path: Path, thread: bool) -> None:
    run = "thread = threading.Thread(target=check_main_guard); thread.start(); thread.join()"
    done = script(
        tmp_path,
        "import threading\n"
        "from bitfront.search.session.worker_pool import check_main_guard\n"
        'if __name__ == "__main__":\n'
        f"    {run if thread else 'check_main_guard()'}\n",
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_importing_the_package_loads_nothing() -> None:
    program = (
        "import sys, bitfront.search as b\n"
        "print([m for m in ('numpy', 'torch', 'pandas') if m in sys.modules], set(b.__all__) <= set(dir(b)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[] True\n"


def test_every_public_name_is_there() -> None:
    assert all(getattr(public, name) is not None for name in public.__all__)
    with pytest.raises(AttributeError, match="no attribute 'serch'"):
        _ = public.serch


def test_specs_take_texts_and_name_what_is_wrong(tmp_path: Path) -> None:
    spec = RunSpec(time_budget="10m", objectives="top1,size")  # type: ignore[arg-type]
    assert (spec.time_budget, spec.objectives) == (600.0, ("top1", "size"))
    assert EvaluationSpec(model="digits_deit", scheme="fq-vit", widths="8, 4") == EvaluationSpec(
        model="digits_deit", scheme="fq-vit", widths=[4, 8]
    )  # type: ignore[arg-type]
    assert (
        EvaluationSpec(model="digits_deit", scheme="fq-vit", data=Path("d"), without=["log-base"]).to_json()[
            "data"
        ]
        == "d"
    )  # type: ignore[arg-type]
    for changes, message in (
        ({"max_size": "4 parsecs"}, "--max-size '4 parsecs' is not a limit"),
        ({"max_size": 4e6}, "--max-size 4000000.0 is not a limit: write 4MB"),
        ({"evaluations": 0}, "--evaluations 0 is too small"),
        ({"space": "block"}, "unknown space 'block': choose one of encoder, encoder-kind, layer"),
        ({"sampler": "luck"}, "unknown sampler 'luck'"),
        ({"population": 1}, "--population 1 is too small"),
        (
            {"evaluation": EvaluationSpec(model="digits_deit", scheme="fq-vit", widths=(8,))},
            "--bits 8: a search needs at least two widths",
        ),
        ({"evaluation": EvaluationSpec(model="digits_deit", scheme="magic")}, "unknown scheme 'magic'"),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            search(RunSpec(**changes), runs_dir=tmp_path / "runs", workers=0)
    assert not (tmp_path / "runs").exists()


def test_options_of_workers_are_checked_against_each_other() -> None:
    assert WorkerOptions(2, None, "2m", "1GB").settings == WorkerSettings(120.0, 1_000_000_000)
    for options, message in (
        ({"workers": -1}, "--workers -1"),
        ({"workers": 2, "cluster": "tcp://a:1"}, "either them or --cluster"),
        ({"send_data": True}, "give their scheduler with --cluster"),
        ({"cluster": "tcp://a:1", "worker_memory": "1GB"}, "--worker-memory is for workers of this machine"),
    ):
        with pytest.raises(UserError, match=message):
            WorkerOptions(**options)


def test_a_run_shows_its_front_in_a_notebook(tmp_path: Path, make_run) -> None:
    make_run(tmp_path, name="r", count=30, encoders=2, model="<b>bold</b>")
    run = open_run("r", runs_dir=tmp_path)
    shown = run._repr_html_()
    assert shown.count("<tr>") == 1 + len(run.references) + len(run.shortlist)
    assert "<b>bold" not in shown


def test_the_shortlist_of_a_run_says_how_many_points_stand_behind_each(tmp_path: Path, make_run) -> None:
    make_run(tmp_path, name="r", count=120)
    run = open_run("r", runs_dir=tmp_path)
    listed = run.shortlist
    assert len(listed) <= 8 < len(run.front)
    assert run.knee in set(listed["trial"])
    assert len(listed) + listed["alike"].sum() + listed["near"].sum() == len(run.front)
    assert listed[list(run.front.columns)].equals(run.front[run.front["trial"].isin(listed["trial"])])
