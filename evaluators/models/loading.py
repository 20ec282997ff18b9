"""Loading of float models by name: the digits models, or timm's ViTs, DeiTs and Swins."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bitfront.evaluators.models.architecture import Architecture, check_digest, read_architecture
from bitfront.evaluators.models.checkpoint import check_fit, classes_of, load_strictly, read_checkpoint
from bitfront.evaluators.models.digits_models import (
    CLASSES,
    DIGITS_MODELS,
    EMBEDDED,
    build_digits,
    load_embedded,
)
from bitfront.evaluators.models.families import check_family
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.spaces import BitfrontError, UserError
from bitfront.spaces.errors import one_line

FAMILY_MODULES = ("vision_transformer", "deit", "swin_transformer")  # timm's files with names to suggest
SUGGESTIONS = 3


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A float model that is ready to be evaluated.

    Attributes:
        name: As the user gave it.
        module: In evaluation mode and float32, without gradients.
        data_config: timm's resolved preprocessing: ``input_size``, ``mean``, ``std``, ``crop_pct``, ...
        classes: Number of classes.
        weights: Where the weights come from, for records.
        architecture: What rebuilds the module where its name does not: it was given as a Python object.
    """

    name: str
    module: nn.Module
    data_config: dict[str, Any]
    classes: int
    weights: str
    architecture: Architecture | None = None


def load_model(
    name: str,
    *,
    checkpoint: str | Path | None = None,
    pretrained: bool = False,
    num_classes: int | None = None,
    untrained: bool = False,
) -> LoadedModel:
    """Loads a digits model, or one of timm's of a supported family; others are refused before any download.

    Args:
        name: The model's name; timm's may carry a tag (``deit_tiny_patch16_224.fb_in1k``).
        checkpoint: A weights file to load; its classifier decides the number of classes. Where it describes
            the architecture, as that of a model given as a Python object does, the name is only compared.
        pretrained: Take timm's weights from the hub (``digits_deit`` always has its embedded ones).
        num_classes: The number of classes that the weights must have.
        untrained: Whether a model without a source of weights gets random ones, for what depends on its
            shapes alone.

    Raises:
        UserError: Unknown name, a model that no scheme covers, no weights or two kinds of them, or weights
            that do not fit.
        BitfrontError: The hub's weights cannot be had.
    """
    if checkpoint is not None and pretrained:
        raise UserError("both --checkpoint and --pretrained were given; expected one source of weights")
    checkpoint = None if checkpoint is None else Path(checkpoint)
    architecture = None if checkpoint is None else read_architecture(checkpoint)
    module: Any
    outline = model_outline(name, architecture=architecture)
    check_family(name, outline)
    if checkpoint is not None:
        weights = f"checkpoint {checkpoint}"
        if architecture is not None:
            module = _from_description(architecture, outline, checkpoint)
        else:
            state = read_checkpoint(checkpoint)
            module = _constructed(name, num_classes or classes_of(state))
            load_strictly(module, state, name, checkpoint)
    elif name == EMBEDDED:
        module, weights = load_embedded(), "embedded"
    elif untrained and not pretrained:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            module, weights = _constructed(name, None), "random"
    elif name in DIGITS_MODELS:
        raise UserError(
            f"{name} has no embedded weights: make some with `bitfront train --model {name}`, "
            f"then pass --checkpoint {name}.safetensors"
        )
    elif pretrained:
        module, weights = _from_hub(name, outline, num_classes)
    else:
        raise UserError(
            f"{name} has no weights without a source: pass --checkpoint FILE, or --pretrained for timm's own "
            "(random weights have no accuracy to keep)"
        )
    import timm.data

    classes = int(module.num_classes)
    _check_classes(name, classes, num_classes)
    module = module.float().eval().requires_grad_(False)
    config = timm.data.resolve_data_config({}, model=module)
    return LoadedModel(name, module, dict(config), classes, weights, architecture)


def model_outline(
    name: str, classes: int | None = None, architecture: Architecture | None = None
) -> nn.Module:
    """A model on the meta device: its structure and pretrained configuration, but no weights.

    Args:
        name: As :func:`load_model` takes it.
        classes: Of the classifier; as many as the architecture has by default where None.
        architecture: What describes the model in place of its name.

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
    if name not in DIGITS_MODELS and not timm.is_model(name):
        raise UserError(f"unknown model {name!r}; {_nearest(name)}")
    try:
        with torch.device("meta"):
            return _constructed(name, classes)
    except RuntimeError as error:  # the architecture is known, the tag after the dot is not
        raise UserError(f"unknown model {name!r} ({error}); {_nearest(name)}") from error


def _constructed(name: str, classes: int | None) -> nn.Module:
    """A model with the weights that it is initialised with, on the default device."""
    if name in DIGITS_MODELS:
        return build_digits(name, classes=classes or CLASSES)
    import timm

    given = {} if classes is None else {"num_classes": classes}
    module: nn.Module = timm.create_model(name, pretrained=False, **given)
    return module


def _nearest(name: str) -> str:
    import timm

    architecture, dot, _ = name.partition(".")
    if dot and timm.is_model(architecture):
        candidates = [architecture, *timm.list_pretrained(f"{architecture}.*")]
    else:
        known = (timm.list_models(module=family) for family in FAMILY_MODULES)
        candidates = [*DIGITS_MODELS, *(model for models in known for model in models)]
    close = difflib.get_close_matches(name.lower(), candidates, n=SUGGESTIONS, cutoff=0.0)
    return f"expected {EMBEDDED} or a timm ViT, DeiT or Swin; the nearest names are {', '.join(close)}"


def _from_description(architecture: Architecture, outline: nn.Module, path: Path) -> nn.Module:
    """The model that a weights file describes: it takes memory only once the file is known to fill it."""
    state = read_checkpoint(path)
    check_fit(outline, state, architecture.name, path)
    check_digest(path, architecture, state)
    with torch.random.fork_rng(devices=[]):
        module = architecture.build()
    module.load_state_dict(state)
    return module


def _from_hub(name: str, outline: Any, num_classes: int | None) -> tuple[nn.Module, str]:
    """A model with timm's weights, and where they come from."""
    import timm

    _check_classes(name, int(outline.num_classes), num_classes)
    address = outline.pretrained_cfg.get("hf_hub_id") or outline.pretrained_cfg.get("url")
    if not address:
        raise UserError(f"timm has no pretrained weights for {name}; pass --checkpoint FILE")
    try:
        return timm.create_model(name, pretrained=True), f"pretrained {address}"
    except Exception as error:  # no network, proxies, a full disk: the hub's clients raise many types
        raise BitfrontError(
            f"timm's weights for {name} cannot be downloaded ({one_line(error, 200)}); "
            "offline, pass --checkpoint FILE"
        ) from error


def _check_classes(name: str, classes: int, expected: int | None) -> None:
    if classes < 1:
        raise UserError(f"{name} has no classifier; expected one: pass a fine-tuned --checkpoint")
    if expected is not None and classes != expected:
        raise UserError(f"{name} has {classes} classes; expected {expected}: pass a --checkpoint with those")
