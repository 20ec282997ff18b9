"""Who evaluates: what a resumed run remembers, and why processes cannot start or do not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from quick_spec import QUICK

from bitfront.search import RunSpec, resume, search
from bitfront.search.cli.main import main
from bitfront.search.runs.folder import RunFolder, RunStore
from bitfront.search.session import search_session
from bitfront.search.session.worker_pool import (
    WORKERS,
    WorkerOptions,
    given_options,
    note_options,
    resumed_options,
)
from bitfront.search.workers.local_cluster import not_started, site_settings
from bitfront.spaces import UserError

SPEC = RunSpec(QUICK, latency="model:bops", evaluations=4, population=2)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunStore(tmp_path).create("test")


class TestResumedOptions:
    def test_what_was_said_is_kept_and_what_was_not_is_chosen_again(self, folder: RunFolder) -> None:
        note_options(folder, WorkerOptions())
        assert json.loads((folder.path / WORKERS).read_text()) == {}
        assert resumed_options(folder, WorkerOptions()) == (WorkerOptions(), "")
        note_options(folder, WorkerOptions(3, None, "2m", "1GB"))
        options, told = resumed_options(folder, WorkerOptions())
        assert (options.workers, options.settings) == (3, WorkerOptions(3, None, 120.0, "1GB").settings)
        assert told == "evaluating with 3 workers as before; --workers or --cluster changes that"

    def test_what_is_said_now_comes_first(self, folder: RunFolder) -> None:
        note_options(folder, WorkerOptions(3, None, "2m", "1GB"))
        options, told = resumed_options(folder, WorkerOptions(1, evaluation_timeout="5m"))
        assert (options.workers, options.settings.evaluation_timeout_s) == (1, 300.0)
        assert (options.settings.memory_bytes, told) == (1_000_000_000, "")
        options, told = resumed_options(folder, WorkerOptions(cluster="tcp://a:1"))
        assert (options.workers, options.cluster, options.worker_memory, told) == (
            None,
            "tcp://a:1",
            None,
            "",
        )

    def test_a_cluster_is_gone_back_to(self, folder: RunFolder) -> None:
        note_options(folder, WorkerOptions(cluster="tcp://a:1", send_data=True))
        options, told = resumed_options(folder, WorkerOptions())
        assert (options.cluster, options.send_data) == ("tcp://a:1", True)
        assert told.startswith("evaluating with the workers of tcp://a:1 as before")
        options, _ = resumed_options(folder, WorkerOptions(2))
        assert (options.workers, options.cluster, options.send_data) == (2, None, False)

    def test_this_process_is_remembered(self, folder: RunFolder) -> None:
        note_options(folder, given_options(0))
        options, told = resumed_options(folder, given_options(None))
        assert (options.workers, told.partition(" as")[0]) == (0, "evaluating with this process")

    def test_runs_of_earlier_versions_noted_nothing(self, folder: RunFolder) -> None:
        assert resumed_options(folder, WorkerOptions(2)) == (WorkerOptions(2), "")

    @pytest.mark.parametrize("note", ['{"workers": -3}', '{"wrkers": 3}', '{"worker_memory": "x"}'])
    def test_a_damaged_note_is_one_line(self, folder: RunFolder, note: str) -> None:
        (folder.path / WORKERS).write_text(note)
        with pytest.raises(UserError, match=r"workers\.json does not fit \(.*\): remove it"):
            resumed_options(folder, WorkerOptions())


@pytest.mark.slow
@pytest.mark.timeout(600)
class TestResume:
    @pytest.mark.thorough
    def test_the_workers_and_the_database_of_a_run_are_found_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        search(SPEC, name="x", runs_dir="runs", workers=0, storage="sqlite:///study.db")
        folder = tmp_path / "runs" / "x"
        assert json.loads((folder / "storage.json").read_text())["url"] == f"sqlite:///{tmp_path}/study.db"
        monkeypatch.chdir("/")
        asked = []
        start = search_session.start_workers

        def started(options: WorkerOptions, *rest: object) -> object:
            asked.append(options)
            return start(options, *rest)

        monkeypatch.setattr(search_session, "start_workers", started)
        run = resume("x", runs_dir=tmp_path / "runs", evaluations=6)
        assert [options.workers for options in asked] == [0]
        assert run.summary["evaluations"] == 6
        assert not (folder / "study.log").exists()
        (tmp_path / "study.db").rename(tmp_path / "gone.db")
        with pytest.raises(UserError, match=r"there is no database .*study\.db, which had the study of"):
            resume("x", runs_dir=tmp_path / "runs", evaluations=8)
        with pytest.raises(UserError, match="the storage has a study 'x' already, which another run folder"):
            search(SPEC, name="x", runs_dir=tmp_path / "others", storage=f"sqlite:///{tmp_path}/gone.db")
        assert not (tmp_path / "others" / "x").exists()

    def test_a_damaged_journal_is_told_before_anything_is_prepared(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        search(SPEC, name="x", runs_dir=tmp_path, workers=0)
        journal = tmp_path / "x" / "study.log"
        lines = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(b"\n".join([lines[0].strip(), b"", b"", *map(bytes.strip, lines[1:])]) + b"\n")
        assert resume("x", runs_dir=tmp_path, evaluations=5).summary["evaluations"] == 5, (
            "blank lines are harmless"
        )
        lines = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(b"".join([*lines[:3], lines[3][:20] + b"\n", *lines[4:]]))

        def prepared(*_: object) -> None:
            raise AssertionError("nothing is prepared for a journal that cannot be gone on with")

        monkeypatch.setattr(search_session, "prepare_run", prepared)
        assert main(["search", "--resume", "x", "--runs-dir", str(tmp_path), "--evaluations", "9"]) == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert "study.log is damaged in line 4, which is no JSON object: restore it from a copy" in last
        assert "--resume" not in last


def test_a_script_that_is_no_file_is_refused_before_anything_begins(tmp_path: Path) -> None:
    program = (
        "from bitfront.search import search\n"
        "if __name__ == '__main__':\n"
        f"    search(runs_dir={str(tmp_path / 'runs')!r}, workers=2)\n"
    )
    done = subprocess.run([sys.executable, "-"], input=program, capture_output=True, text=True, check=False)
    assert "worker processes cannot import the running script, <stdin>, which is no file: save" in done.stderr
    assert not (tmp_path / "runs").exists()


class TestNotStarted:
    def test_the_first_cause_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("bitfront.search.workers.local_cluster.site_settings", list)
        error = RuntimeError("Cluster failed to start.")
        error.__cause__ = RuntimeError("Scheduler failed to start.")
        error.__cause__.__context__ = KeyError("nonsense")
        text = "the 2 evaluation workers did not start: Cluster failed to start (KeyError: 'nonsense')"
        assert str(not_started(2, error)) == text
        assert str(not_started(1)) == "the 1 evaluation worker did not start in time"

    def test_settings_of_the_machine_are_named_with_their_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import dask.config

        (tmp_path / "site.yaml").write_text("distributed:\n  comm:\n    require-encryption: true\n")
        monkeypatch.setattr(dask.config, "paths", [str(tmp_path)])
        monkeypatch.setattr(
            dask.config, "collect", lambda: {"distributed": {"comm": {"require_encryption": 1}}}
        )
        assert site_settings() == ["distributed.comm.require-encryption"]
        text = str(not_started(2, RuntimeError("no TLS")))
        assert f"(distributed.comm.require-encryption, by {tmp_path / 'site.yaml'}): try without them" in text

    @pytest.mark.slow
    def test_a_site_wide_setting_that_keeps_workers_from_starting_is_named(self, tmp_path: Path) -> None:
        program = (
            # Without it a search has no keys of its own.
            "import sys\nsys.modules['cryptography'] = None\n"
            "from bitfront.evaluators.context.spec import EvaluationSpec\n"
            "from bitfront.search.workers.pool import DaskPool\n"
            "try:\n    DaskPool(EvaluationSpec(), 1, evaluate=print)\n"
            "except Exception as error:\n    print(error)\n"
        )
        (tmp_path / "script.py").write_text(program)
        (tmp_path / "dask").mkdir()
        (tmp_path / "dask" / "site.yaml").write_text("distributed: {comm: {require-encryption: true}}\n")
        environment = {**os.environ, "DASK_CONFIG": str(tmp_path / "dask")}
        command = [sys.executable, str(tmp_path / "script.py")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        (line,) = done.stdout.splitlines()
        assert line.startswith("the 1 evaluation worker did not start: ")
        assert "TLS" in line
        assert f"distributed.comm.require-encryption, by {tmp_path}/dask/site.yaml" in line

    def test_a_file_of_settings_that_dask_refuses_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "site.yaml").write_text("- a\n")
        environment = {**os.environ, "DASK_CONFIG": str(tmp_path)}
        program = (
            "from bitfront.evaluators.context.machine import available_cpus\n"
            "from bitfront.spaces import UserError\n"
            "try:\n    available_cpus()\nexcept UserError as error:\n    print(error)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        assert f"'{tmp_path}/site.yaml' is malformed" in done.stdout
        assert done.stdout.endswith(": mend that file, or move it away\n")
