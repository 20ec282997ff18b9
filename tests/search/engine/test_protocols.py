"""The pool of this process keeps the contract."""

import pytest
from search_contracts import PoolContract

from bitfront.search.engine.protocols import InlinePool


class TestInlinePool(PoolContract):
    @pytest.fixture
    def pool(self, score):
        return InlinePool(score)
