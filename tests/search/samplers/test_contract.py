"""Every sampler keeps the contract of samplers."""

import pytest
from sampler_contract import Make, SamplerContract

from bitfront.search.samplers.registry import make_sampler


def by_name(name: str) -> Make:
    return lambda problem, population, seed: make_sampler(name, problem, population, seed)


class TestNsga2(SamplerContract):
    @pytest.fixture
    def make(self):
        return by_name("nsga2")


class TestRandomSearch(SamplerContract):
    @pytest.fixture
    def make(self):
        return by_name("random")


class TestSurrogate(SamplerContract):
    evaluations = 24  # each batch costs a tenth of a second

    @pytest.fixture
    def make(self):
        return by_name("surrogate-nsga2")


class TestTpe(SamplerContract):
    @pytest.fixture
    def make(self):
        return by_name("optuna-tpe")


class TestOptunaNsga2(SamplerContract):
    @pytest.fixture
    def make(self):
        return by_name("optuna-nsga2")


class TestExhaustiveSearch(SamplerContract):
    @pytest.fixture
    def make(self):
        return by_name("exhaustive")

    test_same_seed_same_genomes_and_none_twice = None  # it refuses so large a space
    test_failed_and_rejected_candidates_end_nothing = None


class TestProgressive(SamplerContract):
    @pytest.fixture
    def make(self):
        return by_name("progressive")


class TestThresholds(SamplerContract):
    @pytest.fixture
    def make(self):
        return by_name("thresholds")
