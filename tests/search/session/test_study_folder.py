"""The folder of a study: what it may hold before, its records and outputs, and what is damaged."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from bitfront.search.session.study_folder import StudyFolder
from bitfront.search.session.study_spec import StudySpec
from bitfront.spaces import UserError

RESUME = "bitfront study --resume here"


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    found = StudyFolder(tmp_path / "here")
    found.check_new(StudySpec(), RESUME, overwrite=False)
    StudySpec().write(found.path)
    return found


def test_the_same_study_goes_on_and_another_one_is_replaced_where_that_is_asked_for(
    folder: StudyFolder,
) -> None:
    folder.write_record("times-1", {"rows": []})
    (folder.path / "mine.txt").write_text("mine")
    folder.check_new(StudySpec(), RESUME, overwrite=False)
    assert folder.record("times-1") == {"rows": []}
    other = dataclasses.replace(StudySpec(), seeds=2)
    with pytest.raises(UserError, match=f"of other settings: go on with it by `{RESUME}`"):
        folder.check_new(other, RESUME, overwrite=False)
    folder.check_new(other, RESUME, overwrite=True)
    assert folder.record("times-1") is None
    assert not (folder.path / "study.json").exists()
    assert (folder.path / "mine.txt").read_text() == "mine"


def test_trainings_may_lie_ready(tmp_path: Path) -> None:
    (tmp_path / "trainings" / "alone-0").mkdir(parents=True)
    StudyFolder(tmp_path).check_new(StudySpec(), RESUME, overwrite=False)
    assert (tmp_path / "trainings" / "alone-0").is_dir()


def test_records_and_outputs(folder: StudyFolder) -> None:
    assert folder.record("refined-0") is None
    folder.write_record("refined-0", {"error": float("nan"), "path": Path("x")})
    assert folder.record("refined-0") == {"error": None, "path": "x"}
    folder.remove_record("refined-0")
    folder.remove_record("refined-0")
    assert folder.record("refined-0") is None
    assert not folder.has_outputs("alone")
    folder.write_outputs("alone", {"test": torch.eye(3), "test_labels": torch.arange(3)})
    assert folder.has_outputs("alone")
    assert torch.equal(folder.outputs("alone")["test"], torch.eye(3))


def test_damage_is_named(folder: StudyFolder) -> None:
    (folder.path / "outputs" / "alone.safetensors").write_bytes(b"xx")
    with pytest.raises(
        UserError, match=r"alone.safetensors is damaged .* remove it, and go on with --resume"
    ):
        folder.outputs("alone")
    (folder.path / "records" / "times-1.json").write_text("{")
    with pytest.raises(UserError, match=r"times-1.json"):
        folder.record("times-1")
