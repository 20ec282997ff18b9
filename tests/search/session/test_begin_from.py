"""A search that begins with the evaluations of an earlier run: its settings, and what is of use to it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType

import pytest

from bitfront.search.engine.engine import SearchEngine
from bitfront.search.engine.known_pool import KnownPool
from bitfront.search.engine.protocols import InlinePool, LearnsFromKnown
from bitfront.search.engine.stopping import Budget
from bitfront.search.problem.spec import RunSpec
from bitfront.search.runs.folder import RunFolder, RunStore
from bitfront.search.runs.known_evaluations import evaluations_of, read_known
from bitfront.search.runs.study import StudyRecord
from bitfront.search.samplers.registry import make_sampler
from bitfront.search.session.begin_from import Beginning, genes_that_pay, spec_begun_from, take_over
from bitfront.spaces import BitConfig, UserError


@pytest.fixture
def origin(priceable_runs: Path) -> RunFolder:
    return RunStore(priceable_runs).open("searched")


@pytest.fixture
def new(origin: RunFolder, tmp_path: Path) -> RunFolder:
    folder = RunStore(tmp_path).create("new")
    take_over(origin, folder, origin.read_spec(), same_latencies=False)
    return folder


def test_settings_are_those_of_the_run_but_for_budgets_and_other_latencies(origin: RunFolder) -> None:
    recorded = origin.read_spec()
    found, notes = spec_begun_from(origin, {"latency": "table:phone.csv", "max_size": "0.2x"})
    assert (found.begun_from, found.latency, found.max_size) == ("searched", "table:phone.csv", "0.2x")
    assert (found.evaluations, found.latency_batch, found.max_latency) == (None, None, None)
    assert (found.max_drop, found.sampler, found.population) == (30.0, "random", 8)
    assert found.evaluation.search_images == 500
    assert notes == [
        "--max-latency 18ms of run searched was for auto and is left out: give it again for these latencies"
    ]
    found, notes = spec_begun_from(origin, {"sampler": "nsga2", "max_latency": "15ms"})
    assert (found.max_latency, found.population, found.latency) == ("15ms", None, recorded.latency)
    assert notes == []
    assert spec_begun_from(origin, {})[0].max_latency == "18ms"
    assert RunSpec.from_json(found.to_json()) == found


def test_metrics_that_were_not_measured_are_refused(origin: RunFolder) -> None:
    with pytest.raises(UserError, match="run searched has not measured macro_f1"):
        spec_begun_from(origin, {"min_metric": ("macro_f1=50",)})


def test_evaluations_are_taken_over_as_they_were(
    synthetic: ModuleType, origin: RunFolder, new: RunFolder
) -> None:
    known = read_known(new.path)
    assert list(known) == evaluations_of(origin.path, origin.read_spec())
    assert len(known) == 40
    assert all(evaluation.quality == synthetic.score(evaluation.config) for evaluation in known)
    (new.path / "known_evaluations.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match=r"known_evaluations\.jsonl is damaged"):
        read_known(new.path)


def test_what_is_no_genome_of_the_space_is_counted(synthetic: ModuleType, new: RunFolder) -> None:
    spec = dataclasses.replace(RunSpec(), begun_from="searched")
    everything = Beginning.of(new, spec, synthetic.space(), 500)
    assert ([len(batch) for batch in everything.batches], everything.elsewhere) == ([40], 0)
    problem = synthetic.problem(dataclasses.replace(spec, max_size="0.2x"))
    assert 0 < everything.paid(problem) < 40
    (words,) = everything.told(problem)
    paid = everything.paid(problem)
    assert words.startswith(f"beginning with {paid} of the 40 evaluations of run searched; ")
    assert words.endswith(f"; {40 - paid} are outside the limits here")
    first = synthetic.space().gene_names[:1]
    narrowed = Beginning.of(new, spec, synthetic.space().keeping(dict.fromkeys(first, 8)), 500)
    assert 0 < narrowed.elsewhere < 40
    assert sum(map(len, narrowed.batches)) == 40 - narrowed.elsewhere
    assert Beginning.of(RunFolder(new.path.parent), RunSpec(), synthetic.space(), 500).told(problem) == []


def test_genes_that_pay_are_named(synthetic: ModuleType, origin: RunFolder) -> None:
    space = synthetic.space()
    assert genes_that_pay(space, origin) == []
    kept = dict.fromkeys([name for name in space.gene_names if name.endswith("attention")], 8)
    assert genes_that_pay(space.keeping(kept), origin) == [
        "attention of 12 genes: narrower widths save nothing here, and run searched searched them"
    ]


@pytest.mark.parametrize("sampler", ["surrogate-nsga2", "nsga2", "random"])
def test_a_search_learns_from_them_and_makes_none_again(
    synthetic: ModuleType, new: RunFolder, sampler: str
) -> None:
    known = {evaluation.config.digest: evaluation.quality for evaluation in read_known(new.path)}
    problem = synthetic.problem(RunSpec(max_drop=60.0))
    beginning = Beginning.of(new, RunSpec(), problem.space, 500)

    def searched(record: StudyRecord) -> tuple[list[tuple[int, str]], list[str]]:
        evaluated: list[str] = []

        def evaluate(config: BitConfig, required: float | None) -> object:
            evaluated.append(config.digest)
            return synthetic.score(config, required)

        proposing = make_sampler(sampler, problem, 8, 3)
        assert isinstance(proposing, LearnsFromKnown) == (sampler == "surrogate-nsga2")
        pool = KnownPool(InlinePool(evaluate), known, 500)  # type: ignore[arg-type]
        budget = Budget(beginning.paid(problem) + 10)
        result = SearchEngine(problem, proposing, pool, record, budget, (), beginning.batches).run()
        return [(trial.number, trial.digest) for trial in result.trials], evaluated

    record = StudyRecord.in_memory(problem)
    trials, evaluated = searched(record)
    assert [digest for _, digest in trials[:40]] == list(known)
    assert len(evaluated) == 10
    assert not set(evaluated) & set(known)
    again, none = searched(record)  # as a resumed run does
    assert again == trials
    assert none == []
