"""Locks: one process at a time, told who holds them, and free when the holder is killed."""

import os
import subprocess
import sys

import pytest

from bitfront.search.runs.folder import RunFolder
from bitfront.search.runs.locks import study_lock
from bitfront.spaces import UserError

HOLDER = """
import sys, time
from bitfront.search.runs.locks import study_lock
with study_lock(sys.argv[1], sys.argv[2]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_on_a_run_is_refused_with_the_first_ones_id(folder):
    program = (
        "import sys; from pathlib import Path; from bitfront.search.runs.folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).lock(): print('has it')"
    )
    command = [sys.executable, "-c", program, str(folder.path)]
    with folder.lock():
        refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert f"run test is being written by process {os.getpid()}" in refused.stderr
    freed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert freed.stdout == "has it\n"


def test_a_lock_is_free_once_its_process_was_killed(folder):
    program = (
        "import sys, time; from pathlib import Path; from bitfront.search.runs.folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).lock(): print('has it', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(folder.path)]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout.readline() == "has it\n"
        for _ in range(2):  # a refusal leaves the note of the holder as it is
            with pytest.raises(UserError, match=f"by process {owner.pid}: wait for it"), folder.lock():
                pass
    finally:
        owner.kill()
        owner.communicate()
    with folder.lock():
        assert (folder.path / "run.lock").read_text() == f"{os.getpid()}\n"


def test_a_lock_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*run\.lock"), RunFolder(tmp_path / "file").lock():
        pass


def test_a_study_that_is_written_is_refused_to_others_until_its_owner_is_killed(url, name):
    owner = subprocess.Popen([sys.executable, "-c", HOLDER, url, name], stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout.readline() == "held\n"
        with (
            pytest.raises(
                UserError, match=f"study {name} is being written by .*process {owner.pid}: wait for"
            ),
            study_lock(url, name),
        ):
            pass
        with study_lock(url, f"{name}-other"):
            pass
    finally:
        owner.kill()
        owner.communicate()
    with study_lock(url, name):
        pass
    with study_lock(url, name):
        pass


def test_a_study_in_the_run_folder_has_the_lock_of_the_run():
    with study_lock(None, "test"), study_lock(None, "test"):
        pass
