"""Classifiers of any family: which bitfront quantizes, their weights, and how they see images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bitfront.evaluators.data.image_options import ImageOptions
from bitfront.evaluators.models.classifiers import is_quantized, load_classifier, untrained_classifier
from bitfront.evaluators.models.digits_models import build_digits
from bitfront.evaluators.models.given_model import write_model
from bitfront.spaces import UserError

NAME = "test_resnet"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    module = untrained_classifier(NAME, 3).module
    save_file(module.state_dict(), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_which_are_quantized(tmp_path: Path) -> None:
    assert [is_quantized(name) for name in ("digits_vit", "test_vit", NAME, "cait_xxs24_224")] == [
        True, True, False, False,
    ]  # fmt: skip
    path = tmp_path / "given.safetensors"
    name = write_model(path, build_digits("digits_deit", depth=2)).name
    assert is_quantized(name, path)  # which timm does not know
    with pytest.raises(UserError, match="unknown model 'resnet_of_mine'"):
        is_quantized("resnet_of_mine")


def test_a_head_says_how_many_classes_there_are(weights: Path) -> None:
    found = load_classifier(NAME, checkpoint=weights)
    assert (found.classes, found.weights) == (3, f"checkpoint {weights}")
    assert found.data_config["input_size"] == (3, 160, 160)
    assert not found.module.training
    assert not any(parameter.requires_grad for parameter in found.module.parameters())


def test_images_are_those_of_options_and_of_a_configuration_beside(weights: Path) -> None:
    found = load_classifier(NAME, checkpoint=weights, options=ImageOptions(image_size=(24, 32)))
    assert found.data_config["input_size"] == (3, 24, 32)
    settings = {"input_size": [3, 48, 48], "mean": [0.1, 0.2, 0.3], "crop_pct": 1.0}
    weights.with_name("config.json").write_text(
        json.dumps({"architecture": NAME, "pretrained_cfg": settings})
    )
    found = load_classifier(NAME, checkpoint=weights)
    assert found.data_config["input_size"] == (3, 48, 48)
    assert (found.data_config["mean"], found.data_config["crop_pct"]) == ((0.1, 0.2, 0.3), 1.0)


def test_models_that_are_quantized_are_loaded_as_ever() -> None:
    assert load_classifier("digits_deit", pretrained=True).weights == "embedded"


def test_files_without_a_head_and_no_files(weights: Path, tmp_path: Path) -> None:
    save_file({"conv1.0.weight": torch.zeros(1)}, tmp_path / "body.safetensors")
    with pytest.raises(UserError, match=r"has no classifier fc of test_resnet: give a fine-tuned one"):
        load_classifier(NAME, checkpoint=tmp_path / "body.safetensors")
    with pytest.raises(UserError, match="test_resnet has no weights without a source"):
        load_classifier(NAME)
