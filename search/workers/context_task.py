"""The evaluation context of a worker process: loaded and calibrated once, then asked for accuracies."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from bitfront.evaluators.spec import EvaluationSpec
from bitfront.search.workers.parcel import received_bundle
from bitfront.spaces import BitConfig

if TYPE_CHECKING:
    from bitfront.evaluators.accuracy import Accuracy
    from bitfront.evaluators.context import EvaluationContext
    from bitfront.evaluators.context_fingerprint import ContextFingerprint

Stamp = tuple[tuple[str, int, int], ...]


def prepare_on_worker(spec_json: str) -> ContextFingerprint:
    """Loads and prepares everything that evaluations need, once per process; returns what it is made of."""
    return _prepared(spec_json, _stamp(spec_json))[1]


def evaluate_on_worker(spec_json: str, config_json: str, required: float | None = None) -> Accuracy:
    """Scores a configuration on the search split, in the process that calls it.

    Args:
        spec_json: Canonical JSON of the evaluation spec; its model is loaded and calibrated once per process.
        config_json: JSON of the bit configuration.
        required: Difference to the float model's top-1, in points, that it must be able to reach; None to
            evaluate it on the whole split in any case.
    """
    config = BitConfig.from_json(json.loads(config_json))
    context, _ = _prepared(spec_json, _stamp(spec_json))
    return context.accuracy(config, required=required)


@lru_cache(maxsize=1)
def _prepared(spec_json: str, stamp: Stamp) -> tuple[EvaluationContext, ContextFingerprint]:  # noqa: ARG001 - a file that was replaced is another context
    from bitfront.evaluators.context import EvaluationContext
    from bitfront.evaluators.context_bundle import context_of_bundle
    from bitfront.evaluators.context_fingerprint import fingerprint_of

    spec = EvaluationSpec.from_json(json.loads(spec_json))
    bundle = received_bundle(spec_json)
    context = EvaluationContext.from_spec(spec) if bundle is None else context_of_bundle(bundle, spec)
    context.float_accuracy()  # kept: every evaluation is compared with it
    return context, fingerprint_of(context)


def _stamp(spec_json: str) -> Stamp:
    """Size and time of the files that a spec names: a worker of a cluster outlives them."""
    spec = EvaluationSpec.from_json(json.loads(spec_json))
    paths = [Path(name) for name in (spec.checkpoint, spec.data) if name is not None]
    found = [(str(path), path.stat()) for path in paths if path.exists()]
    return tuple((name, status.st_size, status.st_mtime_ns) for name, status in found)
