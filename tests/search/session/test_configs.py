"""Bit configs from files: what they were found under, on this machine, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.search.session.configs import config_spec, read_config_document, recorded_evaluation
from bitfront.spaces import BitConfig, EncoderBits, UserError

CONFIG = BitConfig("digits_deit", "deploy", (EncoderBits(0, "blocks.0", 8, 4, 6),))
FOUND = EvaluationSpec(scheme="deploy", recipe="gptq", device="cuda:1", batch_size=64, threads=2, seed=3)
RECORDED = CONFIG.to_json(provenance={"evaluation": FOUND.to_json()})


def test_a_config_keeps_what_it_was_found_under_and_leaves_the_machine() -> None:
    here = dataclasses.replace(FOUND, device="cpu", batch_size=None, threads=None, widths=(4, 6, 8))
    assert config_spec(RECORDED) == here
    assert config_spec(RECORDED, EvaluationSpec(seed=9)) == here
    assert config_spec(RECORDED, changes={"seed": 5, "threads": 1}) == dataclasses.replace(
        here, seed=5, threads=1
    )


@pytest.mark.parametrize("provenance", [None, {}, {"evaluation": None}])
def test_a_config_that_does_not_say_is_evaluated_as_asked(provenance: dict | None) -> None:
    document = CONFIG.to_json(provenance=provenance)
    assert recorded_evaluation(document) is None
    assert config_spec(document) == EvaluationSpec(scheme="deploy", widths=(4, 6, 8))
    asked = config_spec(document, EvaluationSpec(seed=9))
    assert (asked.seed, asked.scheme, asked.widths) == (9, "deploy", (4, 6, 8))


def test_another_scheme_is_refused() -> None:
    with pytest.raises(UserError, match="is for scheme deploy, not fq-vit: give --scheme deploy"):
        config_spec(RECORDED, changes={"scheme": "fq-vit"})


@pytest.mark.parametrize(
    ("content", "said"),
    [("[]", "holds no JSON object"), ("{", "cannot be read as a bit config"), (None, "cannot be read")],
)
def test_files_that_are_no_config(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "config.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=said):
        read_config_document(path)


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(RECORDED))
    assert read_config_document(path) == RECORDED
