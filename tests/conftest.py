"""What every test shares: a cache of prepared models of its own, never the developer's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _cache_of_this_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Models are prepared once a session, in this process and in those that tests start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BITFRONT_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("BITFRONT_CACHE_LIMIT", raising=False)
        yield
