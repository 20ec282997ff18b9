"""A calibrated model as it is kept between runs: as tensors and a JSON document, in the user's cache."""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from bitfront.evaluators.data.images import PreprocessedImages
from bitfront.evaluators.models.blueprint import Blueprint, map_tensors
from bitfront.evaluators.preparation.calibrated_model import CalibratedModel, calibrate_model
from bitfront.evaluators.preparation.calibration import Calibration
from bitfront.evaluators.preparation.layer_fit import FittedLayer, LayerKey
from bitfront.evaluators.preparation.recipes import Recipe
from bitfront.evaluators.preparation.store.fingerprint import fingerprint, preparation_key, sources_digest
from bitfront.evaluators.preparation.store.store import DamagedEntryError, PreparationStore
from bitfront.evaluators.progress import ShareDone
from bitfront.evaluators.quantizers.floats import FloatWeight
from bitfront.evaluators.quantizers.grids import AffineGrid, PowerOfTwoGrid
from bitfront.evaluators.quantizers.minifloats import MinifloatGrid
from bitfront.evaluators.quantizers.registry import observer_named
from bitfront.evaluators.quantizers.weights import QuantizedWeight, groups_of
from bitfront.spaces import Choices, number_format

log = logging.getLogger(__name__)

# Counted up with every change of what an entry holds.
FORMAT = 2


