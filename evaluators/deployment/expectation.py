"""What the evaluator expects of a file, and the record beside the file of what was verified."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bitfront.evaluators.context.context import EvaluationContext, SplitName
from bitfront.evaluators.deployment.registry import MODEL
from bitfront.evaluators.deployment.tolerance import Classes, Expected
from bitfront.evaluators.files import write_atomically
from bitfront.evaluators.packed.file import read_packed, write_packed
from bitfront.evaluators.quantized.kernels.portable import PortableKernels
from bitfront.evaluators.tasks.metric import Outputs
from bitfront.spaces import BitConfig, UserError

FORMAT, VERSION = "bitfront/verification", 1
SUFFIX = ".verification.json"
# In an exported folder.
RECORD = "verification.json"
LARGEST_BYTES = 100_000_000
_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)


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
    task = context.task
    logits = [context.logits(config, split) for split in splits]
    first = torch.cat(logits)
    other: Classes | None = None
    if second:
        # On torch operations alone, by way of a packed file.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "second.safetensors"
            write_packed(path, context.prepared, config, context.spec.whole_recipe, config.to_json())
            model = read_packed(path).assemble(PortableKernels(torch.device("cpu")))
        second_logits = torch.cat([context.logits_of(model, split) for split in splits])
        other = task.arithmetic.decisions(second_logits).numpy()
    labels, names = torch.cat([context.images(split).labels for split in splits]), context.source.class_names
    # Those that compare with the float model, or fit something on other images, say nothing of a file; those
    # of classes that none of the images has are not defined.
    wanted = dict.fromkeys((task.primary, *context.spec.metrics))
    judged = [
        metric
        for metric in map(task.metric, wanted)
        if metric.of_outputs_alone and metric.name != task.counted
    ]
    known = task.arithmetic.outputs(Outputs(first, first, labels, names))
    found = {metric.name: metric.value(known) for metric in judged}
    return Expected(
        task.arithmetic.decisions(first).numpy(),
        other,
        labels.numpy(),
        {name: value for name, value in found.items() if math.isfinite(value)},
        names,
        first,
    )


def sidecar_of(path: Path) -> Path:
    """Where the record of a file lies: beside it, or in the exported folder that it is the model of."""
    own = path.with_name(path.name + SUFFIX)
    in_folder = path.with_name(RECORD)
    return in_folder if path.stem == MODEL and in_folder.exists() and not own.exists() else own


def content_digest(paths: Sequence[Path]) -> str:
    """SHA-256 of what files hold, one after another."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


@dataclass(frozen=True)
class Sidecar:
    """A record.

    Attributes:
        digest: Of the files that were verified.
        splits: What was classified.
        expected: What the evaluator makes of these images.
        report: The figures.
        places: The model, and where the weights and data of the run are, by fields of the evaluation spec; a
            record that leaves this machine has none.
    """

    digest: str
    splits: tuple[str, ...]
    expected: Expected
    report: Mapping[str, Any]
    places: Mapping[str, str] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Writes the record; raises :class:`UserError` where that is not possible."""
        second = self.expected.second
        document = {
            "format": FORMAT,
            "version": VERSION,
            **self.report,
            "sha256": self.digest,
            "splits": list(self.splits),
            **({"places": dict(self.places)} if self.places else {}),
            "evaluator": {
                "predictions": self.expected.predictions.tolist(),
                "second_kernels": None if second is None else second.tolist(),
                "labels": self.expected.labels.tolist(),
                "metrics": dict(self.expected.metrics),
                "class_names": self.expected.class_names,
                "outputs_sha256": self.expected.digests if self.report.get("to_the_bit") else None,
            },
        }
        write_atomically(path, json.dumps(document, allow_nan=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> Sidecar:
        """Reads a record.

        Raises:
            UserError: It is damaged or of another version.
        """
        try:
            if path.stat().st_size > LARGEST_BYTES:
                raise ValueError("it is too large")
            document = json.loads(path.read_text(encoding="utf-8"))
            if (document["format"], document["version"]) != (FORMAT, VERSION):
                raise ValueError(f"it is no {FORMAT} of version {VERSION}")
            recorded = document["evaluator"]
            second = recorded["second_kernels"]
            expected = Expected(
                _read_classes(recorded["predictions"]),
                None if second is None else _read_classes(second),
                _read_classes(recorded["labels"]),
                {str(name): float(value) for name, value in (recorded.get("metrics") or {}).items()},
                recorded.get("class_names") and tuple(map(str, recorded["class_names"])),
                recorded=recorded.get("outputs_sha256") and tuple(map(str, recorded["outputs_sha256"])),
            )
            if expected.recorded is not None and len(expected.recorded) != len(expected.labels):
                raise ValueError("its outputs are of other images")
            splits, digest = document["splits"], document["sha256"]
            if not isinstance(digest, str) or not isinstance(splits, list):
                raise ValueError("its splits or digest are of another type")
            places = {str(name): str(place) for name, place in (document.get("places") or {}).items()}
        except _DAMAGE as error:
            raise UserError(
                f"{path} is no record of a verification ({error}): remove it, to verify against the "
                "evaluator itself"
            ) from error
        parts = (expected.predictions, expected.second, expected.labels)
        shapes = {part.shape for part in parts if part is not None}
        if len(shapes) != 1 or not len(expected.labels):
            raise UserError(
                f"{path} is damaged: its predictions and labels are not of the same images; remove it"
            )
        return cls(digest, tuple(map(str, splits)), expected, document, places)


def _read_classes(values: object) -> Classes:
    found = np.array(values, dtype=None if values else np.int64)
    if not isinstance(values, list) or found.dtype != np.int64 or found.ndim not in (1, 2):
        raise ValueError("predictions are no list of whole numbers, or of rows of them")
    return found
