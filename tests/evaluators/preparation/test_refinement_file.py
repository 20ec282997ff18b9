"""The file of a refined model: read as it was written, and refused where it is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from quantized_cases import case
from refinement_cases import QUICK, Digits, refined_digits

from bitfront.evaluators.preparation.calibrated_model_file import calibrated_digest
from bitfront.evaluators.preparation.refinement_file import REFINED, load_refinement, read_refinement
from bitfront.evaluators.preparation.tensor_file import write_tensors
from bitfront.evaluators.training.refinement.refinement import Closeness, Refined
from bitfront.spaces import UserError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits() -> Digits:
    return refined_digits()


@pytest.fixture(scope="module")
def refined(digits: Digits) -> Refined:
    """The calibrated model itself, as if it had been found by learning."""
    near = Closeness(0.1, 0.01, 0.9)
    return Refined(
        digits.calibrated,
        digits.calibrated,
        True,
        near,
        near,
        (0.2, 0.1),
        100,
        20,
        1.5,
        digits.config(4, 8, 8),
        "abc",
    )


@pytest.fixture
def path(tmp_path: Path, digits: Digits, refined: Refined) -> Path:
    refined.save(tmp_path / REFINED, digits.blueprint, QUICK)
    return tmp_path / REFINED


def test_it_comes_back(path: Path, digits: Digits, refined: Refined) -> None:
    read = read_refinement(path)
    assert (read.config, read.started_from, read.spec) == (refined.config, "abc", QUICK.to_json())
    assert read.figures == refined.figures()
    back = load_refinement(path, digits.blueprint, CPU)
    digests = [calibrated_digest(found, digits.blueprint) for found in (back, refined.calibrated)]
    assert digests[0] == digests[1]


def test_other_files_are_refused(tmp_path: Path, path: Path) -> None:
    with pytest.raises(UserError, match="there is no file"):
        read_refinement(tmp_path / "missing")
    content = path.read_bytes()
    for name, damaged in {
        "short": content[:1000],
        "text": b"text",
        "flipped": content[:-1] + bytes([content[-1] ^ 1]),
    }.items():
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(UserError, match="cannot be used"):
            read_refinement(tmp_path / name)
    write_tensors(tmp_path / "other", "bitfront/something", {"x": torch.zeros(1)}, {})
    with pytest.raises(UserError, match="bitfront/something"):
        read_refinement(tmp_path / "other")
    write_tensors(tmp_path / "empty", "bitfront/refinement", {"x": torch.zeros(1)}, {})
    with pytest.raises(UserError, match="cannot be used"):
        read_refinement(tmp_path / "empty")


def test_other_models_are_refused(path: Path) -> None:
    with pytest.raises(UserError):
        load_refinement(path, case("vit").blueprint, CPU)
