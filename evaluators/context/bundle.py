"""A context for other machines: in digests to compare, and as one safetensors file to evaluate from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save, save_file

from bitfront.evaluators.context.context import EvaluationContext, SplitName
from bitfront.evaluators.context.machine import device_named
from bitfront.evaluators.context.preparing import compute_in_float32, prepared_with, task_blueprint
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.data.images import PreprocessedImages
from bitfront.evaluators.data.splits import Splits
from bitfront.evaluators.files import parsed_json
from bitfront.evaluators.models.architecture import Architecture
from bitfront.evaluators.models.loading import load_model
from bitfront.evaluators.models.sites import trace_sites
from bitfront.evaluators.packed.layout import SizeModel
from bitfront.evaluators.preparation.calibrated_model_file import calibrated_digest, from_entry, to_entry
from bitfront.evaluators.preparation.store.fingerprint import fingerprint
from bitfront.spaces import BitfrontError

FORMAT = "bitfront/evaluation-bundle"
VERSION = "3"
_MODEL, _CALIBRATED, _IMAGES, _SPLITS = "model.", "groundwork.", "images.", "splits."
# Calibration images.
_FITTED = "fitted."
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class ContextFingerprint:
    """Digests of a context.

    Attributes:
        weights: Of the float model.
        images: Of the pixels and labels of the search split.
        calibration: Of what calibration decided; sums in another order may move it by a rounding.
    """

    weights: str
    images: str
    calibration: str

    def difference(self, other: ContextFingerprint) -> str | None:
        """What makes the results of two contexts incomparable, such as ``other images``; None if nothing."""
        if self.weights != other.weights:
            return "other weights of the model"
        return "other images of the search split" if self.images != other.images else None


def fingerprint_of(context: EvaluationContext) -> ContextFingerprint:
    """The fingerprint of a context; loads the images of its search split."""
    images = context.images("search")
    return ContextFingerprint(
        weights=fingerprint(context.model.module.state_dict()),
        images=fingerprint({"pixels": images.pixels, "labels": images.labels}),
        calibration=context.calibration,
    )


@dataclass(frozen=True, eq=False)
class _SentImages:
    """The image source of a bundle: names of images that stayed where they are, labels of search images."""

    name: str
    labels: NDArray[np.int64]
    partition: None = None
    class_names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def load(self, index: int) -> Image.Image:
        raise BitfrontError(f"{self.describe(index)} was not sent: only the search images were")

    def describe(self, index: int) -> str:
        return f"image {index} of {self.name}"


def bundle_of(context: EvaluationContext) -> bytes:
    """The bundle of a context: the weights, what calibration decided, the search images and the splits.

    Images are sent as the model's preprocessing left them, so that no decoder of another machine matters, and
    those of calibration only where a metric fits something on them; what calibration decided is sent, so that
    no other rounding does.
    """
    images, architecture = context.images("search"), context.model.architecture
    tensors = _prefixed(_MODEL, context.model.module.state_dict())
    calibrated, blueprint = context.calibrated_again()
    calibration_images = context.images("calibration")
    found, document = to_entry(calibrated, blueprint)
    tensors |= _prefixed(_CALIBRATED, found)
    tensors |= _image_tensors(_IMAGES, images)
    if any(metric.fitted for metric in context.task.measured(context.spec.metrics)):
        tensors |= _image_tensors(_FITTED, calibration_images)
    splits = vars(context.splits)
    tensors |= {f"{_SPLITS}{name}": torch.from_numpy(indices.copy()) for name, indices in splits.items()}
    facts = {
        "groundwork": document,
        "source": context.source.name,
        "class_names": context.source.class_names,
        "mean": images.mean,
        "std": images.std,
        "skipped": images.skipped,
        "skipped_calibration": context.skipped_calibration,
        "temperature": context.float_temperature(),
        "architecture": None if architecture is None else architecture.to_json(),
    }
    return save(tensors, {"format": FORMAT, "version": VERSION, "facts": json.dumps(facts)})


def context_of_bundle(path: Path, spec: EvaluationSpec) -> EvaluationContext:
    """The context that a bundle was made of; it evaluates on the search split alone.

    Args:
        path: The bundle; the model's weights are written beside it.
        spec: That of the context, resolved.

    Raises:
        BitfrontError: The file is no bundle of this version, or does not fit the spec.
    """
    spec.check()
    compute_in_float32()
    torch.set_num_threads(1)
    tensors, facts = _read(path)
    device = device_named(spec.device)
    weights = path.with_name(f"{path.stem}.model.safetensors")
    state, described = _part(tensors, _MODEL), facts.get("architecture")
    metadata = None if described is None else Architecture.from_json(described).metadata(state)
    save_file(state, weights, metadata)
    model = load_model(spec.model, checkpoint=weights)
    blueprint = task_blueprint(spec, model.module.to(device))
    calibrated = from_entry(_part(tensors, _CALIBRATED), facts["groundwork"], blueprint, device)
    sites = trace_sites(blueprint, spec.scheme)
    context = EvaluationContext(
        spec,
        model,
        _SentImages(
            facts["source"],
            tensors[f"{_IMAGES}labels"].numpy(),
            class_names=facts["class_names"] and tuple(facts["class_names"]),
        ),
        Splits(*(tensors[f"{_SPLITS}{name}"].numpy() for name in ("calibration", "search", "test"))),
        prepared_with(spec, calibrated),
        sites,
        SizeModel(calibrated.blueprint, sites, spec.scheme, spec.whole_recipe),
        calibrated_digest(calibrated, blueprint),
        tuple(facts["skipped_calibration"]),
    )
    context.take_temperature(float(facts["temperature"]))
    sent: dict[SplitName, tuple[str, list[str]]] = {
        "search": (_IMAGES, facts["skipped"]),
        "calibration": (_FITTED, facts["skipped_calibration"]),
    }
    for split, (prefix, skipped) in sent.items():
        part = _part(tensors, prefix)
        if part:
            mean, std = tuple(facts["mean"]), tuple(facts["std"])
            images = PreprocessedImages(
                part["pixels"], part["labels"], part["indices"].numpy(), mean, std, tuple(skipped)
            )
            context.take_images(split, images)
    return context


def _image_tensors(prefix: str, images: PreprocessedImages) -> Tensors:
    indices = torch.from_numpy(images.indices)
    return {f"{prefix}pixels": images.pixels, f"{prefix}labels": images.labels, f"{prefix}indices": indices}


def _read(path: Path) -> tuple[Tensors, dict[str, Any]]:
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            if (header.get("format"), header.get("version")) != (FORMAT, VERSION):
                raise BitfrontError(f"{path.name} is no {FORMAT} of version {VERSION}")
            return {name: file.get_tensor(name) for name in file.keys()}, parsed_json(header["facts"])  # noqa: SIM118 - no mapping
    except (SafetensorError, KeyError, ValueError) as error:
        raise BitfrontError(f"{path.name} is damaged: {error}") from error


def _prefixed(prefix: str, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """Tensors on the CPU that share nothing, which the format asks for, under longer names."""
    return {prefix + name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def _part(tensors: Mapping[str, torch.Tensor], prefix: str) -> Tensors:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
