"""Settings of a comparison of assignments: the paper's problem, whatever else a spec says."""

from __future__ import annotations

import dataclasses

import pytest
from quick_spec import QUICK

from bitfront.search.problem.spec import RunSpec
from bitfront.search.session.comparison.model_settings import SETTINGS, ModelSettings
from bitfront.spaces import BitfrontError, UserError


def test_space_widths_and_search_are_those_of_the_paper():
    asked = RunSpec(
        dataclasses.replace(QUICK, widths=(2, 4, 8)),
        space="layer",
        sampler="random",
        allow_uniform=True,
        seed=3,
        plateau=5,
    )
    settings = ModelSettings(asked, generations=4, seeds=2)
    spec = settings.spec
    assert (spec.space, spec.evaluation.widths, spec.sampler) == ("encoder-kind", (4, 8), "nsga2")
    assert (spec.population, spec.evaluations, spec.plateau, spec.allow_uniform) == (32, 128, None, False)
    assert [(e.sampler, e.seed, e.evaluations, e.population) for e in settings.entries] == [
        ("nsga2", 3, 128, 32), ("nsga2", 4, 128, 32),
    ]  # fmt: skip
    longer = dataclasses.replace(settings, generations=5)
    assert longer.spec.evaluations == 160
    assert ModelSettings(RunSpec(population=8), 20).spec.evaluations == 160


def test_they_are_read_as_written(tmp_path):
    settings = ModelSettings(RunSpec(QUICK), 3, 2, 2, "top1=2,size=1", True)
    settings.write(tmp_path)
    assert ModelSettings.read(tmp_path) == settings
    path = tmp_path / SETTINGS
    path.write_text(path.read_text().replace("model-comparison", "sampler-comparison"))
    with pytest.raises(UserError, match="written by another version"):
        ModelSettings.read(tmp_path)
    path.write_text("{")
    with pytest.raises(BitfrontError, match="cannot be read"):
        ModelSettings.read(tmp_path)


@pytest.mark.parametrize("name", ["generations", "seeds", "draws"])
def test_too_few_are_refused(name):
    with pytest.raises(UserError, match=f"--{name} -1 is too small"):
        ModelSettings(RunSpec(), **{name: -1})


@pytest.mark.parametrize("pick", ["7", "nearest", "best", "top1=2,kappa=1"])
def test_a_pick_that_is_no_choice_is_refused_before_anything_is_searched(pick):
    with pytest.raises(UserError, match="pick"):
        ModelSettings(RunSpec(), pick=pick)
