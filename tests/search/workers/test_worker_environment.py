"""What a worker must have: the files that a spec names."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.search.workers.worker_environment import paths_of, with_absolute_paths


def test_an_entry_of_a_checkpoint_is_no_part_of_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pth").touch()
    spec = with_absolute_paths(EvaluationSpec(model="digits_deit", scheme="fq-vit", checkpoint="w.pth:ema"))
    assert spec.checkpoint == f"{tmp_path / 'w.pth'}:ema"
    assert paths_of(spec) == (str(tmp_path / "w.pth"),)
