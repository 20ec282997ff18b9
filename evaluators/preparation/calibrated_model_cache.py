"""A calibrated model from the cache, or made and kept there."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from bitfront.evaluators.data.images import PreprocessedImages
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.preparation.calibrated_model import CalibratedModel, calibrate_model
from bitfront.evaluators.preparation.calibrated_model_file import FORMAT, from_entry, to_entry
from bitfront.evaluators.preparation.recipes import Recipe
from bitfront.evaluators.preparation.store.fingerprint import preparation_key, sources_digest
from bitfront.evaluators.preparation.store.store import DamagedEntryError, PreparationStore
from bitfront.evaluators.progress import ShareDone
from bitfront.evaluators.quantizers.registry import observer_named

log = logging.getLogger(__name__)


def cached_calibrated_model(
    blueprint: Blueprint,
    images: PreprocessedImages,
    batch_size: int,
    widths: Sequence[int],
    recipe: Recipe,
    observer: str,
    scheme: str,
    progress: ShareDone,
) -> CalibratedModel:
    """A model calibrated, taken from this user's cache where that was done before.

    Args:
        blueprint: The float model.
        images: The calibration images.
        batch_size: How many of them the float model sees at a time.
        widths: Widths that searched tensors may take.
        recipe: What is done.
        observer: Name of the observer of the activations' ranges.
        scheme: Whose sites are calibrated.
        progress: Is told the share that is done, from 0 to 1.

    Raises:
        UserError: The environment names no valid limit of the cache, or the observer is unknown.
        BitfrontError: NaN or infinity at a site or in a weight, which is named.
    """
    device = blueprint.patch.weight.device
    cuda = device.type == "cuda"
    # Threads and processor move sums by a rounding, which is enough to move codes.
    settings = {
        "format": FORMAT,
        "sources": sources_digest(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": device.type,
        "processor": torch.cuda.get_device_name(device) if cuda else torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "scheme": scheme,
        "recipe": recipe.ingredients,
        "observer": observer,
        "widths": list(widths),
        "batch_size": batch_size,
    }
    store, key = PreparationStore.default(), preparation_key(blueprint, images, settings)
    if (entry := store.load(key)) is not None:
        try:
            kept = from_entry(*entry, blueprint, device)
        except DamagedEntryError as error:
            log.info("the kept preparation %s of %s cannot be used: %s", key[:12], blueprint.name, error)
        else:
            log.info("took the preparation %s of %s from %s", key[:12], blueprint.name, store.folder)
            progress(1.0)
            return kept

    def batches() -> Iterator[torch.Tensor]:
        return (batch.to(device) for batch, _ in images.batches(batch_size))

    started = time.perf_counter()
    made = calibrate_model(blueprint, batches, widths, recipe, observer_named(observer), scheme, progress)
    log.info("prepared %s in %.1f s", blueprint.name, time.perf_counter() - started)
    tensors, document = to_entry(made, blueprint)
    store.save(key, tensors, document)
    # Not `made` itself: how its tensors lie in memory may differ, and with it the order of later sums.
    return from_entry(tensors, document, blueprint, device)
