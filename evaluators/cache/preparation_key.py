"""The key of a preparation: what a prepared model depends on, in one hash."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bitfront.evaluators.cache.fingerprint import fingerprint
from bitfront.evaluators.data.images import PreprocessedImages
from bitfront.evaluators.models.blueprint import Blueprint


def preparation_key(blueprint: Blueprint, images: PreprocessedImages, settings: Mapping[str, Any]) -> str:
    """The key under which what was prepared from these inputs is kept: 64 hexadecimal digits.

    It depends on content alone, neither on paths and dates nor on the process: a checkpoint that was moved
    keeps its preparations, one that was trained further does not. Labels do not count, as nothing is prepared
    from them; the order of the images does.

    Args:
        blueprint: The float model: every tensor and every scalar of it counts.
        images: The calibration images: their pixels, mean and standard deviation count.
        settings: Everything else that the result depends on, as JSON values (tuples are lists): scheme,
            recipe, widths, versions.

    Raises:
        TypeError: A setting is not a JSON value, or the blueprint holds something that has no fingerprint.
        ValueError: A setting is NaN or infinite.
    """
    return fingerprint(
        {
            "blueprint": blueprint,
            "pixels": images.pixels,
            "mean": images.mean,
            "std": images.std,
            "settings": json.dumps(settings, sort_keys=True, separators=(",", ":"), allow_nan=False),
        }
    )
