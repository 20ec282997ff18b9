"""Measuring a latency table, with how well its sums predict whole models, or writing an empty one."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.files import check_writable, write_atomically
from bitfront.evaluators.latency.registry import load_in_words
from bitfront.search.reports.latency_table import CheckedModel, table_document
from bitfront.search.runs.names import plain_name
from bitfront.search.session.reporter import ProgressCallback, Reporter, reporter_of
from bitfront.search.session.specs import settled_spec
from bitfront.spaces import KINDS, BitConfig, Choices, SearchSpace, Triple, UserError, triples
from bitfront.spaces.formats import label
from bitfront.spaces.schemes import AUTO

if TYPE_CHECKING:
    from bitfront.evaluators.latency.table import LatencyTable
    from bitfront.evaluators.latency.timed_runtime import Subject

# Random configurations whose times are compared with the table's sums, and what draws them.
MIXED, SEED = 4, 0
SECONDS = 60


@dataclass(frozen=True)
class MeasuredTable:
    """A latency table in a file.

    Attributes:
        path: The file, which searches take as ``table:FILE``.
        table: The times, in milliseconds.
        checks: Whole models beside the sums of their table entries, the first of them that to which the table
            was made to fit.
        figures: Everything as JSON has it.
        seconds: What measuring took.
    """

    path: Path
    table: LatencyTable
    checks: Sequence[CheckedModel]
    figures: Mapping[str, Any]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The document that ``--json`` prints."""
        return {"path": self.path, **self.figures, "seconds": round(self.seconds, 3)}


@dataclass(frozen=True)
class TableTemplate:
    """A latency table without times, to be filled in elsewhere.

    Attributes:
        path: The file.
        rows: How many times it has room for.
        scheme: The quantization scheme.
        batch: Images of the batch that times are for.
        threads: Of the inference that they are for.
    """

    path: Path
    rows: int
    scheme: str
    batch: int
    threads: int

    def to_json(self) -> dict[str, Any]:
        """The document that ``--json`` prints."""
        return dataclasses.asdict(self)


def write_template(
    path: str | Path,
    spec: EvaluationSpec | None = None,
    *,
    latency_batch: int = 1,
    latency_threads: int = 1,
    force: bool = False,
) -> TableTemplate:
    """Writes a latency table without times; nothing is measured.

    Args:
        path: The file.
        spec: The model, its scheme and the formats; None for the defaults.
        latency_batch: Images of the batch that times are for.
        latency_threads: Threads of the inference that they are for.
        force: Whether the file may be overwritten.

    Raises:
        UserError: The model or the file cannot be used.
    """
    from bitfront.evaluators.latency.measured import load_shapes
    from bitfront.evaluators.latency.table_file import template_csv

    (spec, _), path = settled_spec(spec or EvaluationSpec()), Path(path)
    check_writable(path, overwrite=force)
    _, blueprint = load_shapes(spec)
    text = template_csv(blueprint, spec.choices, latency_batch, spec.scheme, latency_threads)
    write_atomically(path, text)
    return TableTemplate(path, text.count("\n") - 1, spec.scheme, latency_batch, latency_threads)


