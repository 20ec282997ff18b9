"""Spectral sensitivities of layers: how far a weight's energy lies in one direction, times its gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from bitfront.evaluators.models.blueprint import Blueprint, map_tensors
from bitfront.evaluators.models.float_forward import forward
from bitfront.evaluators.preparation.fisher import LayerKey, fisher_pair
from bitfront.evaluators.progress import ShareDone, unreported
from bitfront.spaces import SearchSpace, UserError
from bitfront.spaces.space import ATTENTION_LAYER, Gene

if TYPE_CHECKING:
    from bitfront.evaluators.context.context import EvaluationContext

FORMAT = "bitfront/spectral-scores"
VERSION = 1
SEED = 0
# The attention matrix has no weight: it is made of what this layer gives.
ATTENTION_FROM = "attn.qkv"
Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SpectralScores:
    """Sensitivities of genes; those of more are kept wide for longer.

    Attributes:
        names: Of the genes, in genome order.
        values: ``S`` of each gene, ``[genes]``, at least 0; the mean over its layers.
    """

    names: tuple[str, ...]
    values: Values

    def to_json(self) -> dict[str, Any]:
        """A JSON document."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "genes": list(self.names),
            "values": self.values.tolist(),
        }

    @classmethod
    def from_json(cls, document: object) -> SpectralScores:
        """Reads what :meth:`to_json` gave.

        Raises:
            UserError: It is something else.
        """
        found = document if isinstance(document, dict) else {}
        if (found.get("format"), found.get("version")) != (FORMAT, VERSION):
            raise UserError(
                f'not spectral scores: expected a JSON object with "format": "{FORMAT}", "version": {VERSION}'
            )
        names, values = found.get("genes"), found.get("values")
        if not isinstance(names, list) or not isinstance(values, list) or len(names) != len(values):
            raise UserError('spectral scores: "genes" and "values" must be lists of equal length')
        if any(type(value) not in (int, float) or not 0 <= value < np.inf for value in values):
            raise UserError('spectral scores: "values" must be finite numbers of at least 0')
        return cls(tuple(map(str, names)), np.array(values, dtype=np.float64))


def spectral_scores(
    context: EvaluationContext, space: SearchSpace, progress: ShareDone = unreported
) -> SpectralScores:
    """Sensitivities of a space's genes, from gradients over unlabelled images of the search split.

    They are those of the float model as it was given, before any ingredient of a recipe changed its weights.

    Args:
        context: The prepared model and its data.
        space: Whose genes are scored.
        progress: Is told the share that is done.
    """
    from bitfront.evaluators.context.preparing import preparing_threads, task_blueprint
    from bitfront.evaluators.context.throughput import torch_threads
    from bitfront.evaluators.sensitivity.projections import pass_images

    count, batches = pass_images(context.images("search"))
    device = context.prepared.kernels.device
    blueprint = task_blueprint(context.spec, context.model.module.to(device))
    # The model's own number of threads: it moves sums by a rounding, and with them what is proposed.
    with torch_threads(preparing_threads(blueprint)):
        found = layer_sensitivities(blueprint, batches, lambda images: progress(images / count))
    return SpectralScores(space.gene_names, gene_values(space, found))


def gene_values(space: SearchSpace, by_layer: Mapping[LayerKey, float]) -> Values:
    """Values of genes, ``[genes]``: the mean over the layers that a gene sets the width of.

    ``S`` is defined for weights. The input of a layer takes that of the layer, whose format it shares in the
    method; the attention matrix takes that of queries, keys and values.
    """
    return np.array([_gene_value(gene, by_layer) for gene in space.genes])


def _gene_value(gene: Gene, by_layer: Mapping[LayerKey, float]) -> float:
    layers = {
        (slot.encoder, ATTENTION_FROM if slot.layer == ATTENTION_LAYER else slot.layer) for slot in gene.slots
    }
    return float(np.mean([by_layer[key] for key in sorted(layers)]))


def layer_sensitivities(
    blueprint: Blueprint, batches: Iterable[torch.Tensor], seen: Callable[[int], None] | None = None
) -> dict[LayerKey, float]:
    """``S(W) = (||W||_2 / ||W||_F) E ||dL/dW||_F`` of every linear layer of the encoders (VQ-ViT).

    ``||.||_2`` is the largest singular value and ``||.||_F`` the root of the sum of squares; the mean is over
    images. The loss needs no labels: it is minus the logarithm of the probability of a class that is drawn
    from the prediction. The norm of an image is the root of the mean square over such draws, estimated by a
    pair of directions whose outer products add up to the Fisher information of its prediction
    (:func:`bitfront.evaluators.preparation.fisher.fisher_pair`).

    Args:
        blueprint: The float model.
        batches: Normalised images ``[batch, channels, rows, columns]``.
        seen: Is told how many images are done after each batch.

    Returns:
        By (encoder, layer), at least 0, in nats per unit of weight; 0 where a weight is zero.
    """
    open_to_gradients, weights = _with_gradients(blueprint)
    device = next(iter(weights.values())).device
    generator = torch.Generator().manual_seed(SEED)
    totals, images = torch.zeros(len(weights), dtype=torch.float64), 0
    for batch in batches:
        for image in torch.split(batch, 1):
            totals += _gradient_norms(open_to_gradients, image.to(device), list(weights.values()), generator)
        images += len(batch)
        if seen is not None:
            seen(images)
    return {
        key: spectral_share(weight.detach()) * float(total) / images
        for (key, weight), total in zip(weights.items(), totals, strict=True)
    }


def spectral_share(weight: torch.Tensor) -> float:
    """``||W||_2 / ||W||_F`` of a weight ``[out, in]``, from ``1 / sqrt(rank)`` to 1; 0 for zeros."""
    values = torch.linalg.svdvals(weight.double())
    whole = float(values.square().sum().sqrt())
    return float(values[0]) / whole if whole > 0 else 0.0


def _with_gradients(blueprint: Blueprint) -> tuple[Blueprint, dict[LayerKey, torch.Tensor]]:
    """The model with weights of encoders that gradients are asked of, which share its memory."""
    copied: dict[int, torch.Tensor] = {}
    keys = {
        id(parts.weight): (index, layer)
        for index, encoder in enumerate(blueprint.encoders)
        for layer, parts in encoder.linear().items()
    }

    def visit(_: str, tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in keys:
            return tensor
        return copied.setdefault(id(tensor), tensor.detach().requires_grad_())

    opened = map_tensors(blueprint, visit, "")
    return opened, {keys[found]: weight for found, weight in copied.items()}


def _gradient_norms(
    blueprint: Blueprint, image: torch.Tensor, weights: list[torch.Tensor], generator: torch.Generator
) -> torch.Tensor:
    """Norm of the gradient of each weight for one image, float64 ``[weights]``."""
    with torch.enable_grad():
        logits = forward(blueprint, image)
    first, second = fisher_pair(logits, generator, blueprint.independent).unbind(1)
    squares = torch.zeros(len(weights), dtype=torch.float64)
    for direction, retain in ((first, True), (second, False)):
        gradients = torch.autograd.grad(logits, weights, direction, retain_graph=retain)
        squares += torch.stack([gradient.square().sum().double().cpu() for gradient in gradients])
    return squares.sqrt()
