"""What is said of a float model before anything long, and models that are refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.float_check import preprocessing_words
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.models.architecture import Architecture
from bitfront.evaluators.models.loading import LoadedModel, load_model
from bitfront.spaces import UserError

SMALL = EvaluationSpec(model="digits_deit", scheme="fq-vit",
    recipe="fq-vit", calibration_images=64, search_images=40, test_images=24, batch_size=32, threads=1,
    first_images=40,
)  # fmt: skip
TIMM = {"input_size": (3, 224, 224), "interpolation": "bicubic", "crop_pct": 0.9, "crop_mode": "center",
        "mean": (0.485, 0.456, 0.406), "std": (0.5, 0.5, 0.5)}  # fmt: skip


@pytest.fixture
def random_head(tmp_path: Path) -> EvaluationSpec:
    module = load_model("digits_deit").module
    generator = torch.Generator().manual_seed(7)  # whose head is right on more classes than chance has it
    state = module.state_dict()
    state["head.weight"] = torch.randn(state["head.weight"].shape, generator=generator)
    save_file(state, tmp_path / "head.safetensors")
    return dataclasses.replace(SMALL, checkpoint=str(tmp_path / "head.safetensors"))


def test_preprocessing_and_top1_are_said_before_calibration() -> None:
    told: list[str] = []

    def progress(share: float) -> None:
        assert len(told) == 2, "calibration has begun"

    EvaluationContext.from_spec(SMALL, progress, note=told.append)
    assert told == [
        "images: shorter side to 16 (bilinear), centre 16x16, mean 0.306, std 0.319 "
        "(built in for digits_deit)",
        "float model: top-1 100.0 ± 0.0 % on 64 calibration images (a guess: 10 %)",
    ]


def test_a_random_head_is_refused_before_calibration(random_head: EvaluationSpec) -> None:
    shares: list[float] = []
    with pytest.raises(UserError, match=r"does not fit the labels of digits: .* head is untrained") as caught:
        EvaluationContext.from_spec(random_head, shares.append, note=lambda _: None)
    assert not shares
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("; or give --allow-chance to go on all the same")


def test_it_is_taken_where_that_is_allowed(random_head: EvaluationSpec) -> None:
    told: list[str] = []
    allowed = dataclasses.replace(random_head, allow_chance=True)
    assert EvaluationContext.from_spec(allowed, note=told.append).splits
    assert told[-1].startswith("warning: the float model does not fit the labels of digits")


def test_workers_do_not_look_again(random_head: EvaluationSpec) -> None:
    assert EvaluationContext.from_spec(random_head).splits


def test_the_switch_is_recorded_where_it_is_set_alone() -> None:
    assert "allow_chance" not in SMALL.to_json()
    allowed = dataclasses.replace(SMALL, allow_chance=True)
    assert allowed.to_json()["allow_chance"] is True
    assert EvaluationSpec.from_json(allowed.to_json()) == allowed
    assert EvaluationSpec.from_json(SMALL.to_json()) == SMALL


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "shorter side to 248 (bicubic), centre 224x224, mean 0.485, 0.456, 0.406, std 0.5, 0.5, 0.5"),
        ({"input_size": (3, 224, 160)}, "to cover 248x177 (bicubic), centre 224x160, "),
        ({"crop_mode": "squash", "crop_pct": 1.0}, "squashed to 224x224 (bicubic), centre 224x224, "),
        ({"crop_mode": "border"}, "into 248x248 (bicubic), with borders, centre 224x224, "),
    ],
)
def test_preprocessing_in_words(change: dict[str, object], words: str) -> None:
    module = torch.nn.Module()
    module.pretrained_cfg = {"architecture": "vit", "tag": "in1k"}  # type: ignore[assignment]
    model = LoadedModel("vit", module, {**TIMM, **change}, 10, "")
    assert preprocessing_words(model).startswith(words)
    assert preprocessing_words(model).endswith(" (timm's for vit.in1k)")
    given = dataclasses.replace(model, architecture=Architecture("vit", "VisionTransformer", {}, TIMM))
    assert preprocessing_words(given).endswith(" (as the model itself says)")
