"""Runs over number formats that go by name: studies, spaces and tables give them back."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from bitfront.search.problem.spec import RunSpec
from bitfront.search.runs.columns import mean_bits
from bitfront.search.runs.folder import read_space, write_space
from bitfront.search.runs.reader import RecordedRun
from bitfront.search.runs.study import StudyRecord
from bitfront.spaces import Choices, SearchSpace, UserError

SPEC = RunSpec(allow_larger=True, allow_slower=True)


@pytest.fixture(scope="module")
def run(formats_runs):
    return RecordedRun.read(formats_runs, "mixed")


@pytest.fixture
def problem(synthetic):
    return synthetic.problem(SPEC, synthetic.space("layer", 2, synthetic.UNEVEN))


@pytest.mark.parametrize("database", [False, True], ids=["journal", "sqlite"])
def test_a_reopened_study_gives_the_trials_back(synthetic, problem, folder, tmp_path, database):
    url = f"sqlite:///{tmp_path}/study.db" if database else None
    record, genomes = StudyRecord.create(folder.path, "test", SPEC, problem, url), set()
    for number, genome in enumerate(problem.space.sample(np.random.default_rng(0), 6)):
        candidate = problem.prepare(genome)
        genomes.add(candidate.genome)
        assert record.begin(candidate) == number
        record.finish(problem.trial(number, candidate, synthetic.score(candidate.config), 1.0))
    again = StudyRecord.open(folder.path, "test", SPEC, problem, url)
    assert again.trials == record.trials
    assert {trial.genome for trial in again.trials} == genomes


def test_a_run_goes_on_where_it_stopped(synthetic, formats_runs, folder):
    searched = synthetic.space("encoder-kind", 4, synthetic.UNEVEN)
    first = RecordedRun.read(formats_runs, "mixed")
    spec = dataclasses.replace(RunSpec.from_json(first.spec), evaluations=20)
    begun = synthetic.search(folder, spec, searched=searched)
    longer = dataclasses.replace(spec, evaluations=40)
    whole = synthetic.search(folder, longer, searched=searched, resume=True)
    assert [t.genome for t in whole.trials[: len(begun.trials)]] == [t.genome for t in begun.trials]
    assert [t.digest for t in whole.trials] == first.trials["digest"].tolist()


def test_the_spec_is_read_back(synthetic):
    searched = synthetic.space("encoder-kind", 4, synthetic.UNEVEN)
    spec = synthetic.at_widths_of(searched, SPEC)
    document = json.loads(json.dumps(spec.to_json()))
    assert document["evaluation"]["formats"][0] == "weights=int4,int8a,bf16"
    assert RunSpec.from_json(document) == spec
    assert RunSpec.from_json(document).evaluation.choices == synthetic.UNEVEN
    assert spec.difference(SPEC)[0].startswith("formats (weights=int4,int8a,bf16,")


def test_specs_of_plain_widths_are_as_they_were():
    assert "formats" not in RunSpec().to_json()["evaluation"]


@pytest.mark.parametrize("held", [(), (("weights", "bf16"),)])
def test_spaces_are_read_back(synthetic, tmp_path, held):
    layers = synthetic.space().encoders[:2]
    searched = SearchSpace("m", "deploy", layers, synthetic.UNEVEN, "encoder-kind", held)
    searched = searched.keeping({"encoder01.activations": "bf16"})
    write_space(tmp_path, searched)
    again = read_space(tmp_path)
    assert (again.choices, again.genes, again.kept) == (searched.choices, searched.genes, searched.kept)
    assert (again.fixed, again.held) == (searched.fixed, searched.held)


def test_spaces_of_one_list_are_written_as_they_were(synthetic, tmp_path):
    write_space(tmp_path, synthetic.space())
    document = json.loads((tmp_path / "space.json").read_text())
    assert "formats" not in document
    assert document["widths"] == [4, 8]


@pytest.mark.parametrize("formats", [{"weights": [4, "bf17"]}, {"weights": [4]}, [4, 8]])
def test_damaged_spaces_are_refused(synthetic, tmp_path, formats):
    write_space(tmp_path, synthetic.space("encoder-kind", 2, synthetic.UNEVEN))
    path = tmp_path / "space.json"
    document = json.loads(path.read_text())
    by_kind = {**document["formats"], **formats} if len(formats) == 1 and "bf17" in str(formats) else formats
    path.write_text(json.dumps({**document, "formats": by_kind}))
    with pytest.raises(UserError, match="is damaged"):
        read_space(tmp_path)


def test_tables_have_widths_and_names(run, formats_runs):
    lines = (formats_runs / "mixed" / "trials.csv").read_text().splitlines()
    column = lines[0].split(",").index("encoder00.weights")
    assert {line.split(",")[column] for line in lines[1:]} == {"4", "int8a", "bf16"}
    assert set(run.trials["encoder00.weights"]) == {4, "int8a", "bf16"}
    assert set(run.trials["encoder00.activations"]) == {8, "bf16"}
    assert run.choices == Choices((4, "int8a", "bf16"), (8, "bf16"), (8,))
    assert run.settled == {f"encoder{index:02d}.attention": 8 for index in range(4)}


def test_mean_bits_are_those_of_stored_values(run):
    row = dict.fromkeys((gene.name for gene in run.genes), 8)
    row |= {"encoder00.weights": "bf16", "encoder01.weights": "int8a", "encoder02.weights": 4.0}
    found = mean_bits(row, run.genes)
    assert found[:2] == ((16 + 8 + 4 + 8) / 4, 8.0)


def test_names_that_are_no_formats_are_damage(formats_runs, tmp_path):
    shutil.copytree(formats_runs / "mixed", tmp_path / "mixed")
    path = tmp_path / "mixed" / "trials.csv"
    path.write_text(path.read_text().replace("bf16", "bf17"))
    with pytest.raises(UserError, match=r"trials.csv is damaged \('bf17' is no number format\)"):
        RecordedRun.read(tmp_path, "mixed")
