"""Times and memory of a study's models: all of them in turn, kept as soon as a batch size is measured."""

from __future__ import annotations

import dataclasses
import math
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.context.machine import cpu_name, describe_environment
from bitfront.evaluators.latency.bench.baselines import NetworkFiles
from bitfront.evaluators.latency.bench.entry import DYNAMIC_INT8, TORCH, Candidate
from bitfront.evaluators.latency.bench.measuring import Measured, measure_memory, measure_times
from bitfront.evaluators.latency.bench.suite import BenchedModel, NamedConfig, make_suite
from bitfront.evaluators.latency.bench.torch_entries import TorchEntry, saved_bytes
from bitfront.evaluators.latency.timed_runtime import TimingProtocol
from bitfront.evaluators.models.families import blueprint_of
from bitfront.search.reports.bench import conditions
from bitfront.search.session.reporter import Reporter
from bitfront.search.session.study_folder import StudyFolder
from bitfront.search.session.study_variants import BITS, uniform
from bitfront.spaces.quantities import count_of

if TYPE_CHECKING:
    from bitfront.evaluators.context.context import EvaluationContext

PACKED = "W8A8T8"
_PACKAGES = ("torch", "timm", "openvino", "onnxruntime")


def student_candidates(
    context: EvaluationContext, runtimes: Sequence[str], folder: Path, reporter: Reporter
) -> list[Candidate]:
    """The student's files: float32, torch's dynamic INT8, and 8 bits packed and in runtimes.

    Args:
        context: Of the distilled, averaged student, with its codes.
        runtimes: What runs graphs, beside torch.
        folder: Where the files go.
        reporter: Is told of the steps.
    """
    spec, module = context.spec, context.model.module
    model = BenchedModel(
        spec.model,
        module,
        blueprint_of(spec.model, module),
        context.prepared,
        spec.whole_recipe,
        context.model.weights,
        context.model.architecture,
    )
    entries = [NamedConfig(PACKED, uniform(context), BITS)]
    with reporter.stage(f"writing the files of {spec.model}") as share_done:
        suite = make_suite(model, entries, (TORCH, *runtimes), (), False, folder, share_done)
    return list(suite.candidates)


def network_candidates(files: NetworkFiles, runtimes: Sequence[str]) -> list[Candidate]:
    """A network's files: float32, torch's dynamic INT8, and INT8 in runtimes."""
    graphs = runtimes if files.whole.exists() else ()
    found = files.candidates((TORCH, *graphs))
    whole = found[0]
    assert isinstance(whole.entry, TorchEntry), "torch is asked for first"
    entry = dataclasses.replace(whole.entry, arithmetic="dynamic")
    label = dataclasses.replace(whole.label, variant=DYNAMIC_INT8, kind="dynamic")
    with tempfile.TemporaryDirectory() as scratch:
        size = saved_bytes(entry, Path(scratch))
    return [whole, Candidate(label, entry, size), *found[1:]]


class Timing:
    """Measures candidates for each batch size, and keeps what was measured.

    Args:
        folder: Of the study.
        budget_s: Seconds for all of it; None for the whole protocol.
        reporter: Is told of the steps.
    """

    def __init__(self, folder: StudyFolder, budget_s: float | None, reporter: Reporter) -> None:
        self._folder, self._budget_s, self._reporter = folder, budget_s, reporter

    def missing(self, batches: Iterable[int]) -> list[int]:
        """The batch sizes that are not measured yet."""
        return [batch for batch in batches if self._folder.record(_record(batch)) is None]

    def forget(self, batches: Iterable[int]) -> None:
        """Removes what was measured, to measure it again."""
        for batch in batches:
            self._folder.remove_record(_record(batch))

    def measure(self, candidates: Sequence[Candidate], batches: Sequence[int]) -> None:
        """Peak memory of each in a process of its own, then times, all of them in turn."""
        left, missing = self._budget_s or math.inf, self.missing(batches)
        for place, batch in enumerate(missing):
            started = time.monotonic()
            count = count_of(len(candidates), "file")
            with self._reporter.stage(f"peak memory of {count}, batch {batch}") as share_done:
                memory = measure_memory(candidates, batch, share_done, _never)
            protocol = TimingProtocol(budget_seconds=left * batch / sum(missing[place:]))
            with self._reporter.stage(f"timing {count} in turn, batch {batch}") as share_done:
                rows = measure_times(candidates, batch, memory, protocol, share_done, _never)
            self._folder.write_record(_record(batch), self._document(rows, batch))
            left = max(1.0, left - (time.monotonic() - started))

    def figures(self, batches: Iterable[int]) -> list[dict[str, Any]]:
        """What is measured so far, by batch."""
        return [found for batch in batches if (found := self._folder.record(_record(batch))) is not None]

    @staticmethod
    def _document(rows: Sequence[Measured], batch: int) -> dict[str, Any]:
        packages = describe_environment()["packages"]
        return {
            "batch": batch,
            "machine": cpu_name(),
            "threads": 1,
            "packages": {name: packages[name] for name in _PACKAGES if packages.get(name) is not None},
            "rows": [_row(row) for row in rows],
        }


def _row(row: Measured) -> dict[str, Any]:
    label = row.label
    return {
        "model": label.model,
        "variant": label.variant,
        "kind": label.kind,
        "runtime": label.runtime,
        "baseline": label.baseline,
        "p50_ms": row.p50_ms,
        "p90_ms": row.p90_ms,
        "images_per_second": row.images_per_second,
        **conditions(row),
    }


def _record(batch: int) -> str:
    return f"times-{batch}"


def _never() -> bool:
    return False
