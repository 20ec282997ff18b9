"""Latency sources by name: what they refuse before anything is prepared, what times whole models for them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from bitfront.evaluators.context.machine import cpu_name
from bitfront.evaluators.latency.hardware_profile import profile_named
from bitfront.evaluators.latency.registry import TIMED_RUNTIMES, TimedRuntimeKind
from bitfront.evaluators.latency.roofline import model_table
from bitfront.evaluators.latency.source import latency_source, resumed_source
from bitfront.evaluators.latency.table import Latency, LatencyTable
from bitfront.evaluators.latency.table_file import table_csv
from bitfront.evaluators.latency.timed_runtime import Subject
from bitfront.evaluators.latency.torch_runtime import TorchRuntime
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.spaces import UserError


class Abacus(TorchRuntime):
    source = "measured:abacus"
    needs_codes = True


@pytest.fixture
def table() -> LatencyTable:
    return LatencyTable({("s", (8, 8, 8)): Latency(1.5)}, Latency(0.5), Latency(5.0), 8, "mine")


@pytest.fixture
def abacus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TIMED_RUNTIMES, "abacus", TimedRuntimeKind(("deploy",), Abacus))


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(threads: int) -> TorchRuntime:
        raise UserError("abacus is not installed: make one")

    monkeypatch.setitem(TIMED_RUNTIMES, "abacus", TimedRuntimeKind(("deploy",), load))


def written(folder: Path, table: LatencyTable) -> str:
    (folder / "mine.csv").write_text(table_csv(table))
    return f"table:{folder / 'mine.csv'}"


@pytest.mark.parametrize("name", ["measured", "measured:torch"])
@pytest.mark.parametrize("scheme", ["fq-vit", "deploy"])
def test_torch_measures_both_schemes(name: str, scheme: str) -> None:
    source = latency_source(name, scheme)
    assert source.measured
    assert source.batch is None
    assert source.notes((4, 8)) == ()
    assert (source.timer.source, source.timer.needs_codes) == ("measured:torch", False)


def test_other_runtimes_are_loaded_by_name(abacus: None) -> None:
    assert latency_source("measured:abacus", "deploy").timer.source == "measured:abacus"
    with pytest.raises(
        UserError, match=r"measured:abacus runs scheme deploy only, not fq-vit: give --scheme"
    ):
        latency_source("measured:abacus", "fq-vit")


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_runtimes_of_graphs_run_scheme_deploy_alone(name: str) -> None:
    with pytest.raises(UserError, match=f"measured:{name} runs scheme deploy only, not fq-vit"):
        latency_source(f"measured:{name}", "fq-vit")


def test_a_runtime_that_is_not_installed_is_told(missing: None) -> None:
    with pytest.raises(UserError, match="abacus is not installed"):
        latency_source("measured:abacus", "deploy")


@pytest.mark.parametrize("name", ["", "measure", "measured:gpu", "table:", "table", "model:", "model"])
def test_unknown_sources_are_refused(name: str) -> None:
    expected = (
        r"choose measured, measured:torch, measured:onnxruntime, measured:openvino, table:FILE, model:NAME "
        r"\(a100, bitfusion, bops, horowitz45, t4\) or model:FILE.toml"
    )
    with pytest.raises(UserError, match=expected) as caught:
        latency_source(name, "fq-vit")
    assert repr(name) in str(caught.value)


class TestTables:
    def test_names_its_file_and_its_own_source(
        self, tmp_path: Path, table: LatencyTable, prepared: PreparedModel, module: torch.nn.Module
    ) -> None:
        source = latency_source(written(tmp_path, table), "fq-vit")
        assert not source.measured
        assert source.batch == 8
        assert source.notes((4, 8)) == ()
        found = source.table(Subject(prepared, module), 1)
        assert found == dataclasses.replace(table, source="table:mine.csv (mine)")

    def test_another_scheme_is_refused(self, tmp_path: Path, table: LatencyTable) -> None:
        name = written(tmp_path, dataclasses.replace(table, scheme="deploy"))
        assert latency_source(name, "deploy").batch == 8
        with pytest.raises(
            UserError, match=r"mine.csv \(mine\) is for scheme deploy, not fq-vit: give --scheme"
        ):
            latency_source(name, "fq-vit")

    def test_other_threads_are_refused(self, tmp_path: Path, table: LatencyTable, abacus: None) -> None:
        of_two = dataclasses.replace(table, source="measured:abacus", threads=2)
        name = written(tmp_path, of_two)
        for asked in (None, 2):
            assert latency_source(name, "deploy", asked).timer.threads == 2
        with pytest.raises(UserError, match=r"--latency-threads 1: table:.* is for 2 threads: leave the opt"):
            latency_source(name, "deploy", 1)
        with pytest.raises(UserError, match=r"--latency-threads 4: table:.* is for 1 thread"):
            latency_source(written(tmp_path, table), "deploy", 4)

    def test_another_machine_is_told(self, tmp_path: Path, table: LatencyTable) -> None:
        here = latency_source(written(tmp_path, dataclasses.replace(table, machine=cpu_name())), "deploy")
        assert here.notes((8,)) == ()
        away = latency_source(written(tmp_path, dataclasses.replace(table, machine="Pixel 8")), "deploy")
        [note] = away.notes((8,))
        assert note == f"the latency table was measured on Pixel 8; this machine is {cpu_name()}"
        assert away.table(None, 8).source == "table:mine.csv (mine, Pixel 8)"  # type: ignore[arg-type]

    def test_modelled_times_stay_modelled(self, tmp_path: Path, table: LatencyTable) -> None:
        source = latency_source(written(tmp_path, dataclasses.replace(table, source="model:bops")), "deploy")
        assert source.notes((8,)) == ("latencies are modelled (table:mine.csv (model:bops)), not measured",)

    def test_whole_models_are_timed_in_the_tables_runtime(
        self, tmp_path: Path, table: LatencyTable, abacus: None
    ) -> None:
        name = written(tmp_path, dataclasses.replace(table, source="measured:abacus"))
        assert latency_source(name, "deploy").timer.source == "measured:abacus"
        # It cannot run this scheme; in torch then, as for times of unknown origin.
        assert latency_source(name, "fq-vit").timer.source == "measured:torch"
        assert latency_source(written(tmp_path, table), "deploy").timer.source == "measured:torch"

    def test_or_in_torch_where_that_is_not_installed(
        self, tmp_path: Path, table: LatencyTable, missing: None
    ) -> None:
        name = written(tmp_path, dataclasses.replace(table, source="measured:abacus"))
        assert latency_source(name, "deploy").timer.source == "measured:torch"


def test_measured_on_as_many_threads_as_asked(abacus: None) -> None:
    assert latency_source("measured:abacus", "deploy").timer.threads == 1
    assert latency_source("measured:abacus", "deploy", 3).timer.threads == 3


class TestModels:
    def test_threads_are_not_modelled(self) -> None:
        with pytest.raises(UserError, match="--latency-threads 2: model:bops models a whole machine"):
            latency_source("model:bops", "deploy", 2)

    @pytest.mark.parametrize("name", ["bops", "t4"])
    def test_computes_times_for_the_asked_batch(
        self, name: str, prepared: PreparedModel, module: torch.nn.Module
    ) -> None:
        source = latency_source(f"model:{name}", "fq-vit")
        assert (source.measured, source.batch, source.timer.source) == (False, None, "measured:torch")
        table = source.table(Subject(prepared, module), 64)
        expected = model_table(profile_named(name), prepared.blueprint, prepared.choices, "fq-vit", 64)
        assert table == expected
        assert (table.source, table.batch) == (f"model:{name}", 64)
        assert source.notes((4, 8)) == profile_named(name).notes((4, 8))

    def test_unknown_profiles_are_named(self) -> None:
        with pytest.raises(UserError, match="unknown latency profile 'model:gpu'"):
            latency_source("model:gpu", "fq-vit")


class TestResumed:
    def test_files_are_not_read_again(self, table: LatencyTable) -> None:
        recorded = dataclasses.replace(table, source="table:gone.csv (mine)")
        for name in ("table:gone.csv", "model:gone.toml"):
            source = resumed_source(name, "deploy", recorded)
            assert source.table(None, 1) is recorded  # type: ignore[arg-type]
            assert not source.measured

    def test_measured_runs_are_timed_where_they_were(self, table: LatencyTable, abacus: None) -> None:
        fallen_back = dataclasses.replace(table, source="model:bops")
        source = resumed_source("measured:abacus", "deploy", fallen_back)
        assert source.measured
        assert source.timer.source == "measured:abacus"
