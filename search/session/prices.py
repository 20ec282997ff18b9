"""Pricing a finished run by another latency source, whichever kind of source that is."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.files import write_atomically
from bitfront.evaluators.latency.named_table import measured_elsewhere, named_table
from bitfront.evaluators.latency.registry import TABLE, load_in_words, settled_batch, settled_threads
from bitfront.evaluators.latency.table import LatencyTable, TableLatency, TimedEncoder, timed_encoders
from bitfront.evaluators.latency.table_file import read_table, table_csv
from bitfront.search.export.selection import shortlist_of, standing
from bitfront.search.runs.names import plain_name
from bitfront.search.runs.prices import priced
from bitfront.search.runs.reader import RecordedRun, evaluation_of
from bitfront.search.runs.recorded_costs import read_encoders
from bitfront.search.session.reporter import Reporter
from bitfront.spaces import UserError, triples
from bitfront.spaces.formats import in_order

if TYPE_CHECKING:
    import pandas as pd

    from bitfront.evaluators.latency.source import LatencySource

AnyRun = TypeVar("AnyRun", bound=RecordedRun)
# Stands for the latencies that a run was searched with.
OWN = "run"
# Tables that were measured to price a run, in its folder.
PRICES = "prices"


def priced_by(
    run: AnyRun, latency: str, batch: int | None, threads: int | None, reporter: Reporter
) -> AnyRun:
    """A run by the prices of a latency source; see :func:`bitfront.search.runs.prices.priced`.

    A table is added up without the model. Other sources need its shapes; what is measured is kept in
    ``prices`` of the run folder, and taken from there the next time.

    Args:
        run: The run, as it was searched and with its whole front.
        latency: The source, as ``--latency`` takes it; ``run`` for the run as it is.
        batch: Images of a batch; None for the table's, or 1.
        threads: Of an inference; None for the table's, or 1.
        reporter: Is told of what takes long.

    Raises:
        UserError: The run or the source cannot be used, or the table is of another model.
    """
    if run.narrowed or run.prices is not None:
        raise UserError(f"run {run.title} was changed before: price the run as it was opened, then narrow it")
    if latency == OWN:
        settled_batch(f"run {run.name}", run.latency_batch, batch)
        settled_threads(f"run {run.name}", run.latency_threads, threads)
        return run
    spec = evaluation_of(run)
    kind, _, rest = latency.partition(":")
    encoders = read_encoders(run.path) or _encoders(spec)
    notes: tuple[str, ...] = ()
    if kind == TABLE and rest:
        table = named_table(Path(rest), spec.scheme)
        settled_batch(latency, table.batch, batch)
        settled_threads(latency, table.threads, threads)
    else:
        from bitfront.search.session.specs import chosen_latency  # loads torch

        source, images = chosen_latency(latency, spec.scheme, batch, threads)
        table = _table(run, latency, source, spec, images, reporter)
        notes = source.notes(in_order((*spec.choices.every, 8)))
    needed = {*triples(spec.choices), (8, 8, 8)}
    found = priced(run, TableLatency(table, encoders, needed), latency, notes)
    return found if found.front.empty else _with_shortlist(found)


def _encoders(spec: EvaluationSpec) -> tuple[TimedEncoder, ...]:
    """Of a run whose version did not record them."""
    from bitfront.evaluators.latency.measured import load_shapes

    return timed_encoders(load_shapes(spec)[1])


def _table(
    run: RecordedRun, name: str, source: LatencySource, spec: EvaluationSpec, batch: int, reporter: Reporter
) -> LatencyTable:
    from bitfront.evaluators.context.preparing import prepared_choices
    from bitfront.evaluators.latency.measured import load_shapes, stand_in
    from bitfront.evaluators.latency.source import ModelSource

    if isinstance(source, ModelSource):
        with reporter.stage(f"shapes of {spec.model}"):
            _, blueprint = load_shapes(spec)
        return source.modelled(blueprint, prepared_choices(spec), spec.scheme, batch)
    on = f"-t{source.timer.threads}" if source.timer.threads != 1 else ""
    kept = run.path / PRICES / f"{plain_name(name)}-b{batch}{on}.csv"
    if source.measured and kept.exists():
        table = read_table(kept)
        if not measured_elsewhere(table):
            reporter.note(f"note: latencies are those of {kept}: remove it to measure again")
            return table
    with reporter.stage(f"preparing {spec.model} ({spec.scheme}) for timing") as share_done:
        subject = stand_in(spec, source.timer.needs_codes, share_done)
    of = load_in_words(batch, source.timer.threads)
    with reporter.stage(f"latency of encoders ({name}), {of}") as share_done:
        table = source.table(subject, batch, share_done)
    if source.measured:
        kept.parent.mkdir(exist_ok=True)
        write_atomically(kept, table_csv(table))
    return table


def _with_shortlist(run: AnyRun) -> AnyRun:
    """The run whose front says what is listed, as the tables of a finished search do."""
    stands_for = standing(shortlist_of(run))
    trials: pd.Series = run.front["trial"]
    front = run.front.assign(
        listed=[stands_for[int(trial)] == int(trial) for trial in trials],
        stands_for=[float(stands_for[int(trial)]) for trial in trials],
    )
    return dataclasses.replace(run, front=front)
