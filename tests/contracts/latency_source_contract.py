"""What every latency source keeps: subclass it with a fixture ``source`` to test one."""

from __future__ import annotations

import itertools

import pytest
import torch
from additive_runtime import clock

from bitfront.evaluators.latency import measured
from bitfront.evaluators.latency.source import LatencySource
from bitfront.evaluators.latency.table import TableLatency, encoder_shape, timed_encoders
from bitfront.evaluators.latency.timed_runtime import Subject
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.spaces import triples


class LatencySourceContract:
    """A table of every encoder at every precision, for the batch that was asked for, that adds up."""

    @pytest.fixture
    def subject(self, prepared: PreparedModel, module: torch.nn.Module) -> Subject:
        """A small model."""
        return Subject(prepared, module)

    @pytest.fixture
    def source(self, subject: Subject) -> LatencySource:
        """The source under test; the subject is for sources that have the times of one model alone."""
        raise NotImplementedError("a subclass gives its source")

    @pytest.fixture(autouse=True)
    def _times_without_waiting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(measured, "time_interleaved", clock)

    def test_it_says_what_must_be_known(self, source: LatencySource) -> None:
        notes = source.notes((4, 8))
        assert all(note and "\n" not in note for note in notes)
        assert source.measured or source.timer.source.startswith("measured:")

    def test_the_table_has_every_encoder_at_every_precision(
        self, source: LatencySource, subject: Subject
    ) -> None:
        table = source.table(subject, source.batch or 2)
        shapes = {encoder_shape(encoder) for encoder in subject.prepared.blueprint.encoders}
        expected = set(itertools.product(shapes, triples(subject.prepared.choices)))
        assert expected <= set(table.encoders)
        assert table.batch == (source.batch or 2)
        times = [table.rest, table.float_model, *(table.encoders[key] for key in expected)]
        assert all(entry.milliseconds > 0 for entry in times)
        assert table.source

    def test_the_same_table_twice_and_sums_of_it(self, source: LatencySource, subject: Subject) -> None:
        one, other = (source.table(subject, source.batch or 2) for _ in range(2))
        assert one == other
        needed = triples(subject.prepared.choices)
        latency = TableLatency(one, timed_encoders(subject.prepared.blueprint), needed)
        assert latency.latency_ms(subject.widest) > one.rest.milliseconds
