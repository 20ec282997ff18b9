"""Studies in databases: SQLite always, PostgreSQL where one is at hand; their locks and their drivers."""

import sqlite3
import subprocess
import sys
import threading

import pytest
from sqlalchemy.exc import OperationalError, ProgrammingError

from bitfront.search.problem.spec import RunSpec
from bitfront.search.runs import storage as storages
from bitfront.search.runs.folder import RunStore
from bitfront.search.runs.storage import (
    STORAGE_NOTE,
    database_url,
    has_study,
    note_storage,
    opening,
    patiently,
    resumed_storage,
    without_password,
)
from bitfront.search.runs.study import StudyRecord
from bitfront.spaces import BitfrontError, UserError

SPEC = RunSpec(evaluations=20, population=8)


class StopError(Exception):
    """Stands for whatever ends a process."""


class StopAfter:
    def __init__(self, evaluations):
        self.evaluations = evaluations

    def __call__(self, progress, trial):
        if trial is not None and progress.evaluations == self.evaluations:
            raise StopError


def tables(folder):
    return [(folder.path / file).read_text() for file in ("front.csv", "trials.csv")]


def test_a_search_in_a_database_resumes_to_the_front_of_a_journal(synthetic, tmp_path, url, name):
    whole = RunStore(tmp_path / "whole").create(name)
    synthetic.search(whole, SPEC)
    folder = RunStore(tmp_path / "runs").create(name)
    assert not has_study(url, name)
    with pytest.raises(StopError):
        synthetic.search(folder, SPEC, observers=(StopAfter(9),), url=url)
    assert has_study(url, name)
    synthetic.search(folder, SPEC, resume=True, url=url)
    assert tables(folder) == tables(whole)
    other = RunSpec(evaluations=20, population=8, seed=3)
    with pytest.raises(UserError, match=r"was made with other settings: search seed \(0, not 3\)"):
        StudyRecord.open(folder.path, name, other, synthetic.problem(other), url)


@pytest.mark.parametrize(
    ("installed", "driver"),
    [(None, "postgresql+psycopg"), (object(), "postgresql")],
    ids=["psycopg", "psycopg2"],
)
def test_the_driver_of_postgresql_that_is_there_is_taken(monkeypatch, installed, driver):
    monkeypatch.setattr(storages, "find_spec", lambda name: installed)
    assert database_url("postgresql://me@host/x").drivername == driver
    assert database_url("postgresql+asyncpg://me@host/x").drivername == "postgresql+asyncpg"


def test_a_missing_driver_is_one_line_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.setattr(storages, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"psycopg is not installed: pip install 'bitfront\[postgresql\]'"):
        has_study("postgresql://me:secret@host/x", "test")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:secret@host/x", "postgresql://me:***@host/x"),
        ("postgresql://me:sec@ret@host/x", "postgresql://me:***@host/x"),
        ("postgresql://me:sec/ret@host/x", "postgresql://me:***@host/x"),
        ("postgresql://:secret@host/x", "postgresql://:***@host/x"),
        (
            "postgresql://host/x?user=me&password=secret&sslmode=require",
            "postgresql://host/x?user=me&password=***&sslmode=require",
        ),
        ("postgresql://host/x?sslPassword=se;cret", "postgresql://host/x?sslPassword=***"),
        ("mysql://me:secret@host/x?ssl_token=secret", "mysql://me:***@host/x?ssl_token=***"),
        ("mssql://?odbc_connect=UID%3Dme%3BPWD%3Dsecret", "mssql://?odbc_connect=***"),
        ("sqlite:////home/me/a@b:c.db", "sqlite:////home/me/a@b:c.db"),
        ("postgresql://host:5432/x", "postgresql://host:5432/x"),
    ],
)
def test_passwords_are_not_shown(url, shown):
    assert without_password(url) == shown


def test_a_message_of_the_driver_does_not_show_the_password():
    url = "postgresql://me:secret@host/x?password=secret"
    with pytest.raises(UserError) as error, opening(url):
        raise ValueError(f"cannot parse {url}")
    assert "secret" not in str(error.value)


OPENER = """
import sys
from bitfront.search.runs.storage import has_study
import optuna.storages
sys.stdin.readline()
print(has_study(sys.argv[1], "test"))
"""


