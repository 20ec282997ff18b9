"""A search over formats: its front and files, going on after a kill, and the same again by the same seed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from generation_cases import save_class_pipeline

from bitfront.evaluators.generation.footprint import Footprint
from bitfront.search.export.scenarios import read_scenarios, recommendations, usual_scenarios
from bitfront.search.reports.generation.pictures import generation_figures
from bitfront.search.reports.generation.tables import all_tables, front_document, tables_document
from bitfront.search.runs.generation import GenerationRun, read_generation_run
from bitfront.search.runs.listing import list_runs
from bitfront.search.session.generation import finals, session
from bitfront.search.session.generation.session import resume_formats, search_formats
from bitfront.search.session.generation.spec import GenerationSpec
from bitfront.search.session.run import open_run
from bitfront.spaces import UserError

EVALUATIONS = 9


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_class_pipeline(tmp_path_factory.mktemp("pipelines") / "tiny")


@pytest.fixture(scope="module")
def spec(pipeline: Path) -> GenerationSpec:
    return GenerationSpec(
        pipeline=str(pipeline),
        seeds=(1,),
        steps=2,
        formats=("int8", "int8w", "fp32"),
        search_pictures=2,
        features="none",
        evaluations=EVALUATIONS,
        sampler="random",
        population=2,
    )


@pytest.fixture(scope="module", autouse=True)
def quick() -> object:
    """Short timings, and no process for each footprint: that has its own test."""
    with pytest.MonkeyPatch.context() as patch:
        short = dataclasses.replace(session.PROTOCOL, warmup=1, iterations=3, repeats=1, budget_seconds=0.5)
        patch.setattr(session, "PROTOCOL", short)
        patch.setattr(finals, "PROTOCOL", short)
        parts = {"transformer": 10, "vae": 5}
        patch.setattr(finals, "footprint", lambda *_: Footprint(parts, parts, 100))
        yield


@pytest.fixture(scope="module")
def run(spec: GenerationSpec, tmp_path_factory: pytest.TempPathFactory) -> GenerationRun:
    return search_formats(spec, name="whole", runs_dir=tmp_path_factory.mktemp("runs"))


def test_every_format_is_tried_everywhere_and_in_each_component(run: GenerationRun) -> None:
    assert len(run.evaluated) == EVALUATIONS
    assert all(run.uniform(name) is not None for name in ("int8", "int8w", "fp32"))
    assert run.genes[-1] == "vae"
    assert not run.interrupted
    assert set(run.front["trial"]) <= set(run.evaluated["trial"])
    whole = run.row(run.uniform("fp32") or 0)
    assert whole["psnr"] == 100.0
    # The front was compared by all three classes, the search by two of them.
    assert len(run.points[str(run.uniform("int8"))].figures.psnr) == 3  # type: ignore[union-attr]


def test_every_run_is_listed(run: GenerationRun) -> None:
    (found,) = list_runs(run.path.parent)
    assert (found.status, found.metric, found.evaluations) == ("finished", "psnr", EVALUATIONS)


def test_other_commands_name_what_to_use(run: GenerationRun) -> None:
    with pytest.raises(UserError, match="bitfront front whole"):
        open_run("whole", runs_dir=run.path.parent)


@pytest.mark.thorough
def test_the_same_seed_finds_the_same(run: GenerationRun, spec: GenerationSpec, tmp_path: Path) -> None:
    again = search_formats(spec, name="whole", runs_dir=tmp_path)
    columns = (
        ["digest", "psnr", "ssim", "size_bytes"] if "ssim" in run.trials else ["digest", "psnr", "size_bytes"]
    )
    assert again.evaluated[columns].to_dict("list") == run.evaluated[columns].to_dict("list")


@pytest.mark.thorough
def test_nothing_that_was_paid_for_is_made_again(
    spec: GenerationSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search that is killed after its fifth evaluation goes on with the sixth, and ends as any other."""
    made: list[str] = []
    figures = session.Workbench.figures

    def counted(bench: session.Workbench, formats: dict[str, str]) -> object:
        made.append(json.dumps(formats))
        if len(made) == 6:
            raise KeyboardInterrupt
        return figures(bench, formats)

    monkeypatch.setattr(session.Workbench, "figures", counted)
    with pytest.raises(KeyboardInterrupt):
        search_formats(spec, name="cut", runs_dir=tmp_path)
    before = len(made) - 1
    found = resume_formats("cut", runs_dir=tmp_path)
    assert len(found.evaluated) == EVALUATIONS
    searched = made[before + 1 :][: EVALUATIONS - before]
    assert not set(made[:before]) & set(searched)


def test_scenarios_are_answered_with_an_interval_and_a_reason(run: GenerationRun, tmp_path: Path) -> None:
    advice = recommendations(run)
    assert len(advice) == len(usual_scenarios())
    path = tmp_path / "own.toml"
    path.write_text('[[scenario]]\nname = "phone"\nprefer = "size"\nmin_psnr = 5\nmax_size = "0.9x"\n')
    (found,) = recommendations(run, read_scenarios(path))
    assert found.chosen is not None
    assert found.chosen.psnr.low <= found.chosen.psnr.mean <= found.chosen.psnr.high
    assert "the smallest of" in found.why
    path.write_text('[[scenario]]\nname = "none"\nprefer = "psnr"\nmax_size = "1kb"\n')
    (none,) = recommendations(run, read_scenarios(path))
    assert none.chosen is None
    assert "the best of all is trial" in none.why


@pytest.mark.parametrize(
    "text", ["", "[[scenario]]\nname = 'x'\n", "[[scenario]]\nname='x'\nprefer='speed'\n", "x"]
)
def test_other_files_of_scenarios_get_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(UserError, match="expected"):
        read_scenarios(path)


def test_tables_and_pictures(run: GenerationRun) -> None:
    assert [len(table.rows) for _, table in all_tables(run)[:3]] == [3, 5, 3]
    assert len(tables_document(run)["tables"]) == 7
    assert len(front_document(run)["front"]) == len(run.front)
    assert set(generation_figures(run)) == {"front", "contact_sheet"}
    assert {path.name for path in (run.path / "plots").iterdir()} == {"front.png", "contact_sheet.png"}
    assert "PSNR by prompt" in (run.path / "tables.md").read_text(encoding="utf-8")
    with pytest.raises(UserError, match="choose among front, contact_sheet"):
        generation_figures(run, ["bit_map"])


def test_limits_and_settings_are_checked(spec: GenerationSpec, run: GenerationRun) -> None:
    for changes in ({"steps": 0}, {"objectives": ("top1",)}, {"min_metric": ("top1=3",)}, {"seeds": (1, 1)}):
        with pytest.raises(UserError):
            dataclasses.replace(spec, **changes).check()
    with pytest.raises(UserError, match="may change"):
        spec.check_resumed_as(dataclasses.replace(spec, steps=3), "x")
    assert GenerationSpec.from_json(spec.to_json()) == spec
    assert read_generation_run(run.path.parent, "whole").costs == run.costs
