"""Tables of timings: what slows rounds is taken out, parts meet wholes, and what is not timed is fitted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from probe_timings import FLOAT_MS, encoder_ms, timings_of

from bitfront.evaluators.latency.probes.fitting import FittedTable, fitted_tables
from bitfront.evaluators.latency.probes.plan import ANCHOR, planned
from bitfront.evaluators.latency.probes.timings import read_timings
from bitfront.evaluators.latency.table import TimedEncoder
from bitfront.evaluators.latency.table_file import read_table, table_csv
from bitfront.spaces import BitConfig, EncoderLayers, SearchSpace, triples

SHAPE = "17x32h2m128"
Fit = Callable[..., FittedTable]


@pytest.fixture
def fit(tmp_path: Path, manifest: dict[str, Any]) -> Fit:
    def fitted(
        document: dict[str, Any] | None = None, of: dict[str, Any] | None = None, **options: Any
    ) -> FittedTable:
        path = tmp_path / "timings.json"
        path.write_text(json.dumps(document or timings_of(of or manifest, **options)))
        (found,) = fitted_tables(read_timings(path))
        return found

    return fitted


def test_exact_times_make_an_exact_table(fit: Fit, tmp_path: Path) -> None:
    found = fit(batch=8, threads=2)
    table = found.table
    for (shape, bits), entry in table.encoders.items():
        assert entry.milliseconds == pytest.approx(8 * encoder_ms(shape, bits), rel=1e-3)
    assert table.float_model.milliseconds == pytest.approx(8 * FLOAT_MS)
    assert (table.batch, table.threads, table.machine, table.scheme) == (8, 2, "abacus", "deploy")
    assert [check.error for check in found.checks] == pytest.approx([0.0, 0.0], abs=1e-3)
    assert not found.disturbed
    assert not found.misses
    (tmp_path / "t.csv").write_text(table_csv(table))
    again = read_table(tmp_path / "t.csv")
    assert (again.threads, again.sum_error) == (2, pytest.approx(table.sum_error, rel=0.01))


def test_what_models_take_longer_is_shared_by_rest_and_encoders(fit: Fit) -> None:
    found = fit(factor=1.06, extra_ms=0.01)
    assert [check.error for check in found.checks] == pytest.approx([0.0, 0.0], abs=0.004)
    entry = found.table.encoders[SHAPE, (8, 8, 8)]
    assert entry.milliseconds == pytest.approx(1.06 * encoder_ms(SHAPE, (8, 8, 8)), rel=0.02)


def test_slow_rounds_are_taken_out(fit: Fit) -> None:
    levels = [1.0, 2.5, 1.01, 1.7, 1.0, 1.02, 3.0, 1.0, 1.01, 1.0]
    found = fit(levels=levels, noise=0.01)
    assert found.rounds == len(levels)
    assert found.disturbed
    assert found.table.float_model.milliseconds == pytest.approx(FLOAT_MS, rel=0.04)
    assert max(abs(check.error) for check in found.checks) < 0.02


def test_steady_work_beside_leaves_shares_as_they_are(fit: Fit) -> None:
    rng = np.random.default_rng(1)
    found = fit(levels=[float(level) for level in rng.uniform(1.5, 2.5, 40)], noise=0.03)
    table = found.table
    share = table.encoders[SHAPE, (4, 4, 4)].milliseconds / table.float_model.milliseconds
    assert share == pytest.approx(encoder_ms(SHAPE, (4, 4, 4)) / FLOAT_MS, rel=0.06)
    assert found.disturbed


def test_errors_are_about_as_large_as_they_say(fit: Fit) -> None:
    entry = fit(noise=0.05, rounds=25).table.float_model
    assert 0.004 < entry.relative_error < 0.03
    assert abs(entry.milliseconds / FLOAT_MS - 1.0) < 4 * entry.relative_error


def test_sums_that_miss_are_known(fit: Fit, manifest: dict[str, Any]) -> None:
    document = timings_of(manifest)
    document["runs"][0]["mean"]["check-0"] = [2.0 * ms for ms in document["runs"][0]["mean"]["check-0"]]
    found = fit(document)
    assert found.misses
    assert found.checks[0].error == pytest.approx(-0.5, abs=0.01)
    assert found.table.sum_error == pytest.approx(0.5 / 2**0.5, rel=0.05)


class TestManyShapes:
    """Of a model of many shapes the heaviest is timed at every precision, the others at both ends."""

    SHAPES = ("3136x96h3m384", "784x192h6m768", "196x384h12m1536", "49x768h24m3072")

    @pytest.fixture
    def others(self) -> dict[str, Any]:
        encoders = [TimedEncoder(shape, {"qkv": 100 * (1 + n % 2)}) for n, shape in enumerate(self.SHAPES)]
        layers = [EncoderLayers(n, f"e{n}", ("qkv",)) for n in range(4)]
        space = SearchSpace("swin", "deploy", layers, (4, 8))
        checks = [space.decode(genome) for genome in space.sample(np.random.default_rng(0), 2)]
        ends = ((8, 8, 8), (4, 4, 4))
        anchors = [BitConfig.uniform("swin", "deploy", layers, bits) for bits in ends]
        programs = {bits: (bits[1] < 8, bits[2] < 8) for bits in triples((4, 8))}
        plan = planned(encoders, programs, ends, anchors, checks)
        probes = [{**probe.to_json(), "file": "x.onnx", "input": [1]} for probe in plan.probes]
        assert [probe.part for probe in plan.probes].count(ANCHOR) == 2
        return {
            "model": "swin", "scheme": "deploy", "encoders": list(self.SHAPES), "row": 4,
            "heaviest": plan.heaviest, "widest": [8, 8, 8], "narrowest": [4, 4, 4],
            "entries": [[shape, list(bits), name or ""] for (shape, bits), name in plan.entries.items()],
            "runtimes": {"openvino": {"probes": probes}},
        }  # fmt: skip

    def test_few_are_timed(self, others: dict[str, Any]) -> None:
        timed = [p for p in others["runtimes"]["openvino"]["probes"] if p["part"] == "encoder"]
        # Four of the heaviest, two of each other, and one that tells how well the rest is fitted.
        assert len(timed) == 4 + 3 * 2 + 1
        assert others["heaviest"] == self.SHAPES[0]

    def test_the_rest_is_fitted_with_its_error(self, fit: Fit, others: dict[str, Any]) -> None:
        found = fit(of=others)
        for (shape, bits), entry in found.table.encoders.items():
            assert entry.milliseconds == pytest.approx(encoder_ms(shape, bits), rel=5e-3)
        assert found.fit_error < 1e-6
        document = timings_of(others)
        mean = document["runs"][0]["mean"]
        probes = others["runtimes"]["openvino"]["probes"]
        middle = [p for p in probes if p.get("bits") not in (None, [8, 8, 8], [4, 4, 4])]
        tested = next(p["name"] for p in middle if p["shape"] != self.SHAPES[0])
        mean[tested] = [1.1 * ms for ms in mean[tested]]
        found = fit(document)
        assert found.fit_error == pytest.approx(1.0 - 1.0 / 1.1, rel=0.01)
        entries = {bool(e.relative_error > 0.05) for e in found.table.encoders.values()}
        assert entries == {True, False}
