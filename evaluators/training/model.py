"""The model that is trained: what it begins with, its head, what stays as it is, its parameter groups."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.models.architecture import SWIN, family_of
from bitfront.evaluators.models.classifiers import is_quantized, load_classifier, untrained_classifier
from bitfront.evaluators.models.description import described
from bitfront.evaluators.models.digits_models import DIGITS_MODELS
from bitfront.evaluators.models.families import check_family
from bitfront.evaluators.models.form import built_at
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
        quantized: Whether bitfront quantizes such models; others take images of any size.
        notes: What was decided, a sentence each.
    """

    module: nn.Module
    data_config: dict[str, Any]
    decided: Mapping[str, Any]
    trained: bool
    self_described: bool = False
    quantized: bool = True
    notes: tuple[str, ...] = ()

    def metadata(self, name: str, state: Mapping[str, torch.Tensor]) -> dict[str, str]:
        """What the header of a weights file has to say, so that ``load_model`` rebuilds the model."""
        if not self.self_described:
            return {}
        return described(name, self.module, self.data_config).metadata(state)

    def freeze(self, encoders: int) -> None:
        """Keeps the first encoders as they are; see :func:`freeze_prefix`.

        Raises:
            UserError: There are not so many, or none at all.
        """
        if encoders and not self.quantized:
            kind = type(self.module).__name__
            raise UserError(f"--freeze {encoders}: a {kind} has no encoders: leave the option out")
        freeze_prefix(self.module, encoders)


def starting_model(spec: EvaluationSpec, classes: int, seed: int, mapped: bool = False) -> StartingModel:
    """The model that a spec names, with a head for so many classes.

    Args:
        spec: Says which, and where its weights are; without any it begins with random ones.
        classes: That labels can be.
        seed: Of random weights.
        mapped: Whether a class map says which output each class name is: the model's own head is kept.

    Raises:
        UserError: The model is unknown, or its weights cannot be used.
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
    found = load_classifier(
        spec.model, checkpoint=spec.checkpoint, pretrained=spec.pretrained, options=spec.image_options
    )
    return StartingModel(
        found.module,
        found.data_config,
        found.decided,
        trained=True,
        self_described=found.architecture is not None and not found.adapted,
        quantized=is_quantized(spec.model, spec.checkpoint),
        notes=(*found.notes, f"weights: begins with {found.weights}"),
    )


def _from_nothing(spec: EvaluationSpec, classes: int) -> StartingModel:
    given = "give --checkpoint FILE or --pretrained to begin with those of a trained one"
    notes = (f"weights: begins with random ones ({given})",)
    if not is_quantized(spec.model):
        made = untrained_classifier(spec.model, classes, spec.image_options)
        return StartingModel(made.module, made.data_config, {}, False, quantized=False, notes=notes)
    size = spec.image_options.image_size
    resized: dict[str, Any] = {} if size is None else {"img_size": size}
    outline = model_outline(spec.model)
    if size is not None:
        outline = built_at(spec.model, lambda more: model_outline(spec.model, further=more), resized, size)
    check_family(spec.model, outline)  # of another size it may be another one
    if spec.model in DIGITS_MODELS:
        module = initial_model(spec.model, classes, **resized)
    else:
        module = constructed(spec.model, classes, resized)
    config, _ = resolved_preprocessing(module, spec.image_options, Beside())
    return StartingModel(module, config, {}, False, notes=notes)


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


def check_batches(module: nn.Module, images: int, batch: int) -> None:
    """Refuses batches of which the last one is a single image, where a model normalises over a batch.

    Raises:
        UserError: Such a batch; torch would stop at it where its features are of one pixel.
    """
    normalises = any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())
    if normalises and 1 in (batch, images % batch):
        better = next(size for size in itertools.count(batch + 1) if images % size != 1)
        raise UserError(
            f"--batch {batch} leaves a single image of {images:,} to the last step, and a "
            f"{type(module).__name__} normalises over the images of a step: give --batch {better}"
        )


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
