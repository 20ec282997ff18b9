"""Databases of studies."""

import os
import uuid

import pytest

VARIABLE = "BITFRONT_TEST_POSTGRESQL"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/study.db"
    if VARIABLE not in os.environ:
        pytest.skip(f"set {VARIABLE} to the URL of a PostgreSQL database, such as postgresql://me@host/test")
    return os.environ[VARIABLE]


@pytest.fixture
def name():
    """A database of a team keeps studies: every test has its own."""
    return f"test-{uuid.uuid4().hex[:8]}"
