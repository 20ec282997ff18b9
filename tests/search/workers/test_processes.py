"""Real processes: Dask workers, a killed coordinator, Ctrl-C, a worker that dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from bitfront.search.problem.spec import RunSpec
from bitfront.search.runs.folder import RunStore
from bitfront.search.workers.pool import DaskPool
from bitfront.spaces import UserError

pytestmark = pytest.mark.slow
PROGRAM = Path(__file__).parents[2] / "references/synthetic_search.py"
EVALUATIONS = 40
SPEC = RunSpec(evaluations=EVALUATIONS, population=16)


def start(root, name, *options):
    command = [sys.executable, str(PROGRAM), str(root), name, "--evaluations", str(EVALUATIONS), *options]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for(process, line):
    for found in process.stdout:
        if found.strip() == line:
            return
    raise AssertionError(f"the program ended without {line!r}: {process.stderr.read()}")


def finish(process):
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.splitlines()[-1]


def resumed(synthetic, root):
    """Finishes a run that another process began, and returns why it ended."""
    return synthetic.search(RunStore(root).open("cut"), SPEC, resume=True).reason


def left_in_group(group):
    """Processes of a session that are alive, once they had five seconds to end."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        alive = [p for p in psutil.process_iter() if p.pid != group and _group(p.pid) == group]
        if not alive:
            return []
        time.sleep(0.1)
    return alive


def _group(pid):
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


@pytest.fixture(scope="module")
def whole(synthetic, tmp_path_factory):
    """An uninterrupted run in one process."""
    root = tmp_path_factory.mktemp("whole")
    synthetic.search(RunStore(root).create("whole"), SPEC)
    return root / "whole"


def same_tables(folder, whole):
    return all(
        (folder / name).read_text() == (whole / name).read_text() for name in ("front.csv", "trials.csv")
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_dask_workers_find_the_front_of_one_process(tmp_path, whole, workers):
    finish(start(tmp_path, "dask", "--workers", str(workers), "--pause", "0.01"))
    assert same_tables(tmp_path / "dask", whole)


@pytest.mark.parametrize("moment", [5, 18, 31])
def test_a_killed_coordinator_resumes_to_the_same_front(synthetic, tmp_path, whole, moment):
    process = start(tmp_path, "cut", "--pause", "0.02")
    wait_for(process, f"evaluated {moment}")
    process.kill()
    process.communicate()
    assert resumed(synthetic, tmp_path) == "the evaluations are spent"
    assert same_tables(tmp_path / "cut", whole)


def test_workers_end_with_a_killed_coordinator(synthetic, tmp_path, whole):
    process = start(tmp_path, "cut", "--workers", "2", "--pause", "0.3")
    wait_for(process, "evaluated 6")
    process.kill()
    process.communicate()
    assert left_in_group(process.pid) == []
    resumed(synthetic, tmp_path)
    assert same_tables(tmp_path / "cut", whole)


@pytest.mark.parametrize(
    ("number", "options"), [(signal.SIGINT, ("--workers", "2")), (signal.SIGTERM, ())], ids=["dask", "inline"]
)
def test_an_interrupt_leaves_a_complete_folder(synthetic, tmp_path, whole, number, options):
    process = start(tmp_path, "cut", "--pause", "0.1", *options)
    wait_for(process, "evaluated 10")
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does: the workers get it too
    else:
        process.send_signal(number)
    assert finish(process) == "interrupted"
    assert left_in_group(process.pid) == []
    names = {path.name for path in (tmp_path / "cut").iterdir()}
    assert {"spec.json", "study.log", "trials.csv", "front.csv", "summary.json", "log.txt"} <= names
    rows = (tmp_path / "cut/trials.csv").read_text().splitlines()[1:]
    assert 10 <= sum(",complete," in row for row in rows) < EVALUATIONS
    resumed(synthetic, tmp_path)
    assert same_tables(tmp_path / "cut", whole)


def test_a_second_interrupt_ends_the_program_at_once(tmp_path):
    process = start(tmp_path, "cut", "--pause", "60")
    time.sleep(0.1)
    deadline = time.monotonic() + 30
    while not (tmp_path / "cut/study.log").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    _, err = process.communicate(timeout=10)
    assert process.returncode != 0
    assert "KeyboardInterrupt" in err


def test_a_running_run_is_refused_to_a_second_process(tmp_path):
    process = start(tmp_path, "cut", "--pause", "0.2")
    wait_for(process, "evaluated 1")
    second = start(tmp_path, "cut", "--resume")
    _, err = second.communicate(timeout=60)
    process.kill()
    process.communicate()
    assert second.returncode == UserError.exit_status
    assert err == (
        f"run cut is being written by process {process.pid}: wait for it or end it, or choose another --run\n"
    )


def test_workers_that_are_slow_to_end_do_not_fail_the_search(synthetic, monkeypatch, caplog):
    from distributed import Client, LocalCluster

    def late(self, timeout):
        ended.append(type(self))
        raise TimeoutError

    from bitfront.evaluators.context.spec import EvaluationSpec

    ended = []
    pool = DaskPool(
        EvaluationSpec(model="digits_deit", scheme="fq-vit"), 1, evaluate=lambda spec, config, required: 42
    )
    with monkeypatch.context() as patch:
        patch.setattr(Client, "close", late)
        patch.setattr(LocalCluster, "close", late)
        pool.close()
    assert ended == [Client, LocalCluster]
    assert "the workers took too long to end" in caplog.text
    pool.close()
