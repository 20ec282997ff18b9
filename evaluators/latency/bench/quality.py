"""What a benched model is worth on its test images, in each arithmetic and configuration."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence

import torch

from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.latency.bench.entry import BFLOAT16, DYNAMIC_INT8, FLOAT32
from bitfront.evaluators.latency.bench.suite import NamedConfig
from bitfront.evaluators.latency.bench.torch_entries import Arithmetic, converted
from bitfront.evaluators.progress import ShareDone
from bitfront.evaluators.tasks.quality import Quality

# A benchmark prepares for batches of one image.
BATCH = 32


def tested_qualities(
    context: EvaluationContext, entries: Sequence[NamedConfig], bfloat16: bool, progress: ShareDone
) -> dict[str, Quality]:
    """Qualities on the test split, by variant: float32, what torch makes of it, and configurations.

    Those of configurations are the evaluator's, whatever runtime their files are timed in.

    Args:
        context: The prepared model and its data.
        entries: Configurations.
        bfloat16: Whether the model is classified in bfloat16, too.
        progress: Is told the share that is done.

    Raises:
        BitfrontError: A configuration yields NaN, infinity or saturation; the tensor is named.
    """
    context = dataclasses.replace(context, spec=dataclasses.replace(context.spec, batch_size=BATCH))
    found = {FLOAT32: context.float_quality("test")}
    arithmetics: dict[str, Arithmetic] = {DYNAMIC_INT8: "dynamic"}
    if bfloat16:
        arithmetics[BFLOAT16] = "bfloat16"
    count = len(arithmetics) + len(entries)
    for name, arithmetic in arithmetics.items():
        found[name] = _in_torch(context, arithmetic)
        progress((len(found) - 1) / count)
    for entry in entries:
        found[entry.name] = context.quality(entry.config, "test")
        progress((len(found) - 1) / count)
    return found


def _in_torch(context: EvaluationContext, arithmetic: Arithmetic) -> Quality:
    """Quality of the float model as torch converts it."""
    module = converted(copy.deepcopy(context.model.module), arithmetic)
    kind = torch.bfloat16 if arithmetic == "bfloat16" else torch.float32
    batches = torch.split(context.images("test").pixels, BATCH)
    with torch.inference_mode():
        logits = torch.cat([module(context.images("test").normalised(part).to(kind)) for part in batches])
    return context.task.quality(context.outputs(logits.float(), "test"), context.spec.metrics)
