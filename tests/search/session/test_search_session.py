"""Tight limits on the embedded model: the issue's search goes on until nothing is left within them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from quick_spec import QUICK

from bitfront.search import RunSpec, search
from bitfront.search.engine.engine import EVALUATIONS_SPENT, WITHIN_LIMITS

# All weights at 4 bits, or all but those of one encoder, of 12 equal ones.
TIGHT = RunSpec(QUICK, latency="model:bops", hold="A8T8", max_size="0.3x", evaluations=12)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_tight_limit_is_searched_to_its_end(tmp_path: Path) -> None:
    found = search(TIGHT, name="twelve", runs_dir=tmp_path, workers=0)
    assert found.summary["stopped_because"] == EVALUATIONS_SPENT
    assert found.summary["evaluations"] == len(found.trials) == 12
    everything = dataclasses.replace(TIGHT, evaluations=100, sampler="nsga2")
    found = search(everything, name="all", runs_dir=tmp_path, workers=0)
    assert found.summary["stopped_because"] == f"{WITHIN_LIMITS} (13 of 4,096)"
    weights = found.trials[[gene.name for gene in found.genes]]
    assert sorted((weights == 8).sum(axis=1)) == [0, *[1] * 12]
    assert found.trials.digest.nunique() == 13
