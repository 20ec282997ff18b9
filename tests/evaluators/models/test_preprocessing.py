"""Preprocessing by options, by configurations beside the weights, and the model's own; each is said."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.float_check import preprocessing_words
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.data.image_options import ImageOptions
from bitfront.evaluators.models.digits_models import load_embedded
from bitfront.evaluators.models.loading import load_model
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.spaces import UserError

OWN = "shorter side to 16 (bilinear), centre 16x16, mean 0.306, std 0.319 (built in for digits_deit)"
TIMMS = {
    "architecture": "digits_deit",
    "label_names": ["zero"],
    "pretrained_cfg": {
        "mean": [0.4],
        "std": [0.2],
        "crop_pct": 0.9,
        "crop_mode": "squash",
        "interpolation": "bicubic",
    },
}
SMALL = EvaluationSpec(
    model="digits_deit",
    scheme="fq-vit",
    recipe="fq-vit",
    calibration_images=32,
    search_images=40,
    test_images=24,
    batch_size=32,
    threads=1,
    first_images=40,
)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    save_file(load_embedded("digits_deit").state_dict(), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def beside(weights: Path, document: object, name: str = "config.json") -> None:
    weights.with_name(name).write_text(document if isinstance(document, str) else json.dumps(document))


def test_the_models_own(weights: Path) -> None:
    loaded = load_model("digits_deit", checkpoint=weights)
    assert preprocessing_words(loaded) == OWN
    assert loaded.decided == {}


@pytest.mark.parametrize("flat", [True, False])
def test_timms_configuration_beside_the_weights(weights: Path, flat: bool) -> None:
    """timm once wrote all into one object."""
    written = {"architecture": "digits_deit", **TIMMS["pretrained_cfg"]} if flat else TIMMS  # type: ignore[dict-item]
    beside(weights, written)
    loaded = load_model("digits_deit", checkpoint=weights)
    assert preprocessing_words(loaded) == (
        "squashed to 17x17 (bicubic), centre 16x16, mean 0.4, std 0.2 (built in for digits_deit; "
        "interpolation, mean, std, crop_pct, crop_mode from config.json beside the weights)"
    )
    assert loaded.decided == {
        "mean": (0.4,),
        "std": (0.2,),
        "crop_pct": 0.9,
        "crop_mode": "squash",
        "interpolation": "bicubic",
    }
    assert not loaded.adapted


def test_options_come_first(weights: Path) -> None:
    beside(weights, TIMMS)
    options = ImageOptions(mean=(0.5,), crop_pct=1.0)
    loaded = load_model("digits_deit", checkpoint=weights, options=options)
    assert preprocessing_words(loaded) == (
        "squashed to 16x16 (bicubic), centre 16x16, mean 0.5, std 0.2 (built in for digits_deit; "
        "interpolation, std, crop_mode from config.json beside the weights; mean, crop_pct as given)"
    )
    assert set(loaded.decided) == {"std", "crop_mode", "interpolation"}


def test_what_repeats_the_models_own_is_not_said(weights: Path) -> None:
    beside(weights, {"architecture": "digits_deit", "pretrained_cfg": {"mean": [0.306], "crop_pct": 1.0}})
    loaded = load_model("digits_deit", checkpoint=weights)
    assert (preprocessing_words(loaded), loaded.decided) == (OWN, {})


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (
            {"architecture": "vit_tiny_patch16_224", "mean": [0.1]},
            "is of vit_tiny_patch16_224, not of digits_deit",
        ),
        ("{", "cannot be read and is left out"),
        ({"mean": [0.1]}, None),
        ([1], None),
    ],
)
def test_other_configurations_are_left_out(weights: Path, document: object, told: str | None) -> None:
    beside(weights, document)
    loaded = load_model("digits_deit", checkpoint=weights)
    assert preprocessing_words(loaded) == OWN
    assert len(loaded.notes) == (told is not None)
    assert all(told is not None and told in note for note in loaded.notes)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"mean": [0.1, 0.2, 0.3]}, "mean in config.json has 3 values, and the model takes 1 channels"),
        ({"mean": [77.0]}, "config.json cannot be used: --mean 77.0 is of pixel values from 0 to 255"),
        ({"std": [0.0]}, "config.json cannot be used: --std 0.0"),
        ({"interpolation": "area"}, "config.json cannot be used: --interpolation area is unknown"),
        ({"crop_pct": 2}, "config.json cannot be used: --crop-pct 2 is no share"),
    ],
)
def test_values_that_cannot_be_used(weights: Path, change: dict[str, Any], told: str) -> None:
    beside(weights, {"architecture": "digits_deit", "pretrained_cfg": change})
    with pytest.raises(UserError) as caught:
        load_model("digits_deit", checkpoint=weights)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_channels_of_an_option() -> None:
    with pytest.raises(
        UserError, match=r"--mean has 3 values, and the model takes 1 channels: give one for each"
    ):
        load_model("digits_deit", options=ImageOptions(mean=(0.1, 0.2, 0.3)))


@pytest.mark.parametrize(
    ("processor", "words"),
    [
        (
            {"size": {"height": 16, "width": 16}, "resample": 3},
            "squashed to 16x16 (bicubic), centre 16x16, mean 0.5, std 0.5 ",
        ),
        (
            {"size": 20, "do_center_crop": True, "crop_size": {"height": 16, "width": 16}, "resample": 2},
            "squashed to 20x20 (bilinear), centre 16x16, mean 0.5, std 0.5 ",
        ),
        (
            {"size": {"shortest_edge": 18}, "do_center_crop": True, "crop_size": 16},
            "shorter side to 18 (bilinear), centre 16x16, mean 0.5, std 0.5 ",
        ),
        ({"do_normalize": False}, "shorter side to 16 (bilinear), centre 16x16, mean 0, std 1 "),
    ],
)
def test_image_processors_of_transformers(weights: Path, processor: dict[str, Any], words: str) -> None:
    named = {
        "image_processor_type": "ViTImageProcessor",
        "image_mean": [0.5],
        "image_std": [0.5],
        **processor,
    }
    beside(weights, named, "preprocessor_config.json")
    beside(weights, {"model_type": "vit", "image_size": 16})
    loaded = load_model("digits_deit", checkpoint=weights)
    assert preprocessing_words(loaded).startswith(words)
    assert "from preprocessor_config.json beside the weights" in preprocessing_words(loaded)


def test_what_a_training_recorded_is_said_where_it_is_not_in_use(tmp_path: Path) -> None:
    arguments = {"mean": [0.306], "std": [0.2], "crop_pct": None, "interpolation": "", "crop_mode": "?"}
    content = {"model": load_embedded("digits_deit").state_dict(), "args": argparse.Namespace(**arguments)}
    torch.save(content, tmp_path / "c.pth")
    told = (
        "images: the training arguments beside the weights have --std 0.2, which is not in use: give it here"
    )
    (note,) = load_model("digits_deit", checkpoint=tmp_path / "c.pth").notes
    assert note.startswith(told)
    options = ImageOptions(std=(0.3,))
    assert load_model("digits_deit", checkpoint=tmp_path / "c.pth", options=options).notes == ()


def test_timm_resolves_the_same() -> None:
    ensure_torchvision()
    import timm.data

    options = {"mean": (0.1, 0.2, 0.3), "std": (0.4,), "crop_pct": 0.8, "interpolation": "bilinear"}
    name = "deit_tiny_patch16_224"
    found = load_model(name, untrained=True, options=ImageOptions((64, 96), **options)).data_config
    import timm

    module = timm.create_model(name, img_size=(64, 96))
    expected = timm.data.resolve_data_config({**options, "input_size": (3, 64, 96)}, model=module)
    assert found == expected


def test_what_files_said_is_kept_in_the_run(weights: Path) -> None:
    """The weights may move without their configuration."""
    beside(weights, TIMMS)
    told: list[str] = []
    spec = EvaluationSpec.from_json({**SMALL.to_json(), "checkpoint": str(weights)})
    context = EvaluationContext.from_spec(spec, note=told.append)
    assert "from config.json beside the weights" in told[0]
    assert (context.spec.mean, context.spec.crop_mode) == ((0.4,), "squash")
    weights.with_name("config.json").unlink()
    again = EvaluationContext.from_spec(context.spec)
    assert again.spec == context.spec
    assert again.model.data_config == context.model.data_config
    assert torch.equal(again.images("search").pixels, context.images("search").pixels)


def test_an_entry_is_kept_in_the_run(tmp_path: Path) -> None:
    right = load_embedded("digits_deit").state_dict()
    torch.save(
        {"state_dict": {k: v + 1 for k, v in right.items()}, "state_dict_ema": right}, tmp_path / "c.pth"
    )
    told: list[str] = []
    spec = EvaluationSpec.from_json({**SMALL.to_json(), "checkpoint": str(tmp_path / "c.pth")})
    context = EvaluationContext.from_spec(spec, note=told.append)
    assert context.spec.checkpoint == f"{tmp_path / 'c.pth'}:state_dict_ema"
    assert told[0].startswith(f"weights: {tmp_path / 'c.pth'} holds several: state_dict_ema is taken")
    assert context.float_quality("test").values["top1"] > 95.0


def test_other_preprocessing_is_another_calibration() -> None:
    plain = EvaluationContext.from_spec(SMALL)
    other = EvaluationContext.from_spec(EvaluationSpec.from_json({**SMALL.to_json(), "mean": [0.2]}))
    assert other.calibration != plain.calibration
    assert other.model.data_config["mean"] == (0.2,)
