"""What a run begins with: noise of latencies, and genes that cannot pay, found by them, said and kept."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from quick_spec import QUICK

from bitfront.evaluators.latency.table import Latency, LatencyTable
from bitfront.evaluators.latency.table_file import read_table, table_csv
from bitfront.search import RunSpec, resume, search
from bitfront.search.problem.kept_genes import KeptGenes
from bitfront.search.runs.folder import read_space
from bitfront.search.session import inputs
from bitfront.search.session.compare_samplers import compare_samplers, resume_comparison
from bitfront.spaces import triples

ACTIVATIONS_AND_ATTENTION = {
    f"encoder{i:02d}.{kind}": 8 for i in range(12) for kind in ("activations", "attention")
}
SHAPE = "65x32h2m64"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> RunSpec:
    """A search by a table as OpenVINO's, which has kernels of 8 bits alone."""
    path = tmp_path_factory.mktemp("table") / "slow4.csv"
    times = {(SHAPE, bits): Latency(0.1 if bits[1:] == (8, 8) else 0.25) for bits in triples((4, 8))}
    table = LatencyTable(times, Latency(0.1), Latency(9.0), 1, "made up")
    path.write_text(table_csv(table))
    assert read_table(path).encoders == times
    return RunSpec(QUICK, latency=f"table:{path}", sampler="random", evaluations=2)


def spaces(folder: Path) -> tuple[int, dict[str, int]]:
    found = read_space(folder)
    return len(found), found.kept


def test_a_run_keeps_genes_that_cannot_pay_and_says_so(spec: RunSpec, tmp_path: Path) -> None:
    found = search(spec, name="kept", runs_dir=tmp_path, workers=0)
    assert spaces(found.path) == (12, ACTIVATIONS_AND_ATTENTION)
    assert found.summary["kept_genes"] == ACTIVATIONS_AND_ATTENTION
    note: str = found.summary["kept_note"]
    assert note.startswith("activations and attention are kept at 8 bits in 24 of 36 genes: at 4 bits the")
    assert note.endswith("--all-genes searches them, too")
    assert "takes 3.1 ms instead of 1.3 and has " in note
    assert [gene.name for gene in found.genes] == [f"encoder{i:02d}.weights" for i in range(12)]
    assert len(found.config(int(found.front.trial.iloc[0])).encoders) == 12
    assert all(e.attention == 8 for e in found.config(int(found.front.trial.iloc[0])).encoders)

    further = resume("kept", runs_dir=tmp_path, evaluations=3, workers=0)
    assert spaces(further.path) == (12, ACTIVATIONS_AND_ATTENTION)
    assert further.summary["kept_note"] == note
    assert further.trials.digest.tolist()[:2] == found.trials.digest.tolist()


@pytest.mark.thorough
def test_all_genes_are_searched_where_asked_for(spec: RunSpec, tmp_path: Path) -> None:
    asked = dataclasses.replace(spec, all_genes=True)
    found = search(asked, name="all", runs_dir=tmp_path, workers=0)
    assert spaces(found.path) == (36, {})
    assert (found.summary["kept_genes"], found.summary["kept_note"]) == ({}, "")
    assert resume("all", runs_dir=tmp_path, evaluations=3, workers=0).spec["all_genes"]


@pytest.mark.thorough
def test_runs_of_before_go_on_with_all_genes(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(inputs, "genes_to_keep", lambda problem: KeptGenes({}))
        found = search(spec, name="old", runs_dir=tmp_path, workers=0)
    assert "all_genes" not in found.spec
    further = resume("old", runs_dir=tmp_path, evaluations=3, workers=0)
    assert spaces(further.path) == (36, {})
    assert further.trials.digest.tolist()[:2] == found.trials.digest.tolist()


@pytest.mark.thorough
def test_samplers_are_compared_on_genes_that_can_pay(spec: RunSpec, tmp_path: Path) -> None:
    found = compare_samplers(spec, "random", seeds=1, name="few", runs_dir=tmp_path, workers=0)
    assert found.figures["kept_genes"] == ACTIVATIONS_AND_ATTENTION
    assert any(note.startswith("activations and attention are kept") for note in found.figures["notes"])
    assert found.figures["genes"] == 12
    again = resume_comparison("few", runs_dir=tmp_path, seeds=2, workers=0)
    assert again.figures["kept_genes"] == ACTIVATIONS_AND_ATTENTION


@pytest.mark.thorough
def test_comparisons_of_before_go_on_with_all_genes(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(inputs, "genes_to_keep", lambda problem: KeptGenes({}))
        found = compare_samplers(spec, "random", seeds=1, name="old", runs_dir=tmp_path, workers=0)
    # They had no space beside what was prepared.
    (found.folder / "prepared" / "space.json").unlink()
    for seeds in (2, 3):
        again = resume_comparison("old", runs_dir=tmp_path, seeds=seeds, workers=0)
        assert (again.figures["kept_genes"], again.figures["genes"]) == ({}, 36)


@pytest.mark.parametrize(("noise", "told"), [(0.0, 0), (0.02, 0), (0.05, 1), (0.1, 1)])
def test_latencies_beside_other_work_are_said(noise: float, told: int) -> None:
    class Costs:
        latency_noise = noise

    notes = inputs._noisy(Costs())  # type: ignore[arg-type]
    assert len(notes) == told
    assert all(f"differences below {noise:.0%} count as none" in note for note in notes)
