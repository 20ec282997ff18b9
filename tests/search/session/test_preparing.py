"""Every command that prepares a model shows how far it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from safetensors.torch import save_file

from bitfront.evaluators.context import context
from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.models.loading import load_model
from bitfront.search.problem.spec import RunSpec
from bitfront.search.reports import progress as stages
from bitfront.search.runs.folder import RunStore
from bitfront.search.session.inputs import prepare_run
from bitfront.search.session.reporter import CallbackReporter
from bitfront.spaces import UserError


@pytest.mark.parametrize("command", ["search", "evaluate", "profile"])
def test_share_of_the_preparation_is_shown(
    bitfront: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def from_spec(
        spec: EvaluationSpec,
        progress: Callable[[float], None],
        keep_codes: bool = False,
        note: Callable[[str], None] | None = None,
    ) -> NoReturn:
        assert spec.without == ("log-base",)
        progress(0.25)
        raise UserError("seen enough")

    monkeypatch.setattr(EvaluationContext, "from_spec", from_spec)
    monkeypatch.setattr(stages, "STAGE_INTERVAL_S", 0.0)
    where = ["--runs-dir", tmp_path] if command == "search" else []
    outcome = bitfront(
        command, "--model", "digits_deit", "--scheme", "deploy", "--without", "log-base", *where
    )
    assert outcome.error == "error: seen enough"
    shown = "preparing digits_deit (deploy, recipe best without log-base) on 128 images ... 25 % after 0 s"
    assert shown in outcome.err.splitlines()


@pytest.mark.parametrize("command", ["search", "evaluate", "profile", "compare", "compare-samplers"])
def test_a_model_that_guesses_is_refused_before_anything_long(
    bitfront: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    state = load_model("digits_deit").module.state_dict()
    head = torch.randn(state["head.weight"].shape, generator=torch.Generator().manual_seed(0))
    save_file({**state, "head.weight": head}, tmp_path / "head.safetensors")
    monkeypatch.setattr(context, "calibrated_for", lambda *_: pytest.fail("calibration has begun"))
    where = [] if command in ("evaluate", "profile") else ["--runs-dir", tmp_path]
    outcome = bitfront(
        command, "--model", "digits_deit", "--checkpoint", tmp_path / "head.safetensors", *where
    )
    assert outcome.status == 2
    assert "the head is untrained or of another data set" in outcome.error
    lines = outcome.err.splitlines()
    assert any(line.startswith("images: shorter side to 16 (bilinear)") for line in lines)
    assert any(line.startswith("float model: top-1 ") for line in lines)


def test_the_float_model_of_a_resumed_run_has_been_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[object] = []

    def from_spec(spec: EvaluationSpec, progress: object, keep_codes: bool, note: object) -> NoReturn:
        notes.append(note)
        raise UserError("seen enough")

    monkeypatch.setattr(EvaluationContext, "from_spec", from_spec)
    folder, reporter = RunStore(tmp_path).create("r"), CallbackReporter()
    spec = RunSpec(EvaluationSpec(model="digits_deit", scheme="fq-vit"), latency="model:bops")
    for _ in range(2):
        with pytest.raises(UserError, match="seen enough"):
            prepare_run(spec, folder, reporter.stage, note=reporter.note)
        folder.write_json("splits.json", {})
    assert notes == [reporter.note, None]
