"""Every latency source keeps the contract of latency sources."""

import pytest
from additive_runtime import AdditiveRuntime
from latency_source_contract import LatencySourceContract

from bitfront.evaluators.latency.source import MeasuredSource, latency_source
from bitfront.evaluators.latency.table_file import table_csv


class TestMeasured(LatencySourceContract):
    @pytest.fixture
    def source(self):
        return MeasuredSource(AdditiveRuntime())


class TestTable(LatencySourceContract):
    @pytest.fixture
    def source(self, subject, tmp_path):
        table = MeasuredSource(AdditiveRuntime()).table(subject, 3)
        (tmp_path / "mine.csv").write_text(table_csv(table))
        return latency_source(f"table:{tmp_path / 'mine.csv'}", subject.prepared.scheme)


class TestModel(LatencySourceContract):
    @pytest.fixture
    def source(self, subject):
        return latency_source("model:bops", subject.prepared.scheme)