def latency_table(
    spec: EvaluationSpec | None = None,
    *,
    latency: str = AUTO,
    latency_batch: int = 1,
    latency_threads: int | None = None,
    seconds: float = SECONDS,
    path: str | Path | None = None,
    force: bool = False,
    progress: Reporter | ProgressCallback | None = None,
) -> MeasuredTable:
    """Times every distinct encoder of a model at every precision, the rest of it and the float model.

    Times depend on shapes and precisions, not on weights or images: a spec without weights gets random ones.

    Args:
        spec: The model, its scheme and the formats to time; None for the defaults.
        latency: ``measured:torch`` or another runtime that is timed on this machine; ``auto`` for one that
            suits the scheme.
        latency_batch: Images in a batch.
        latency_threads: Threads of an inference; None for 1.
        seconds: Time to spend on measuring at most.
        path: The file to write; None for ``latency-MODEL-SCHEME-RUNTIME-bBATCH.csv``, with ``-tTHREADS``
            before the ending where there are several.
        force: Whether the file may be overwritten.
        progress: Is told of the steps.

    Raises:
        UserError: The model, the runtime or the file cannot be used.
    """
    from bitfront.evaluators.latency.measured import measure_with_models, stand_in
    from bitfront.evaluators.latency.source import latency_source
    from bitfront.evaluators.latency.steadiness import steadiest, unsteadiness
    from bitfront.evaluators.latency.table import sum_error
    from bitfront.evaluators.latency.table_file import table_csv
    from bitfront.evaluators.latency.timed_runtime import TimingProtocol

    # Nothing is classified, so that no batch size needs to be measured.
    spec = dataclasses.replace(spec or EvaluationSpec(), batch_size=1, threads=1)
    spec, latency = settled_spec(spec, latency)
    source, reporter = latency_source(latency, spec.scheme, latency_threads), reporter_of(progress)
    if not source.measured:
        raise UserError(f"--latency {latency} measures nothing: give measured:torch, or another runtime")
    threads = source.timer.threads
    load = load_in_words(latency_batch, threads)
    named = table_name(spec.model, spec.scheme, source.timer.source, latency_batch, threads)
    target = Path(named if path is None else path)
    check_writable(target, overwrite=force)
    with reporter.stage(f"preparing {spec.model} ({spec.scheme}) for timing") as share_done:
        subject = stand_in(spec, source.timer.needs_codes, share_done)
    configs, blueprint = _configurations(spec, subject), subject.prepared.blueprint
    started = time.monotonic()
    doing, timer = f"timing encoders and {len(configs) + 1} whole models", source.timer

    def measured(protocol: TimingProtocol) -> tuple[LatencyTable, list[CheckedModel]]:
        table, entries = measure_with_models(
            timer, subject, list(configs.values()), latency_batch, protocol, share_done
        )
        checks = [
            CheckedModel.of(name, config, entry, table, blueprint)
            for (name, config), entry in zip(configs.items(), entries, strict=True)
        ]
        return table, checks

    with reporter.stage(f"{doing} ({timer.source}), {load}") as share_done:
        table, checks = steadiest(
            measured,
            lambda found: unsteadiness(found[0], sum_errors(found[1])),
            TimingProtocol(budget_seconds=seconds),
        )
    table = dataclasses.replace(table, sum_error=sum_error(sum_errors(checks)))
    write_atomically(target, table_csv(table))
    figures = table_document(spec, blueprint, table, checks)
    return MeasuredTable(target, table, checks, figures, time.monotonic() - started)


def table_name(model: str, scheme: str, source: str, batch: int, threads: int) -> str:
    """What a table's file is called where nothing else is asked for."""
    runtime, on = source.partition(":")[2], f"-t{threads}" if threads != 1 else ""
    return plain_name(f"latency-{model}-{scheme}-{runtime}-b{batch}{on}") + ".csv"


def sum_errors(checks: Sequence[CheckedModel]) -> list[float]:
    """Of sums against whole models, as shares, but for the model at which the table is filled up."""
    return [check.error_percent / 100.0 for check in checks[1:]]


def _configurations(spec: EvaluationSpec, subject: Subject) -> dict[str, BitConfig]:
    """Configurations to compare the table's sums with: uniform ones, and mixed ones drawn at random.

    The first one is that at which the table is filled up.
    """
    ends, mixed = table_configurations(spec, subject, MIXED)
    found = {label(triple): subject.uniform(triple) for triple in ends}
    return found | {f"mixed {place}": config for place, config in enumerate(mixed, start=1)}


def table_configurations(
    spec: EvaluationSpec, subject: Subject, count: int
) -> tuple[tuple[Triple, Triple], list[BitConfig]]:
    """The widest and the narrowest precision of a table, and mixed configurations drawn at random."""
    import numpy as np

    from bitfront.evaluators.context.preparing import prepared_choices

    ends = _ends(prepared_choices(spec))
    if not any(len(spec.choices.of(kind)) > 1 for kind in KINDS):
        return ends, []
    encoders = subject.prepared.blueprint.encoder_layers()
    space = SearchSpace(spec.model, spec.scheme, encoders, spec.choices)
    genomes = space.sample(np.random.default_rng(SEED), count)
    return ends, [space.decode(genome) for genome in genomes]


def _ends(choices: Choices) -> tuple[Triple, Triple]:
    """The widest integers that all kinds have, and the narrowest format of each kind.

    The first one is that at which a table is filled up: graphs of floats have operators of their own.
    """
    shared = set(choices.weights) & set(choices.activations) & set(choices.attention)
    widest = max(value for value in shared if isinstance(value, int))
    return (widest, widest, widest), triples(choices)[-1]
