"""What somebody who serves an exported model has to know of its input and outputs, as plain values.

The same facts stand in the files of an exported folder and, one to a key, in the metadata of the model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.data.images import preprocessing_from_json, preprocessing_to_json
from bitfront.evaluators.deployment.graph.model import BATCH, IMAGES, LOGITS
from bitfront.evaluators.tasks.registry import CLASSIFICATION
from bitfront.spaces import BitConfig

LAYOUT, DTYPE = "NCHW", "float32"


@dataclass(frozen=True)
class ServingFacts:
    """Facts of one exported model.

    Attributes:
        preprocessing: timm's ``input_size``, ``interpolation``, ``mean``, ``std``, ``crop_pct`` and
            ``crop_mode``.
        task: Name of the task.
        class_names: Of the outputs, in their order; None where they are not known.
        whole_number_bits: Bits of pixels that are whole numbers of more than 8 bits, of files that do not say
            it; None where the data had none.
    """

    preprocessing: Mapping[str, Any]
    task: str = CLASSIFICATION
    class_names: tuple[str, ...] | None = None
    whole_number_bits: int | None = None

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> ServingFacts | None:
        """What a bit config document says; None where it does not say how images are preprocessed."""
        provenance = document.get("provenance") or {}
        try:
            preprocessing = preprocessing_from_json(provenance.get("preprocessing"))
        except ValueError:
            return None
        task = (provenance.get("evaluation") or {}).get("task", EvaluationSpec.task)
        names, bits = provenance.get("class_names"), provenance.get("whole_number_bits")
        return cls(preprocessing, str(task), tuple(names) if names else None, bits)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the input."""
        channels, height, width = self.preprocessing["input_size"]
        return channels, height, width

    @property
    def colour(self) -> str:
        """``RGB`` or ``greyscale``."""
        return "greyscale" if self.shape[0] == 1 else "RGB"

    @property
    def range(self) -> tuple[float, float]:
        """The least and the largest value of the input: of black and of white pixels."""
        pairs = list(zip(self.preprocessing["mean"], self.preprocessing["std"], strict=True))
        return min(-mean / std for mean, std in pairs), max((1.0 - mean) / std for mean, std in pairs)

    @property
    def resized(self) -> tuple[int, int]:
        """Height and width that images are resized to, or towards, before the crop."""
        _, height, width = self.shape
        pct = self.preprocessing["crop_pct"]
        return math.floor(height / pct), math.floor(width / pct)

    @property
    def steps(self) -> tuple[str, ...]:
        """What is done to an image, a sentence each."""
        _, height, width = self.shape
        rows, columns = self.resized
        by = f"by pillow's {self.preprocessing['interpolation']} resampling"
        crop = f"the middle {height} rows and {width} columns are taken"
        mode = self.preprocessing["crop_mode"]
        if mode == "squash":
            resize = f"it is resized to {rows} rows and {columns} columns {by}"
        elif mode == "border":
            resize = f"it is resized to fit into {rows} rows and {columns} columns {by}"
            crop += ", with borders of the mean colour"
        elif rows == columns:
            resize = f"its shorter side is resized to {rows} pixels {by}"
        else:
            resize = f"it is resized to cover {rows} rows and {columns} columns {by}"
        return (
            f"an image is decoded to 8-bit {self.colour}; alpha is dropped, orientation tags are not applied",
            resize,
            crop,
            "values are divided by 255, less the mean, divided by the standard deviation of their channel",
        )

    def preprocessing_json(self) -> dict[str, Any]:
        """What ``preprocessing.json`` of an exported folder says of the input, beside the model's name."""
        return {
            "input": {
                "name": IMAGES,
                "layout": LAYOUT,
                "shape": [BATCH, *self.shape],
                "dtype": DTYPE,
                "colour": self.colour,
                "range": list(self.range),
            },
            "output": {"name": LOGITS, "dtype": DTYPE},
            **preprocessing_to_json(self.preprocessing),
            "resized": list(self.resized),
            "whole_number_bits": self.whole_number_bits,
            "steps": list(self.steps),
        }


def metadata_of(document: Mapping[str, Any]) -> dict[str, str]:
    """The facts that a bit config document has of a model, one to a key, as texts.

    Args:
        document: The bit config document that a model file carries.

    Returns:
        By key without the prefix that a format gives it; see ``docs/runtimes.md``.
    """
    config = BitConfig.from_json(document)
    provenance = document.get("provenance") or {}
    found = {
        "version": provenance.get("bitfront"),
        "model": config.model,
        "scheme": config.scheme,
        "config": provenance.get("digest") or config.digest,
    }
    facts = ServingFacts.of_document(document)
    if facts is not None:
        settings = facts.preprocessing
        found |= {
            "task": facts.task,
            "input_name": IMAGES,
            "input_layout": LAYOUT,
            "input_shape": _listed([BATCH, *facts.shape]),
            "input_dtype": DTYPE,
            "input_colour": facts.colour,
            "input_range": _listed([round(value, 6) for value in facts.range]),
            "output_name": LOGITS,
            "preprocessing": "; ".join(facts.steps),
            "resize": _listed(facts.resized),
            "interpolation": settings["interpolation"],
            "crop_mode": settings["crop_mode"],
            "crop_pct": str(settings["crop_pct"]),
            "mean": _listed(settings["mean"]),
            "std": _listed(settings["std"]),
        }
        if facts.class_names is not None:
            found["classes"] = json.dumps(list(facts.class_names), ensure_ascii=False)
        if facts.whole_number_bits is not None:
            found["whole_number_bits"] = str(facts.whole_number_bits)
    return {key: str(value) for key, value in found.items() if value is not None}


def _listed(values: Sequence[Any]) -> str:
    return ",".join(map(str, values))
