"""The digest of what an evaluation depends on: every field of the spec counts, or a reason says why not."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from quick_spec import QUICK

from bitfront.evaluators.context import identity
from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.identity import COUNTED, NOT_COUNTED, evaluation_key
from bitfront.evaluators.context.kept_setting import machine_key
from bitfront.evaluators.context.spec import EvaluationSpec

# Another value of every field that counts.
OTHERS: dict[str, Any] = {
    "model": "deit_tiny_patch16_224",
    "scheme": "deploy",
    "widths": (4, 6, 8),
    "formats": ("weights=int4,int8a",),
    "recipe": "gptq",
    "without": ("log-base",),
    "observer": "minmax",
    "device": "cuda:1",
    "batch_size": 16,
    "task": "multilabel",
    "metrics": ("macro_f1",),
    "calibration_images": 31,
}


@pytest.fixture(scope="module")
def context() -> EvaluationContext:
    return EvaluationContext.from_spec(dataclasses.replace(QUICK, search_images=16, test_images=8))


@pytest.fixture
def other(context: EvaluationContext) -> EvaluationContext:
    """The same, with images of its own to change."""
    images = {split: context.images(split) for split in ("calibration", "search")}
    found = dataclasses.replace(context)
    for split, own in images.items():
        found.take_images(
            split, dataclasses.replace(own, pixels=own.pixels.clone(), labels=own.labels.clone())
        )
    return found


def with_spec(context: EvaluationContext, **changes: Any) -> EvaluationContext:
    found = dataclasses.replace(context, spec=dataclasses.replace(context.spec, **changes))
    for split in ("calibration", "search"):
        found.take_images(split, context.images(split))
    return found


def test_every_field_of_the_spec_counts_or_has_a_reason() -> None:
    fields = {field.name for field in dataclasses.fields(EvaluationSpec)}
    assert set(COUNTED) | set(NOT_COUNTED) == fields
    assert not set(COUNTED) & set(NOT_COUNTED)
    assert all(len(reason) > 20 for reason in NOT_COUNTED.values())
    assert OTHERS.keys() == set(COUNTED)


@pytest.mark.parametrize("name", COUNTED)
def test_a_field_that_counts_changes_the_key(context: EvaluationContext, name: str) -> None:
    assert evaluation_key(with_spec(context, **{name: OTHERS[name]})) != evaluation_key(context)


def test_what_is_left_out_leaves_the_key(context: EvaluationContext) -> None:
    changed = with_spec(
        context,
        checkpoint="elsewhere.safetensors",
        data="digits",
        threads=7,
        first_images=9,
        allow_chance=True,
        tell_apart=None,
        seed=5,
    )
    assert evaluation_key(changed) == evaluation_key(context)


@pytest.mark.parametrize(
    ("split", "part"), [(s, p) for s in ("search", "calibration") for p in ("pixels", "labels")]
)
def test_what_the_others_lead_to_counts(
    context: EvaluationContext, other: EvaluationContext, split: Any, part: str
) -> None:
    assert evaluation_key(other) == evaluation_key(context)
    tensor = getattr(other.images(split), part)
    tensor.view(-1)[0] = 1 - tensor.view(-1)[0]
    assert evaluation_key(other) != evaluation_key(context)


def test_weights_calibration_class_names_and_normalisation_count(
    context: EvaluationContext, other: EvaluationContext
) -> None:
    key = evaluation_key(context)
    weight = next(context.model.module.parameters())
    with torch.no_grad():
        weight.view(-1)[0] += 1.0
        assert evaluation_key(context) != key
        weight.view(-1)[0] -= 1.0
    assert evaluation_key(dataclasses.replace(context, calibration="0" * 64)) != key
    images = dataclasses.replace(other.images("search"), mean=(0.25,))
    other.take_images("search", images)
    assert evaluation_key(other) != key


def test_the_images_are_those_of_the_split(context: EvaluationContext) -> None:
    assert evaluation_key(context, "test") != evaluation_key(context)


def test_another_order_of_images_is_another_split(
    context: EvaluationContext, other: EvaluationContext
) -> None:
    images = other.images("search")
    order = np.arange(len(images))[::-1].copy()
    other.take_images(
        "search", dataclasses.replace(images, pixels=images.pixels[order], labels=images.labels[order])
    )
    assert evaluation_key(other) != evaluation_key(context)


@pytest.mark.parametrize("name", ["torch", "timm", "numba", "bitfront"])
def test_versions_count(context: EvaluationContext, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    key, versions = evaluation_key(context), identity._version
    monkeypatch.setattr(identity, "_version", lambda package: "0" if package == name else versions(package))
    assert evaluation_key(context) != key


def test_code_processor_and_refinement_count(
    context: EvaluationContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key, path = evaluation_key(context), tmp_path / "refined.safetensors"
    path.write_bytes(b"one")
    refined = evaluation_key(with_spec(context, refinement=str(path)))
    path.write_bytes(b"two")
    assert len({key, refined, evaluation_key(with_spec(context, refinement=str(path)))}) == 3
    for name, value in (("sources_digest", lambda *_: "0"), ("rounding_of", lambda _: "AVX1")):
        with monkeypatch.context() as patch:
            patch.setattr(identity, name, value)
            assert evaluation_key(context) != key


def test_a_package_counts_by_its_files_and_a_module_by_its_own(tmp_path: Path) -> None:
    assert len({identity._code_of(name) for name in ("json", "csv", "no_such_package")}) == 3
    assert identity._code_of("no_such_package") == ""


def test_the_key_of_the_machine_knows_nothing_of_images(
    context: EvaluationContext, other: EvaluationContext
) -> None:
    other.images("search").pixels.zero_()
    keys = {machine_key(found.spec, found.calibration, found.prepared.kernels) for found in (context, other)}
    assert len(keys) == 1
    assert evaluation_key(context) not in keys