def to_entry(
    calibrated: CalibratedModel, float_blueprint: Blueprint
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Everything that :func:`from_entry` makes an equal calibrated model of.

    Args:
        calibrated: What is kept; of its blueprint, the tensors that equalization changed.
        float_blueprint: The float model that was calibrated.

    Returns:
        Contiguous tensors by name, and JSON values by name.
    """
    calibration = calibrated.calibration
    before, after = _named_tensors(float_blueprint), _named_tensors(calibrated.blueprint)
    tensors = {name: tensor for name, tensor in after.items() if tensor is not before.get(name)}
    scaled = [
        index for index, parts in enumerate(calibrated.blueprint.encoders) if parts.hidden_scales is not None
    ]
    equalized = [name for name in tensors if name in before]
    for site, grid in calibration.power_of_two.items():
        tensors[f"exponents.{site}"] = torch.from_numpy(grid.exponents)
    for (site, bits), codebook in calibration.codebooks.items():
        tensors[f"levels.{site}.{bits}"] = codebook
    for key, layer in calibrated.layers.items():
        tensors |= {_part_name(key, part): tensor for part, tensor in _parts(layer).items()}
    document = {
        "format": FORMAT,
        "blueprint": equalized,
        "hidden_scales": scaled,
        "affine": [[*key, *_numbers(grid)] for key, grid in calibration.affine.items()],
        "power_of_two": [[site, *_numbers(grid)] for site, grid in calibration.power_of_two.items()],
        "outermost": [[*key, float(share)] for key, share in calibration.outermost.items()],
        "levels": [list(key) for key in calibration.codebooks],
        "layers": [[*key, "factors" in _parts(layer)] for key, layer in calibrated.layers.items()],
        "log_steps": [[index, float(step)] for index, step in calibrated.log_steps.items()],
    }
    if minifloats := [key for key, grid in calibration.affine.items() if isinstance(grid, MinifloatGrid)]:
        document["minifloats"] = [list(key) for key in minifloats]
    return {name: tensor.contiguous() for name, tensor in tensors.items()}, document


def from_entry(
    tensors: Mapping[str, torch.Tensor],
    document: Mapping[str, Any],
    float_blueprint: Blueprint,
    device: torch.device,
) -> CalibratedModel:
    """The inverse of :func:`to_entry`.

    Args:
        tensors: Tensors by name, on any device.
        document: JSON values by name.
        float_blueprint: The float model that was calibrated, which has what equalization did not change.
        device: Where the tensors shall be.

    Raises:
        DamagedEntryError: They are no calibration of this model.
    """
    if document.get("format") != FORMAT:
        raise DamagedEntryError(f"its format is {document.get('format')!r}, expected {FORMAT}")
    try:
        blueprint = _equalized(float_blueprint, tensors, document["blueprint"], device)
        blueprint = _scaled(blueprint, tensors, document["hidden_scales"], device)
        calibration = _calibration(tensors, document)
        layers: dict[LayerKey, FittedLayer] = {}
        for index, layer, bits, activations, grouped in document["layers"]:
            key = (index, layer, bits, activations)
            layers[key] = _layer(key, grouped, blueprint, tensors, device)
        log_steps = {int(index): float(step) for index, step in document["log_steps"]}
        return CalibratedModel(blueprint, calibration, layers, log_steps)
    except (LookupError, TypeError, ValueError) as error:
        raise DamagedEntryError(f"it is no calibration of {float_blueprint.name}: {error!r}") from error


def calibrated_digest(calibrated: CalibratedModel, float_blueprint: Blueprint) -> str:
    """SHA-256 of everything in a calibrated model, the same wherever an equal one was made."""
    tensors, document = to_entry(calibrated, float_blueprint)
    return fingerprint({"tensors": tensors, "document": json.dumps(document, sort_keys=True)})


def _named_tensors(blueprint: Blueprint) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    map_tensors(blueprint, found.setdefault, "blueprint")
    return found


def _equalized(
    float_blueprint: Blueprint, tensors: Mapping[str, torch.Tensor], names: list[str], device: torch.device
) -> Blueprint:
    changed = set(names)
    if unknown := changed - set(_named_tensors(float_blueprint)):
        raise ValueError(f"the model has no {', '.join(sorted(unknown))}")

    def visit(name: str, tensor: torch.Tensor) -> torch.Tensor:
        if name not in changed:
            return tensor
        return _like(name, tensors[name], tensor.shape, tensor.dtype).to(device)

    return map_tensors(float_blueprint, visit, "blueprint")


def _scaled(
    blueprint: Blueprint, tensors: Mapping[str, torch.Tensor], indices: list[int], device: torch.device
) -> Blueprint:
    """The blueprint with what hidden channels of some encoders are multiplied with."""
    encoders = list(blueprint.encoders)
    for index in indices:
        name, parts = f"blueprint.encoders.{int(index)}.hidden_scales", encoders[int(index)]
        found = _like(name, tensors[name], (parts.hidden,), torch.float32).to(device)
        encoders[int(index)] = dataclasses.replace(parts, hidden_scales=found)
    return dataclasses.replace(blueprint, encoders=tuple(encoders))


def _like(name: str, found: torch.Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    if found.shape != shape or found.dtype != dtype:
        raise ValueError(f"{name} is {found.dtype} {list(found.shape)}, expected {dtype} {list(shape)}")
    return found


def _numbers(grid: AffineGrid | PowerOfTwoGrid) -> tuple[float, int, int]:
    return float(grid.scale), int(grid.zero_point), int(grid.qmax)


def _calibration(tensors: Mapping[str, torch.Tensor], document: Mapping[str, Any]) -> Calibration:
    minifloats = {(site, bits) for site, bits in document.get("minifloats", [])}
    return Calibration(
        {
            (site, bits): (MinifloatGrid if (site, bits) in minifloats else AffineGrid)(
                float(scale), int(zero_point), int(qmax)
            )
            for site, bits, scale, zero_point, qmax in document["affine"]
        },
        {
            site: PowerOfTwoGrid(
                float(scale), int(zero_point), tensors[f"exponents.{site}"].cpu().numpy(), int(qmax)
            )
            for site, scale, zero_point, qmax in document["power_of_two"]
        },
        {(site, bits): float(share) for site, bits, share in document["outermost"]},
        {(site, bits): tensors[f"levels.{site}.{bits}"].cpu() for site, bits in document["levels"]},
    )


def _parts(layer: FittedLayer) -> dict[str, torch.Tensor]:
    """The tensors of a fitted layer by what they are."""
    weight = layer.weight
    if isinstance(weight, FloatWeight):
        return {"values": weight.values, "bias": layer.bias}
    found = {"codes": weight.codes, "scales": weight.scales, "bias": layer.bias}
    others = {"factors": weight.factors, "zeros": weight.zeros}
    return found | {name: tensor for name, tensor in others.items() if tensor is not None}


def _part_name(key: LayerKey, part: str) -> str:
    """Name of a fitted layer's tensor, such as ``layers.3.attn.qkv.w4a8.codes``."""
    index, layer, bits, activations = key
    return f"layers.{index}.{layer}.w{bits}a{activations}.{part}"


def _layer(
    key: LayerKey,
    grouped: bool,
    blueprint: Blueprint,
    tensors: Mapping[str, torch.Tensor],
    device: torch.device,
) -> FittedLayer:
    index, layer, held, _ = key
    outputs, inputs = blueprint.encoders[index].linear()[layer].weight.shape

    def part(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        found = _part_name(key, name)
        return _like(found, tensors[found], shape, dtype).to(device)

    kind, bias = number_format(held), part("bias", (outputs,), torch.float32)
    if kind.floating:
        return FittedLayer(FloatWeight(part("values", (outputs, inputs), torch.float32), kind.name), bias)
    codes, scales = part("codes", (outputs, inputs), torch.int8), part("scales", (outputs,), torch.float32)
    factors = part("factors", (outputs, groups_of(inputs)), torch.uint8) if grouped else None
    zeros = part("zeros", (outputs,), torch.int8) if kind.zero_points else None
    return FittedLayer(QuantizedWeight(codes, scales, kind.bits, factors, zeros), bias)


def cached_calibrated_model(
    blueprint: Blueprint,
    images: PreprocessedImages,
    batch_size: int,
    choices: Choices,
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
        choices: Formats that searched tensors may take.
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
        "formats": choices.texts,
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
    made = calibrate_model(blueprint, batches, choices, recipe, observer_named(observer), scheme, progress)
    log.info("prepared %s in %.1f s", blueprint.name, time.perf_counter() - started)
    tensors, document = to_entry(made, blueprint)
    store.save(key, tensors, document)
    # Not `made` itself: how its tensors lie in memory may differ, and with it the order of later sums.
    return from_entry(tensors, document, blueprint, device)
