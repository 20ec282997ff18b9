"""What an evaluation's numbers depend on, as one digest: equal ones are worth the same in any run."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.context.machine import rounding_of
from bitfront.evaluators.preparation.store.fingerprint import fingerprint, sources_digest
from bitfront.evaluators.tasks.registry import METRIC_PLUGINS, TASK_PLUGINS
from bitfront.spaces.plugins import plugins

if TYPE_CHECKING:
    from bitfront.evaluators.context.context import EvaluationContext, SplitName
    from bitfront.evaluators.context.spec import EvaluationSpec

# Counted up with every change of what the digest covers.
FORMAT = 1
# What computes beside this package.
_COMPUTING = ("bitfront", "torch", "timm", "numpy", "numba", "triton")
# Fields of the evaluation spec that enter as they are written.
COUNTED = (
    *("model", "scheme", "widths", "formats", "recipe", "without", "observer"),
    *("device", "batch_size", "task", "metrics", "calibration_images"),
)
_CONTENT = "what it leads to counts: "
_PIXELS = f"{_CONTENT}pixels, mean and standard deviation"
# Fields that do not, with the reason.
NOT_COUNTED = {
    "checkpoint": f"{_CONTENT}every tensor of the model",
    "pretrained": f"{_CONTENT}every tensor of the model",
    "data": f"{_CONTENT}pixels and labels",
    "calibration_data": f"{_CONTENT}pixels and labels",
    "test_data": f"{_CONTENT}pixels and labels, where the test split is what is evaluated on",
    "columns": f"{_CONTENT}labels",
    "class_order": f"{_CONTENT}labels",
    "class_map": f"{_CONTENT}labels",
    "search_images": f"{_CONTENT}pixels and labels",
    "test_images": f"{_CONTENT}pixels and labels",
    "tell_apart": f"{_CONTENT}how many images are searched with",
    "seed": f"{_CONTENT}which images are in which split",
    "image_size": _PIXELS,
    "mean": _PIXELS,
    "std": _PIXELS,
    "crop_pct": _PIXELS,
    "crop_mode": _PIXELS,
    "interpolation": _PIXELS,
    "refinement": f"{_CONTENT}the content of the file",
    "threads": "batches are the same whoever classifies them, and each is classified by one thread",
    "first_images": "an evaluation says of how many images it is, and is taken for that many alone",
    "allow_chance": "it decides whether a model is taken, not what it is worth",
}


def evaluation_key(context: EvaluationContext, split: SplitName = "search") -> str:
    """The digest of everything that a configuration's quality on a split depends on, 64 hexadecimal digits.

    Costs do not belong to it: they are those of a machine, and are put on afterwards.

    Args:
        context: The prepared model and its data; images that it has not loaded are.
        split: What is evaluated on.
    """
    images, fitted = context.images(split), context.images("calibration")
    architecture = context.model.architecture
    return fingerprint(
        {
            "format": FORMAT,
            "code": [sources_digest(), *_foreign_code()],
            "versions": {name: _version(name) for name in _COMPUTING},
            "processor": rounding_of(context.prepared.kernels.device),
            "kernels": context.prepared.kernels.description,
            "settings": _settings(context.spec),
            "weights": context.model.module.state_dict(),
            "architecture": None if architecture is None else json.dumps(architecture.to_json()),
            "blueprint": context.prepared.blueprint,
            "calibration": context.calibration,
            "refinement": _file_digest(context.spec.refinement),
            "normalisation": [images.mean, images.std],
            "images": [images.pixels, images.labels],
            # Temperatures are fitted on them.
            "fitted": [fitted.pixels, fitted.labels],
            "class_names": context.source.class_names,
        }
    )


def _settings(spec: EvaluationSpec) -> str:
    """The counted fields; a recipe by its ingredients, too, whose name alone does not say them."""
    known: dict[str, Any] = spec.to_json()
    found = {name: known.get(name, getattr(spec, name)) for name in COUNTED}
    return json.dumps({**found, "ingredients": list(spec.whole_recipe.ingredients)}, sort_keys=True)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _file_digest(path: str | None) -> str | None:
    return None if path is None else hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _foreign_code() -> Iterable[str]:
    """Digests of the packages that add tasks and metrics, by their entry points."""
    for group in (TASK_PLUGINS, METRIC_PLUGINS):
        for name, plugin in sorted(plugins(group).items()):
            yield f"{group} {name} {plugin.entry.value} {_code_of(plugin.entry.module.partition('.')[0])}"


def _code_of(package: str) -> str:
    """The digest of a package's Python files, or of a module's one."""
    try:
        found = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return ""
    if found is None:
        return ""
    if found.submodule_search_locations:
        return sources_digest(*map(Path, found.submodule_search_locations))
    return _file_digest(found.origin) or ""
