"""The model that a benchmark is about, with what its files are made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from bitfront.evaluators.context import EvaluationContext
from bitfront.evaluators.latency.stand_in import stand_in
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.digits_models import EMBEDDED
from bitfront.evaluators.models.families import blueprint_of
from bitfront.evaluators.quantized import PreparedModel
from bitfront.evaluators.quantized.layer_fit import FITTING
from bitfront.evaluators.recipes import TOKEN_WEIGHTS, Recipe, recipe_named
from bitfront.evaluators.spec import EvaluationSpec
from bitfront.spaces import BitConfig, Triple

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Entry:
    """A configuration that takes part.

    Attributes:
        name: What it is called.
        config: Its bits.
        bits: Those of every encoder where they are the same by request.
    """

    name: str
    config: BitConfig
    bits: Triple | None = None


@dataclass(frozen=True, eq=False)
class BenchedModel:
    """A float model and its quantized parts.

    Attributes:
        name: The model's name.
        module: The float model.
        blueprint: The same in parts.
        prepared: The quantized model, with its codes.
        recipe: What it was prepared with.
        weights: Where the weights come from.
    """

    name: str
    module: nn.Module
    blueprint: Blueprint
    prepared: PreparedModel
    recipe: Recipe
    weights: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image."""
        return self.blueprint.image_shape


def has_weights(spec: EvaluationSpec) -> bool:
    """Whether a spec names weights to load."""
    return spec.checkpoint is not None or spec.pretrained or spec.model == EMBEDDED


def load_benched(spec: EvaluationSpec, progress: Progress) -> BenchedModel:
    """Prepares a model as it would be exported; with random weights, on noise, where it has none of its own.

    Raises:
        UserError: The model, its weights or the data cannot be used.
    """
    recipe = recipe_named(spec.recipe, spec.without)
    if has_weights(spec):
        context = EvaluationContext.from_spec(spec, progress, keep_codes=True)
        module, prepared, weights = context.model.module, context.prepared, context.model.weights
    else:
        subject = stand_in(spec, keep_codes=True, progress=progress)
        module, prepared, weights = subject.module, subject.prepared, "random"
        recipe = recipe.without(FITTING | {TOKEN_WEIGHTS})
    return BenchedModel(spec.model, module, blueprint_of(spec.model, module), prepared, recipe, weights)
