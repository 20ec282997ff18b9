"""Configurations of a run over number formats, by trial and by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitfront.search.export.export import chosen_uniform, config_of
from bitfront.search.runs.reader import RecordedRun
from bitfront.spaces import BitConfig, UserError


@pytest.fixture(scope="module")
def run(formats_runs: Path) -> RecordedRun:
    return RecordedRun.read(formats_runs, "mixed")


def test_every_point_gives_its_configuration(run: RecordedRun) -> None:
    for _, row in run.front.iterrows():
        config = config_of(run, row)
        assert config.digest == row["digest"]
        assert BitConfig.from_json(config.to_json()) == config


def test_formats_that_the_space_has_not_are_refused(run: RecordedRun) -> None:
    row = run.front.iloc[0].copy()
    row["encoder00.activations"] = "int8a"
    with pytest.raises(UserError, match="has a gene of int8a; the run's search space has 8, bf16"):
        config_of(run, row)


def test_uniform_configurations_go_by_their_label(run: RecordedRun) -> None:
    found = chosen_uniform(run, "w8aabf16t8")
    assert found.name == f"W8aAbf16T8-{found.config.digest}"
    assert found.config.encoders[0].weights == "int8a"
    with pytest.raises(
        UserError, match=r"has the formats weights 4, int8a, bf16; .*, not bf16 for attention"
    ):
        chosen_uniform(run, "W8A8Tbf16")
