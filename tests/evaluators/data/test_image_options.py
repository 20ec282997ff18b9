"""What people write for preprocessing, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.data.image_options import OPTIONS, ImageOptions, read_image_options, read_size
from bitfront.spaces import UserError


@pytest.mark.parametrize(
    ("field", "written", "value"),
    [
        ("image_size", "448", (448, 448)),
        ("image_size", "384x288", (384, 288)),
        ("image_size", 96, (96, 96)),
        ("image_size", [384, 288], (384, 288)),
        ("image_size", ["224"], (224, 224)),
        ("mean", "0.5,0.4,0.3", (0.5, 0.4, 0.3)),
        ("mean", ["0.5", "0.4", "0.3"], (0.5, 0.4, 0.3)),
        ("mean", ["0.5,0.4,0.3"], (0.5, 0.4, 0.3)),
        ("mean", "(0.5, 0.4, 0.3)", (0.5, 0.4, 0.3)),
        ("std", 0.5, (0.5,)),
        ("crop_pct", "0.9", 0.9),
        ("crop_mode", "squash", "squash"),
        ("interpolation", "bicubic", "bicubic"),
        ("interpolation", None, None),
    ],
)
def test_what_is_written(field: str, written: Any, value: Any) -> None:
    assert read_image_options({field: written}) == {field: value}
    spec = EvaluationSpec(model="digits_deit", scheme="fq-vit", **{field: written})
    assert getattr(spec, field) == getattr(spec.image_options, field) == value


@pytest.mark.parametrize(
    ("field", "written", "told"),
    [
        ("image_size", "0", "--image-size 0 is no size: give pixels such as 384"),
        ("image_size", "224x224x3", "--image-size 224x224x3 is no size"),
        ("image_size", "big", "--image-size big is no size"),
        ("image_size", 1e3, "--image-size 1000.0 is no size"),
        ("image_size", True, "--image-size True is no size"),
        ("mean", "0.5,0.5", "--mean 0.5,0.5 is not understood: give one number for each channel"),
        ("mean", ["a", "b", "c"], "--mean a b c is not understood"),
        ("mean", "123.7 116.3 103.5", "is of pixel values from 0 to 255: divide --mean and --std by 255"),
        ("std", "0", "--std 0 is not understood: give one number above 0 for each channel"),
        ("std", "nan", "--std nan is not understood"),
        ("crop_pct", "90", "--crop-pct 90 is no share: give a number from 0.01 to 1"),
        ("crop_mode", "middle", "--crop-mode middle is unknown: give one of center, squash, border"),
        ("interpolation", "cubic", "--interpolation cubic is unknown: give one of nearest, bilinear"),
    ],
)
def test_what_is_refused(field: str, written: Any, told: str) -> None:
    with pytest.raises(UserError) as caught:
        EvaluationSpec(model="digits_deit", scheme="fq-vit", **{field: written})
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_they_are_recorded_where_they_are_set_alone() -> None:
    assert not set(OPTIONS) & set(EvaluationSpec(model="digits_deit", scheme="fq-vit").to_json())
    spec = EvaluationSpec(
        model="digits_deit",
        scheme="fq-vit",
        image_size=(24, 32),
        mean=(0.3,),
        crop_pct=0.9,
        interpolation="bicubic",
    )
    written = spec.to_json()
    assert (written["image_size"], written["mean"], written["crop_pct"]) == ([24, 32], [0.3], 0.9)
    assert "std" not in written
    assert EvaluationSpec.from_json(written) == spec
    assert spec.image_options.asked() == {"mean": (0.3,), "crop_pct": 0.9, "interpolation": "bicubic"}
    assert ImageOptions().asked() == {}


def test_pairs_are_height_and_width() -> None:
    assert read_size("10x20") == (10, 20)
