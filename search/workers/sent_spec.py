"""The evaluation spec as workers get it: with paths that do not depend on the folder they run in."""

from __future__ import annotations

import dataclasses
import os

from bitfront.evaluators.spec import EvaluationSpec

_CIFAR = "cifar10:"


def with_absolute_paths(spec: EvaluationSpec) -> EvaluationSpec:
    """The spec with the paths that it names made absolute."""
    prefix = _CIFAR if spec.data.startswith(_CIFAR) else ""
    data = spec.data.removeprefix(prefix)
    named = data in ("digits", "cifar10")
    checkpoint = None if spec.checkpoint is None else os.path.abspath(spec.checkpoint)
    return dataclasses.replace(
        spec, checkpoint=checkpoint, data=data if named else prefix + os.path.abspath(data)
    )


def paths_of(spec: EvaluationSpec) -> tuple[str, ...]:
    """The files and folders that a spec names."""
    data = spec.data.removeprefix(_CIFAR)
    found = [spec.checkpoint, None if data in ("digits", "cifar10") else data]
    return tuple(path for path in found if path is not None)