def test_processes_that_begin_on_a_new_database_at_once_all_find_its_tables(tmp_path):
    command = [sys.executable, "-c", OPENER, f"sqlite:///{tmp_path}/study.db"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    openers = [subprocess.Popen(command, **pipes) for _ in range(5)]
    for opener in openers:
        opener.stdin.write("\n")
        opener.stdin.flush()
    found = [opener.communicate() for opener in openers]
    assert [out for out, _ in found] == ["False\n"] * 5, found


@pytest.mark.parametrize(
    "refusal",
    [
        OperationalError(
            "CREATE TABLE studies", {}, sqlite3.OperationalError("table studies already exists")
        ),
        ProgrammingError("CREATE", {}, Exception('relation "studies" already exists')),
        ProgrammingError("CREATE", {}, Exception("duplicate key value violates unique constraint pg_type_x")),
        OperationalError("INSERT", {}, sqlite3.OperationalError("database is locked")),
    ],
    ids=["sqlite", "postgresql", "types of postgresql", "locked"],
)
def test_a_database_whose_tables_another_process_makes_is_tried_again(tmp_path, monkeypatch, refusal):
    import optuna.storages

    whole, refusals = optuna.storages.RDBStorage, [refusal, refusal]

    def storage(url):
        if refusals:
            raise refusals.pop()
        return whole(url)

    monkeypatch.setattr(optuna.storages, "RDBStorage", storage)
    assert not has_study(f"sqlite:///{tmp_path}/study.db", "test")


def test_what_does_not_pass_is_not_waited_for(tmp_path):
    (tmp_path / "study.db").write_text("no database, but long enough a text to be seen as none")
    with pytest.raises(UserError, match="cannot be opened: file is not a database"):
        has_study(f"sqlite:///{tmp_path}/study.db", "test")


@pytest.fixture
def locked(synthetic, tmp_path, monkeypatch):
    """A record in a database, of a problem with one candidate, and a connection that locks it."""
    folder = RunStore(tmp_path / "runs").create("test")
    problem, url = synthetic.problem(SPEC), f"sqlite:///{tmp_path}/study.db"
    record = StudyRecord.create(folder.path, "test", SPEC, problem, url)
    candidate = problem.prepare([1, 0] * (len(problem.space) // 2))
    trial = problem.trial(record.begin(candidate), candidate, synthetic.score(candidate.config), 1.0)
    other = sqlite3.connect(tmp_path / "study.db", check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(storages, "TOLD_AFTER_S", 0.0)
    yield record, trial, other, lambda: StudyRecord.open(folder.path, "test", SPEC, problem, url)
    other.close()


def test_a_locked_database_is_waited_for_and_the_result_is_recorded(locked, caplog):
    record, trial, other, reopened = locked
    release = threading.Timer(6.5, other.rollback)  # longer than SQLite itself waits
    release.start()
    record.finish(trial)
    release.join()
    assert "is locked by another process (database is locked): waiting up to 10 minutes" in caplog.text
    assert "the database answers again" in caplog.text
    assert reopened().trials == (trial,)


def test_a_database_that_stays_locked_ends_a_search_with_the_true_reason(locked, monkeypatch):
    record, trial, other, reopened = locked
    monkeypatch.setattr(storages, "PATIENCE_S", 0.5)
    with pytest.raises(
        BitfrontError, match=r"sqlite:.*study\.db of the study cannot be written \(database is locked\)"
    ):
        record.finish(trial)
    other.rollback()
    assert reopened().trials == (trial,), "what was paid for is kept beside the database meanwhile"


def test_other_errors_are_not_waited_for():
    calls = []

    def fails():
        calls.append(1)
        raise OperationalError("SELECT 1", {}, Exception("server closed the connection"))

    with pytest.raises(OperationalError):
        patiently("here", fails)
    assert len(calls) == 1


class TestResumed:
    """Where the study of a run is that is gone on with."""

    @pytest.fixture
    def folder(self, tmp_path):
        return RunStore(tmp_path / "runs").create("test").path

    def test_the_database_is_noted_without_its_password(self, folder):
        note_storage(folder, "postgresql://me:secret@host/x?password=other")
        text = (folder / STORAGE_NOTE).read_text()
        assert "secret" not in text
        assert "other" not in text
        with pytest.raises(UserError, match=r"keeps its study in postgresql://me:\*\*\*@host/x.* --storage"):
            resumed_storage(folder, None)

    def test_a_database_without_a_password_is_found_from_any_folder(self, folder, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        note_storage(folder, "sqlite:///study.db")
        monkeypatch.chdir("/")
        assert resumed_storage(folder, None) == f"sqlite:///{tmp_path}/study.db"

    def test_a_study_in_the_folder_is_not_begun_again_in_a_database(self, folder, tmp_path):
        (folder / "study.log").touch()
        with pytest.raises(UserError, match=r"keeps its study in .*study\.log: leave out --storage"):
            resumed_storage(folder, f"sqlite:///{tmp_path}/study.db")
        assert resumed_storage(folder, None) is None

    def test_a_database_that_is_gone_or_another_is_refused(self, synthetic, folder, tmp_path):
        url, other = f"sqlite:///{tmp_path}/study.db", f"sqlite:///{tmp_path}/other.db"
        note_storage(folder, url)
        (folder / "trials.csv").touch()
        with pytest.raises(UserError, match=r"there is no database .*study\.db, which had the study of run"):
            resumed_storage(folder, None)
        assert not (tmp_path / "study.db").exists()
        StudyRecord.create(folder, "test", SPEC, synthetic.problem(SPEC), url)
        assert resumed_storage(folder, None) == url
        assert not has_study(other, "test")
        with pytest.raises(UserError, match=r"other\.db has not the study .* the run has it in .*study\.db"):
            resumed_storage(folder, other)
