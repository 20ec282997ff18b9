"""The model that is trained: what it begins with, its head, what stays as it is, its parameter groups."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.models.architecture import SWIN, family_of
from bitfront.evaluators.models.description import described
from bitfront.evaluators.models.digits_models import DIGITS_MODELS
from bitfront.evaluators.models.families import check_family
from bitfront.evaluators.models.form import built_at
from bitfront.evaluators.models.loading import load_model
from bitfront.evaluators.models.outlines import constructed, model_outline
from bitfront.evaluators.models.preprocessing import Beside, resolved_preprocessing
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.evaluators.training.digits import initial_model
from bitfront.evaluators.training.recipe import TrainingRecipe
from bitfront.spaces import UserError
from bitfront.spaces.quantities import count_of

# Before the first encoder, in timm's names.
_EMBEDDING = re.compile(r"(patch_embed|norm_pre)\.|(cls_token|dist_token|reg_token|pos_embed)$")


@dataclass(frozen=True, eq=False)
class StartingModel:
    """A model before its training.

    Attributes:
        module: On the CPU, in float32, with a gradient for all that is trained.
        data_config: timm's resolved preprocessing of its images.
        decided: Fields of the evaluation spec that files beside the weights decided.
        trained: Whether it begins with weights.
        self_described: Whether its name does not rebuild it, so that the weights file has to describe it.
        notes: What was decided, a sentence each.
    """

    module: nn.Module
    data_config: dict[str, Any]
    decided: Mapping[str, Any]
    trained: bool
    self_described: bool = False
    notes: tuple[str, ...] = ()

    def metadata(self, name: str, state: Mapping[str, torch.Tensor]) -> dict[str, str]:
        """What the header of a weights file has to say, so that ``load_model`` rebuilds the model."""
        if not self.self_described:
            return {}
        return described(name, self.module, self.data_config).metadata(state)


def starting_model(spec: EvaluationSpec, classes: int, seed: int, mapped: bool = False) -> StartingModel:
    """The model that a spec names, with a head for so many classes.

    Args:
        spec: Says which, and where its weights are; without any it begins with random ones.
        classes: That labels can be.
        seed: Of random weights.
        mapped: Whether a class map says which output each class name is: the model's own head is kept.

    Raises:
        UserError: The model is unknown, no scheme covers it, or its weights cannot be used.
        BitfrontError: The hub's weights cannot be had.
    """
    trained = spec.checkpoint is not None or spec.pretrained or ":" in spec.model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        found = _with_weights(spec) if trained else _from_nothing(spec, classes)
        module: Any = found.module
        own = int(module.num_classes)
        notes = list(found.notes)
        if own != classes and not (mapped and classes <= own):
            module.reset_classifier(classes)
            notes.append(f"head: a new one for {classes} classes, in place of one for {own}")
    module.pretrained_cfg = {**(module.pretrained_cfg or {}), "num_classes": int(module.num_classes)}
    module.requires_grad_(True)
    return dataclasses.replace(found, notes=tuple(notes))


def _with_weights(spec: EvaluationSpec) -> StartingModel:
    found = load_model(
        spec.model, checkpoint=spec.checkpoint, pretrained=spec.pretrained, options=spec.image_options
    )
    notes = (*found.notes, f"weights: begins with {found.weights}")
    described_by_file = found.architecture is not None and not found.adapted
    return StartingModel(found.module, found.data_config, found.decided, True, described_by_file, notes)


def _from_nothing(spec: EvaluationSpec, classes: int) -> StartingModel:
    size = spec.image_options.image_size
    resized: dict[str, Any] = {} if size is None else {"img_size": size}
    outline = model_outline(spec.model)
    if size is not None:
        outline = built_at(spec.model, lambda more: model_outline(spec.model, further=more), resized, size)
    check_family(spec.model, outline)
    if spec.model in DIGITS_MODELS:
        module = initial_model(spec.model, classes, **resized)
    else:
        module = constructed(spec.model, classes, resized)
    config, _ = resolved_preprocessing(module, spec.image_options, Beside())
    given = "give --checkpoint FILE or --pretrained to begin with those of a trained one"
    return StartingModel(module, config, {}, False, notes=(f"weights: begins with random ones ({given})",))


def encoders_of(module: Any) -> list[tuple[str, nn.Module]]:
    """The encoders of a model with the prefixes of their names, from the first."""
    if family_of(module) != SWIN:
        return [(f"blocks.{index}.", block) for index, block in enumerate(module.blocks)]
    return [
        (f"layers.{stage}.blocks.{index}.", block)
        for stage, layer in enumerate(module.layers)
        for index, block in enumerate(layer.blocks)
    ]


def freeze_prefix(module: nn.Module, encoders: int) -> None:
    """Keeps the embedding and the first encoders from being trained, and the patch mergings before them.

    Raises:
        UserError: There are not so many encoders.
    """
    if encoders == 0:
        return
    found = encoders_of(module)
    if encoders > len(found):
        raise UserError(
            f"--freeze {encoders}: the model has {count_of(len(found), 'encoder')}: give at most {len(found)}"
        )
    frozen = tuple(prefix for prefix, _ in found[:encoders])
    mergings = tuple(
        f"{prefix.partition('.blocks.')[0]}.downsample." for prefix in frozen if ".blocks." in prefix
    )
    for name, parameter in module.named_parameters():
        if _EMBEDDING.match(name) or name.startswith((*frozen, *mergings)):
            parameter.requires_grad_(False)


def parameter_groups(module: Any, recipe: TrainingRecipe) -> list[dict[str, Any]]:
    """Groups by timm: without weight decay where it does harm, later layers with larger rates."""
    ensure_torchvision()
    from timm.optim import param_groups_layer_decay, param_groups_weight_decay

    decay = recipe.weight_decay
    undecayed = frozenset(module.no_weight_decay()) if hasattr(module, "no_weight_decay") else frozenset()
    if recipe.layer_decay is None or recipe.layer_decay == 1.0:
        return list(param_groups_weight_decay(module, decay, no_weight_decay_list=undecayed))
    return list(
        param_groups_layer_decay(
            module, decay, no_weight_decay_list=undecayed, layer_decay=recipe.layer_decay
        )
    )
