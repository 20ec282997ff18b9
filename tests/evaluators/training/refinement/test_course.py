"""The course of a refinement: what encoders learned in their turn is kept where it holds for other images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from refinement_cases import QUICK, prepared_of, refined_case

from bitfront.evaluators.progress import unreported
from bitfront.evaluators.training.refinement.course import Course
from bitfront.evaluators.training.refinement.network import LearnedModel


def learned(turns: int, nearer: Callable[[], bool]) -> tuple[dict[str, torch.Tensor], tuple[float, ...]]:
    """Values and losses after one pass of all encoders together, so many others before it."""
    case, spec = refined_case("vit"), dataclasses.replace(QUICK, encoder_passes=turns, passes=1)
    model = LearnedModel(prepared_of(case.calibrated, case.config), case.calibrated, case.config)
    images = case.images.part(0, 32)
    course = Course(model, case.calibrated.blueprint, images, spec, None, "", nearer, unreported)
    losses = course.run()
    return model.state_dict(), losses


def unasked() -> bool:
    pytest.fail("there was nothing to ask about")


def test_what_holds_for_no_other_images_is_undone() -> None:
    together, losses = learned(0, unasked)
    undone, same = learned(1, lambda: False)
    assert same == losses
    for name, value in together.items():
        assert torch.equal(undone[name], value), name


def test_what_holds_is_gone_on_from() -> None:
    together, _ = learned(0, unasked)
    kept, losses = learned(1, lambda: True)
    assert len(losses) == 1
    assert any(not torch.equal(kept[name], value) for name, value in together.items() if "latent" in name)
