"""Every command that prepares a model shows how far it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.search.reports import progress as stages
from bitfront.spaces import UserError


@pytest.mark.parametrize("command", ["search", "evaluate", "profile"])
def test_share_of_the_preparation_is_shown(
    bitfront: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def from_spec(
        spec: EvaluationSpec, progress: Callable[[float], None], keep_codes: bool = False
    ) -> NoReturn:
        assert spec.without == ("log-base",)
        progress(0.25)
        raise UserError("seen enough")

    monkeypatch.setattr(EvaluationContext, "from_spec", from_spec)
    monkeypatch.setattr(stages, "STAGE_INTERVAL_S", 0.0)
    where = ["--runs-dir", tmp_path] if command == "search" else []
    outcome = bitfront(command, "--scheme", "deploy", "--without", "log-base", *where)
    assert outcome.error == "error: seen enough"
    shown = "preparing digits_deit (deploy, recipe best without log-base) on 128 images ... 25 % after 0 s"
    assert shown in outcome.err.splitlines()
