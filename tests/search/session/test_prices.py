"""Pricing by every kind of source: tables, what is modelled, and what was measured here before."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from priceable_run import table

from bitfront.evaluators.context.machine import cpu_name
from bitfront.evaluators.latency.table_file import read_table, table_csv
from bitfront.search import open_run
from bitfront.search.session.run import Run
from bitfront.spaces import UserError


@pytest.fixture
def run(priceable_runs: Path) -> Run:
    return open_run("searched", runs_dir=priceable_runs)


def test_everything_of_a_run_follows_its_prices(run: Run, priceable_runs: Path) -> None:
    found = run.priced(f"table:{priceable_runs / 'phone.csv'}")
    assert found.latency_source == "table:phone.csv (clock 1, a phone)"
    assert found.title == f"searched by table:{priceable_runs / 'phone.csv'}"
    assert set(found.front["latency_source"]) == {found.latency_source}
    listed = found.shortlist["trial"].tolist()
    assert found.front["trial"][found.front["listed"]].tolist() == listed
    assert found.knee in listed
    assert found.pick("latency")["latency_ms"] == found.front["latency_ms"].min()
    assert len(found.within(max_latency="0.6x").front) < len(found.front)
    assert found.figures(only=["hypervolume_time"]) == {}
    assert run.priced("run") is run


def test_batches_are_those_of_the_source(run: Run, priceable_runs: Path) -> None:
    name = f"table:{priceable_runs / 'gpu.csv'}"
    found = run.priced(name)
    assert found.latency_batch == 8
    assert found.prices is not None
    assert found.prices.words == ("--latency", name, "--latency-batch", "8")
    assert found.prices.label == "table_gpu-b8"
    with pytest.raises(UserError, match=r"--latency-batch 2: table:.* is for batches of 8"):
        run.priced(name, latency_batch=2)
    with pytest.raises(UserError, match="--latency-batch 4: run searched is for batches of 1"):
        run.priced("run", latency_batch=4)


def test_threads_are_those_of_the_source(run: Run, priceable_runs: Path, tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    path.write_text(table_csv(dataclasses.replace(read_table(priceable_runs / "phone.csv"), threads=2)))
    found = run.priced(f"table:{path}")
    assert (run.latency_threads, found.latency_threads) == (1, 2)
    assert found.prices is not None
    assert found.prices.words == ("--latency", f"table:{path}", "--latency-threads", "2")
    assert found.prices.label == "table_two-t2"
    with pytest.raises(UserError, match=r"--latency-threads 1: table:.* is for 2 threads"):
        run.priced(f"table:{path}", latency_threads=1)
    with pytest.raises(UserError, match="--latency-threads 2: run searched is for 1 thread"):
        run.priced("run", latency_threads=2)


def test_what_was_measured_here_is_taken_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    here = dataclasses.replace(table(3), machine=cpu_name())
    kept = run.path / "prices" / "measured_torch-b1.csv"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(table_csv(here))
    told: list[str] = []
    monkeypatch.setattr(
        "bitfront.search.session.reporter.CallbackReporter.note", lambda _, text: told.append(text)
    )
    found = run.priced("measured:torch")
    assert found.latency_source == "clock 3"
    assert told == [f"note: latencies are those of {kept}: remove it to measure again"]


def test_tables_of_others_are_refused(run: Run, tmp_path: Path) -> None:
    import dataclasses

    other = {("9x9h1m9", bits): time for (_, bits), time in table(1).encoders.items()}
    for changed, message in (
        ({"encoders": other}, "no entry for encoder shape 65x32h2m64"),
        ({"scheme": "deploy"}, "is for scheme deploy, not fq-vit"),
    ):
        (tmp_path / "t.csv").write_text(table_csv(dataclasses.replace(table(1), **changed)))
        with pytest.raises(UserError, match=message):
            run.priced(f"table:{tmp_path / 't.csv'}")
    with pytest.raises(UserError, match="unknown latency source 'tabel:x'"):
        run.priced("tabel:x")


def test_a_run_is_priced_before_it_is_narrowed(run: Run, priceable_runs: Path) -> None:
    name = f"table:{priceable_runs / 'phone.csv'}"
    for changed in (run.within(max_drop=40), run.priced(name)):
        with pytest.raises(UserError, match="was changed before: price the run as it was opened"):
            changed.priced(name)


def test_a_table_needs_no_torch(priceable_runs: Path) -> None:
    program = (
        "import sys; from bitfront.search import open_run; "
        f"run = open_run('searched', runs_dir={str(priceable_runs)!r}); "
        f"found = run.priced('table:{priceable_runs / 'phone.csv'}'); "
        "assert len(found.front) and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
