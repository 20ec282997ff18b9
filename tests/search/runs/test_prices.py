"""Pricing a finished run: what a search with those latencies from the start would have, to the bit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType

import pytest
from priceable_run import ENCODERS, SPEC, latencies, summary_of

from bitfront.evaluators.latency.table import TableLatency
from bitfront.search.engine.protocols import Progress
from bitfront.search.engine.result import SearchResult
from bitfront.search.estimation.estimates import judging_archive
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.references import Reference, References
from bitfront.search.problem.trial import Trial
from bitfront.search.runs.folder import RunStore, write_space
from bitfront.search.runs.prices import priced
from bitfront.search.runs.reader import RecordedRun
from bitfront.search.runs.recorded_costs import read_encoders
from bitfront.search.runs.tables import RunTables
from bitfront.spaces import BitConfig, SearchSpace, UserError


@pytest.fixture(scope="module")
def run(priceable_runs: Path) -> RecordedRun:
    return RecordedRun.read(priceable_runs, "searched")


def from_the_start(synthetic: ModuleType, run: RecordedRun, latency: TableLatency, root: Path) -> RecordedRun:
    """The same evaluations in a search that went by these latencies, written and read as any other."""

    class Cost(synthetic.Cost):  # type: ignore[name-defined,misc]
        latency_source, latency_noise = latency.source, latency.noise

        def latency_ms(self, config: BitConfig) -> float:
            return latency.latency_ms(config)

        def minimum_latency_ms(self, space: SearchSpace, rules: object = ()) -> float:
            from bitfront.evaluators.latency.costs import least_cost

            return least_cost(space, self.latency_ms, rules)  # type: ignore[arg-type]

    searched, cost = synthetic.space(), Cost()
    spec = dataclasses.replace(synthetic.at_widths_of(searched, SPEC), max_latency=None)
    known = synthetic.references(searched)

    def at(reference: Reference, milliseconds: float) -> Reference:
        return dataclasses.replace(reference, latency_ms=milliseconds, latency_source=latency.source)

    eight = synthetic.uniform(searched, 8)
    references = References(
        at(known.float_model, latency.table.float_model.milliseconds),
        at(known.eight_bit, latency.latency_ms(eight)),
    )
    problem = SearchProblem.from_spec(spec, searched, cost, references)
    trials: list[Trial] = []
    for row in run.trials.to_dict("records"):
        genome = [gene.choices.index(int(row[gene.name])) for gene in searched.genes]
        candidate = problem.prepare(genome)
        if row["state"] == "rejected":
            costs = candidate.values, candidate.violations
            trials.append(
                Trial(len(trials), candidate.digest, candidate.genome, "rejected", *costs, None, 0.0)
            )
        else:
            trials.append(problem.trial(len(trials), candidate, synthetic.score(candidate.config), 0.0))
    archive = judging_archive(problem, trials)
    share = problem.box.share(archive.front_points)
    progress = Progress(
        archive.evaluations, 40, 0, archive.front, len(trials), share, 0.0, None, problem.objectives
    )
    result = SearchResult("done", archive.trials, archive.front, problem, progress)
    folder = RunStore(root).create("from-the-start")
    folder.write_spec(spec)
    write_space(folder.path, searched)
    RunTables(folder, problem).write(result.trials, result.front)
    folder.write_json("references.json", references.to_json())
    folder.write_json("summary.json", summary_of(result))
    return RecordedRun.read(root, "from-the-start")


@pytest.mark.parametrize("seed", [1, 2])
def test_it_is_the_search_that_had_that_table_from_the_start(
    synthetic: ModuleType, run: RecordedRun, tmp_path: Path, seed: int
) -> None:
    latency = latencies(seed)
    found = priced(run, latency, "table:phone.csv")
    expected = from_the_start(synthetic, run, latency, tmp_path)
    assert len(expected.front) > 3
    assert found.front["trial"].tolist() != run.front["trial"].tolist()
    assert list(found.trials.columns) == list(expected.trials.columns)
    for name in ("front", "trials"):
        assert getattr(found, name).equals(getattr(expected, name))
    assert found.limits == expected.limits
    assert found.references == expected.references
    changing = {"stopped_because", "seconds", "message"}
    for key in expected.summary.keys() - changing - {"hypervolume_history"}:
        assert found.summary[key] == expected.summary[key], key
    assert list(map(list, found.summary["hypervolume_history"])) == expected.summary["hypervolume_history"]


def test_its_own_latencies_are_kept_to_the_bit(synthetic: ModuleType, run: RecordedRun) -> None:
    latency = latencies(1)
    once = priced(run, latency, "table:a.csv")
    config = synthetic.uniform(synthetic.space(), 4)
    assert latency.latency_ms(config) == latencies(1).latency_ms(config)
    assert priced(run, latencies(1), "table:a.csv").trials.equals(once.trials)
    assert read_encoders(run.path) == tuple(ENCODERS)


def test_limits_of_the_own_machine_are_left_out_and_said(run: RecordedRun) -> None:
    assert {"max_latency", "faster_than_float"} <= {limit.name for limit in run.limits}
    assert (run.trials["state"] == "rejected").sum() == 0  # samplers keep within limits
    found = priced(run, latencies(1), "table:phone.csv")
    assert "max_latency" not in {limit.name for limit in found.limits}
    assert "violation.max_latency" not in found.trials.columns
    (faster,) = [limit for limit in found.limits if limit.name == "faster_than_float"]
    assert faster.threshold == 20.0
    assert found.prices is not None
    source, left_out = found.prices.notes[:2]
    assert "clock 1 for a batch of 1; the search went by model:synthetic" in source
    assert left_out.startswith("--max-latency 18ms was asked of model:synthetic and is left out here")


def test_a_machine_on_which_nothing_is_faster_has_no_front(run: RecordedRun) -> None:
    found = priced(run, latencies(1, float_ms=3.0), "table:slow.csv")
    assert found.front.empty
    assert "constraint 3 (faster than the float model) asks for at most 3 ms" in found.summary["message"]


def test_a_run_that_has_not_ended_says_so(run: RecordedRun) -> None:
    with pytest.raises(UserError, match=r"has not ended, and cannot be priced by table:a\.csv before"):
        priced(dataclasses.replace(run, summary={}), latencies(1), "table:a.csv")


def test_a_lost_study_is_named(run: RecordedRun, tmp_path: Path) -> None:
    for file in run.path.iterdir():
        if file.name != "study.log":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(UserError, match=r"study\.log is missing"):
        priced(dataclasses.replace(run, path=tmp_path), latencies(1), "table:a.csv")
