"""Encoders learn in their turn: each comes nearer to the float model's stream behind it."""

from __future__ import annotations

import pytest
import torch
from refinement_cases import QUICK, Case, prepared_of, refined_case

from bitfront.evaluators.progress import unreported
from bitfront.evaluators.training.refinement import reconstruction
from bitfront.evaluators.training.refinement.network import LearnedModel
from bitfront.evaluators.training.refinement.reconstruction import Reconstruction

NAMES = ("vit", "swin")


def started(case: Case, images: int = 48) -> tuple[LearnedModel, Reconstruction]:
    model = LearnedModel(prepared_of(case.calibrated, case.config), case.calibrated, case.config)
    return model, Reconstruction(model, case.calibrated.blueprint, case.images.part(0, images), QUICK)


@pytest.mark.parametrize("name", NAMES)
def test_every_encoder_errs_less_than_before(name: str) -> None:
    case = refined_case(name)
    model, rest = started(case)
    shares: list[float] = []
    errors = [rest.learn(index, shares.append) for index in range(len(model.encoders))]
    assert all(after < before for before, after in errors)
    assert shares[-1] == 1.0


def test_one_that_comes_no_nearer_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rest = started(refined_case("vit"))
    monkeypatch.setattr(reconstruction, "RATES", dict.fromkeys(reconstruction.RATES, 10.0))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = rest.learn(0, unreported)
    assert not found[1] < found[0]
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


@pytest.mark.parametrize("name", NAMES)
def test_those_that_were_taught_are_passed_through_as_they_are(name: str) -> None:
    case = refined_case(name)
    model, rest = started(case)
    rest.learn(0, unreported)
    kept = {key: value.clone() for key, value in model.state_dict().items()}
    wanted = rest.learn(1, unreported)
    again, other = started(case)
    again.load_state_dict(kept)
    other.skip(0)
    assert other.learn(1, unreported) == wanted
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key


def test_an_encoder_alone_is_changed_in_its_turn() -> None:
    model, rest = started(refined_case("vit"))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    rest.learn(0, unreported)
    changed = {key for key, value in model.state_dict().items() if not torch.equal(before[key], value)}
    assert changed == {key for key in before if key.startswith("encoders.0.")}


def test_errors_weigh_by_what_the_prediction_makes_of_them() -> None:
    """The last encoder's stream is read at the class token alone: errors elsewhere cost the least."""
    case = refined_case("vit")
    _, rest = started(case)
    found = [rest._weights[f"{encoder.name}.residual2"] for encoder in case.blueprint.encoders]
    for weights in found:
        assert weights.ndim == 2
        assert torch.allclose(weights.mean(), torch.ones(()))
    tokens = found[-1].mean(-1)
    assert torch.allclose(tokens[1:], torch.tensor(reconstruction.EVEN))
    assert tokens[0] > 1
    assert found[0].mean(-1)[1:].max() > reconstruction.EVEN


def test_streams_that_have_no_room_come_of_fewer_images(monkeypatch: pytest.MonkeyPatch) -> None:
    case = refined_case("vit")
    counts: list[int] = []
    true = Reconstruction._importance

    def importance(self: Reconstruction, views: torch.Tensor) -> object:
        counts.append(len(views))
        return true(self, views)

    monkeypatch.setattr(Reconstruction, "_importance", importance)
    started(case, 16)
    monkeypatch.setattr(reconstruction, "MOST_VALUES", 1)
    started(case, 16)
    assert counts == [(1 + reconstruction.VIEWS) * 16, reconstruction.BATCH]
