"""Studies in databases: SQLite always, PostgreSQL where one is at hand; their locks and their drivers."""

import sys

import pytest

from bitfront.search.problem.spec import RunSpec
from bitfront.search.runs import storage as storages
from bitfront.search.runs.folder import RunStore
from bitfront.search.runs.storage import database_url, has_study, opening, without_password
from bitfront.search.runs.study import StudyRecord
from bitfront.spaces import UserError

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
