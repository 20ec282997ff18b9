"""Small models prepared in every kind of number format, and assignments of formats."""

from __future__ import annotations

import functools

from peculiar_cases import peculiar_case
from quantized_cases import SMALL, Bits, Case, small_case

from bitfront.evaluators.preparation.recipes import recipe_named
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.spaces import Choices

CHOICES = Choices(
    (4, 8, "int4a", "int8a", "bf16", "fp16", "fp32"), (4, 8, "bf16", "fp16", "fp32"), (4, 8, "bf16", "fp32")
)
# Weights alone in floats or with zero points, inputs alone, attention alone, all, and two drawn by layer.
ASSIGNMENTS: tuple[Bits, ...] = (
    ("int8a", 8, 8),
    ("int4a", 4, 4),
    ("bf16", 8, 4),
    (4, "bf16", 8),
    (8, 8, "bf16"),
    ("fp16", "fp16", 4),
    ("fp32", "bf16", "bf16"),
    "mixed 1",
    "mixed 2",
)


@functools.cache
def case(name: str, seed: int = 0) -> Case:
    """One of the small models, with images."""
    return small_case(name, 24, seed) if name in SMALL else peculiar_case(name, 24, seed)


@functools.cache
def prepared(name: str) -> PreparedModel:
    """It in all formats, its codes kept."""
    found = case(name).calibrated("deploy", recipe_named("best"), CHOICES)
    return PreparedModel(
        found.blueprint,
        found.calibration,
        "deploy",
        CHOICES,
        layers=found.layers,
        log_steps=found.log_steps,
        keep_codes=True,
    )
