"""Outlines of models: blueprints without weights, which say the same of the architecture as real ones."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from peculiar_cases import INTEGER, PECULIAR
from quantized_cases import SMALL, small

from bitfront.evaluators.models.blueprint import Blueprint, blueprint_on, map_tensors
from bitfront.evaluators.models.digits_models import DIGITS_MODELS, build_digits
from bitfront.evaluators.models.families import blueprint_of, blueprint_outline
from bitfront.evaluators.models.outlines import model_outline
from bitfront.evaluators.models.sites import trace_sites
from bitfront.spaces import SCHEMES, UserError

META = torch.device("meta")


def tensors_of(blueprint: Blueprint) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    map_tensors(blueprint, found.setdefault, blueprint.name)
    return found


def check_outline(outline: Blueprint, real: Blueprint, schemes: Sequence[str] = SCHEMES) -> None:
    shapes, values = tensors_of(outline), tensors_of(real)
    assert list(shapes) == list(values)
    known = set()
    for name, tensor in shapes.items():
        assert (tensor.shape, tensor.dtype) == (values[name].shape, values[name].dtype), name
        learned = name.endswith("score_scales") and any(e.learned_scales for e in real.encoders)
        if not tensor.is_meta and not learned:
            known.add(name.rpartition(".")[2])
            assert torch.equal(tensor, values[name]), name
    assert known <= {"score_scales", "rows", "index", "mask", "angles", "places", "weight", "bias"}
    assert "rows" in known or "score_scales" in known
    for scheme in schemes:
        assert trace_sites(outline, scheme) == trace_sites(real, scheme)


@pytest.mark.parametrize("name", SMALL)
def test_small_models(name: str) -> None:
    module = SMALL[name]().eval()
    check_outline(blueprint_outline(name, copy.deepcopy(module).to("meta")), blueprint_of(name, module))


@pytest.mark.parametrize("name", PECULIAR)
def test_peculiar_models(name: str) -> None:
    """As they are built without weights, for training: some rotations are drawn then."""
    module = PECULIAR[name]().eval()
    schemes = SCHEMES if name in INTEGER else ["deploy"]
    with META:
        outline = PECULIAR[name]()
    assert outline.training
    check_outline(blueprint_outline(name, outline), blueprint_of(name, module), schemes)
    check_outline(
        blueprint_outline(name, copy.deepcopy(module).to("meta")), blueprint_of(name, module), schemes
    )


@pytest.mark.parametrize("name", DIGITS_MODELS)
def test_digits_models(name: str) -> None:
    real = blueprint_of(name, build_digits(name, classes=4).eval())
    check_outline(blueprint_outline(name, model_outline(name, 4)), real)


@pytest.mark.parametrize("name", ["deit_tiny_distilled_patch16_224", "swin_tiny_patch4_window7_224"])
def test_published_models(timm: Any, name: str) -> None:
    real = blueprint_of(name, timm.create_model(name, num_classes=5).eval())
    check_outline(blueprint_outline(name, model_outline(name, 5)), real)


def test_as_many_classes_as_usual(timm: Any) -> None:
    assert model_outline("digits_swin").num_classes == 10
    assert model_outline("deit_tiny_patch16_224").num_classes == 1000


def test_what_is_refused_for_real_is_refused_in_outline() -> None:
    bare: Any = small("vit")
    bare.reset_classifier(0)
    with pytest.raises(UserError, match="it has no classifier"):
        blueprint_outline("bare", bare)
    with pytest.raises(UserError, match="it is a ResNet"):
        blueprint_outline("resnet18", model_outline("resnet18"))


def test_tensors_without_values_stay_where_they_are() -> None:
    outline = blueprint_outline("digits_swin", model_outline("digits_swin"))
    moved = blueprint_on(outline, torch.device("cpu"))
    assert moved.patch.weight.is_meta
    assert all(tensor.is_meta for tensor in tensors_of(blueprint_on(outline, META)).values())
    window = moved.encoders[0].window
    assert window is not None
    assert not window.rows.is_meta
