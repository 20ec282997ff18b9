"""What every test shares: a cache of prepared models, never the developer's; one core to a process."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

SHARED_OUT = "PYTEST_XDIST_WORKER" in os.environ

if SHARED_OUT:  # one core is what such a process has; torch reads these when it is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that processes that share the files end at about the same time."""
    if SHARED_OUT:
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def _cache_of_this_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Models are prepared once a session, in all processes that run tests and those that tests start.

    Evaluations are not shared: a test that interrupts a search would find it done by another one's.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if SHARED_OUT else base) / "prepared-models"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BITFRONT_CACHE", str(folder))
        patch.delenv("BITFRONT_CACHE_LIMIT", raising=False)
        patch.setenv("BITFRONT_EVALUATIONS", "off")
        yield
