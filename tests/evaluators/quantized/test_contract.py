"""Both schemes keep the contract of schemes."""

import pytest
from scheme_contract import SchemeContract


class TestFqVit(SchemeContract):
    @pytest.fixture
    def scheme(self):
        return "fq-vit"


class TestDeploy(SchemeContract):
    @pytest.fixture
    def scheme(self):
        return "deploy"
