"""What the evaluator expects of a file: its predictions, and how far they can be reproduced at all."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from bitfront.evaluators.context import EvaluationContext, SplitName
from bitfront.evaluators.deployment.packed import read_packed, write_packed
from bitfront.evaluators.deployment.verification import Classes, Expected
from bitfront.evaluators.kernels.portable import PortableKernels
from bitfront.evaluators.quantized import QuantizedModel
from bitfront.evaluators.recipes import recipe_named
from bitfront.spaces import BitConfig


def expected_of(
    context: EvaluationContext, config: BitConfig, splits: Sequence[SplitName], *, second: bool
) -> Expected:
    """The evaluator's predictions on some splits.

    Args:
        context: A model that kept its codes.
        config: The configuration.
        splits: What is classified, in this order.
        second: Whether the second set of kernels is asked, too.
    """
    first = [_classes(context.logits(config, split)) for split in splits]
    other: Classes | None = None
    if second:
        model = _second_model(context, config)
        other = np.concatenate([_classes(context.logits_of(model, split)) for split in splits])
    labels = np.concatenate([context.images(split).labels.numpy() for split in splits])
    return Expected(np.concatenate(first), other, labels)


def _classes(logits: torch.Tensor) -> Classes:
    found: Classes = logits.argmax(1).numpy()
    return found


def _second_model(context: EvaluationContext, config: BitConfig) -> QuantizedModel:
    """The configuration on torch operations alone, by way of a packed file."""
    recipe = recipe_named(context.spec.recipe, context.spec.without)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "second.safetensors"
        write_packed(path, context.prepared, config, recipe, config.to_json())
        return read_packed(path).assemble(PortableKernels(torch.device("cpu")))
