"""Models by name: timm's constructors and the digits models, on the meta device or with random weights."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from bitfront.evaluators.models.architecture import Architecture
from bitfront.evaluators.models.digits_models import DEFAULT, DIGITS_MODELS, build_digits
from bitfront.evaluators.models.transformers_names import SAME_MODELS
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.spaces import BitfrontError, UserError
from bitfront.spaces.errors import one_line

FAMILY_MODULES = (
    "vision_transformer",
    "deit",
    "beit",
    "eva",
    "swin_transformer",
    "swin_transformer_v2",
    "vision_transformer_relpos",
)  # timm's files with names to suggest
SUGGESTIONS = 3
SOURCES = ("hf-hub", "local-dir")  # of models, as timm has them before a colon


def model_outline(
    name: str,
    classes: int | None = None,
    architecture: Architecture | None = None,
    further: Mapping[str, Any] | None = None,
) -> nn.Module:
    """A model on the meta device: its structure and pretrained configuration, but no weights.

    Args:
        name: As :func:`load_model` takes it.
        classes: Of the classifier; as many as the architecture has by default where None.
        architecture: What describes the model in place of its name.
        further: Other arguments of timm's constructor, such as ``img_size``.

    Raises:
        UserError: Unknown name, or the architecture is of another one or cannot be built.
    """
    ensure_torchvision()
    import timm

    if architecture is not None:
        if architecture.name != name:
            raise UserError(
                f"the weights are those of {architecture.name}, not of {name}: "
                f"pass --model {architecture.name}"
            )
        with torch.device("meta"):
            return architecture.build()
    if ":" in name:
        return _sourced_outline(name, classes, further or {})
    if name not in DIGITS_MODELS and not timm.is_model(name):
        if name in SAME_MODELS:
            raise UserError(
                f"unknown model {name!r}: timm calls it {SAME_MODELS[name]}, which also takes its weights "
                f"file by --checkpoint: pass --model {SAME_MODELS[name]}"
            )
        raise UserError(f"unknown model {name!r}; {_nearest(name)}")
    try:
        with torch.device("meta"):
            module: nn.Module = constructed(name, classes, further or {})
    except RuntimeError as error:  # the architecture is known, the tag after the dot is not
        if further:
            raise
        raise UserError(f"unknown model {name!r} ({error}); {_nearest(name)}") from error
    return module


def _sourced_outline(name: str, classes: int | None, further: Mapping[str, Any]) -> nn.Module:
    """The outline of a model of the hub or of a folder, whose configuration is read.

    Raises:
        UserError: The source is unknown, or the folder or its configuration cannot be used.
        BitfrontError: The hub's configuration cannot be had.
    """
    source = name.partition(":")[0]
    if source not in SOURCES:
        raise UserError(f"unknown model {name!r}; {' and '.join(SOURCES)} stand before a colon")
    try:
        with torch.device("meta"):
            module: nn.Module = constructed(name, classes, further)
    except Exception as error:  # no network, no such repository, a damaged configuration: many types
        if further and not isinstance(error, OSError):
            raise
        failure = UserError if source == "local-dir" else BitfrontError
        raise failure(
            f"the model {name} cannot be had ({one_line(error, 200)}); expected one of timm, with its "
            "config.json"
        ) from error
    return module


def constructed(name: str, classes: int | None, further: Mapping[str, Any]) -> Any:
    """A model with the weights that it is initialised with, on the default device.

    Args:
        name: As :func:`model_outline` takes it.
        classes: Of the classifier; as many as the architecture has by default where None.
        further: Other arguments of timm's constructor.
    """
    if name in DIGITS_MODELS:
        return build_digits(name, classes=classes, **further)
    import timm

    given = {} if classes is None else {"num_classes": classes}
    return timm.create_model(name, pretrained=False, **given, **further)


def _nearest(name: str) -> str:
    import timm

    architecture, dot, _ = name.partition(".")
    if dot and timm.is_model(architecture):
        candidates = [architecture, *timm.list_pretrained(f"{architecture}.*")]
    else:
        known = (timm.list_models(module=family) for family in FAMILY_MODULES)
        candidates = [*DIGITS_MODELS, *(model for models in known for model in models)]
    close = difflib.get_close_matches(name.lower(), candidates, n=SUGGESTIONS, cutoff=0.0)
    return (
        f"expected {DEFAULT} or a timm ViT, DeiT, BEiT, EVA or Swin; the nearest names are {', '.join(close)}"
    )
