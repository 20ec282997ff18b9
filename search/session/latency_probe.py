"""Tables of machines without bitfront: writing a folder of graphs to time, making tables of the times."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.files import check_writable, write_atomically
from bitfront.evaluators.latency.registry import MEASURED, load_in_words
from bitfront.search.session.latency_table import table_configurations, table_name
from bitfront.search.session.reporter import ProgressCallback, Reporter, reporter_of
from bitfront.search.session.specs import settled_spec
from bitfront.spaces import UserError
from bitfront.spaces.schemes import AUTO, DEPLOY

if TYPE_CHECKING:
    from bitfront.evaluators.latency.probes.fitting import FittedTable

# Mixed models that tell the error of tables; whole models are most of what the folder takes to time.
CHECKED = 2


@dataclass(frozen=True)
class WrittenProbe:
    """A folder to take to another machine.

    Attributes:
        path: The folder.
        model: What is timed.
        size_bytes: All of it.
        probes: Graphs that are timed, by runtime.
        fitted: Times of a table that follow from others.
    """

    path: Path
    model: str
    size_bytes: int
    probes: Mapping[str, int]
    fitted: int

    def to_json(self) -> dict[str, Any]:
        """The document that ``--json`` prints."""
        return {**dataclasses.asdict(self), "path": self.path}


@dataclass(frozen=True)
class TableFromProbe:
    """A table that was made of timings.

    Attributes:
        path: The file, which searches take as ``table:FILE``.
        fitted: The table, and how good it is.
    """

    path: Path
    fitted: FittedTable

    def to_json(self) -> dict[str, Any]:
        """What ``--json`` prints of it."""
        fitted, table = self.fitted, self.fitted.table
        return {
            "path": self.path,
            "latency_source": table.source,
            "scheme": table.scheme,
            "machine": table.machine,
            "batch": table.batch,
            "threads": table.threads,
            "float_ms": table.float_model.milliseconds,
            "rest_ms": table.rest.milliseconds,
            "rounds": fitted.rounds,
            "variation_percent": 100.0 * fitted.variation,
            "stopped_percent": 100.0 * fitted.stopped,
            "fit_error_percent": 100.0 * fitted.fit_error,
            "sum_error_percent": 100.0 * table.sum_error,
            "disturbed": fitted.disturbed,
            "misses": fitted.misses,
            "checks": [
                {
                    "name": check.name,
                    "digest": check.digest,
                    "sum_ms": check.sum_ms,
                    "measured_ms": check.measured_ms,
                    "standard_error_percent": 100.0 * check.relative_error,
                    "error_percent": 100.0 * check.error,
                }
                for check in fitted.checks
            ],
        }


def write_probe(
    folder: str | Path,
    spec: EvaluationSpec | None = None,
    *,
    force: bool = False,
    progress: Reporter | ProgressCallback | None = None,
) -> WrittenProbe:
    """Writes a folder of small graphs with a program that times them on a machine without bitfront.

    Args:
        folder: A new or empty folder.
        spec: The model and the formats, of scheme ``deploy``; None for the defaults.
        force: Whether an earlier folder of probes may be replaced.
        progress: Is told of the steps.

    Raises:
        UserError: The model, its scheme or the folder cannot be used.
    """
    from bitfront.evaluators.deployment.graph.parts import check_graph_scheme
    from bitfront.evaluators.latency.measured import stand_in
    from bitfront.evaluators.latency.probes.folder import write_probes

    spec, folder, reporter = spec or EvaluationSpec(), Path(folder), reporter_of(progress)
    scheme = DEPLOY if spec.scheme == AUTO else spec.scheme
    check_graph_scheme(scheme)
    spec, _ = settled_spec(dataclasses.replace(spec, scheme=scheme, batch_size=1, threads=1))
    _make_room(folder, force)
    with reporter.stage(f"preparing {spec.model} ({spec.scheme}) for timing") as share_done:
        subject = stand_in(spec, keep_codes=False, progress=share_done)
    (widest, narrowest), mixed = table_configurations(spec, subject, CHECKED)
    ends = dict.fromkeys((widest, narrowest))
    anchors = [subject.uniform(triple) for triple in ends]
    with reporter.stage("writing graphs") as share_done:
        found = write_probes(folder, subject, (widest, narrowest), anchors, mixed, share_done)
    return WrittenProbe(folder, spec.model, found.size_bytes, found.probes, found.fitted)


def _make_room(folder: Path, force: bool) -> None:
    from bitfront.evaluators.latency.probes.probe import GRAPHS, MANIFEST

    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: choose a new folder")
    if folder.is_dir() and any(folder.iterdir()):
        ours = (folder / MANIFEST).is_file() and (folder / GRAPHS).is_dir()
        if not (force and ours):
            mend = "choose a new folder, or give --force to replace it" if ours else "choose a new folder"
            raise UserError(f"{folder} is not empty: {mend}")
        shutil.rmtree(folder / GRAPHS)
    check_writable(folder / MANIFEST, make_folder=True)


def tables_from_probe(
    timings: str | Path,
    *,
    latency: str | None = None,
    latency_batch: int | None = None,
    latency_threads: int | None = None,
    path: str | Path | None = None,
    force: bool = False,
) -> list[TableFromProbe]:
    """Makes latency tables of what the program of a probe folder wrote.

    Args:
        timings: The file.
        latency: ``measured:RUNTIME`` for the tables of one runtime; None for all.
        latency_batch: Images of a batch, for the tables of one; None for all.
        latency_threads: Threads of an inference, for the tables of one number; None for all.
        path: The file to write, where there is one table alone; None for names of the model and what was
            timed.
        force: Whether files may be overwritten.

    Raises:
        UserError: The timings are damaged, have nothing of what was asked for, or a file cannot be written.
    """
    from bitfront.evaluators.latency.probes.fitting import fitted_tables
    from bitfront.evaluators.latency.probes.timings import read_timings
    from bitfront.evaluators.latency.table_file import table_csv

    read = read_timings(Path(timings))
    wanted = [
        one
        for one in read.sets
        if latency in (None, f"{MEASURED}:{one.runtime}")
        and latency_batch in (None, one.batch)
        and latency_threads in (None, one.threads)
    ]
    loads = [f"{MEASURED}:{one.runtime}, {load_in_words(one.batch, one.threads)}" for one in read.sets]
    there = "; ".join(loads)
    if not wanted:
        raise UserError(f"timings {timings} have nothing of what was asked for: they have {there}")
    if path is not None and len(wanted) > 1:
        raise UserError(
            f"--output {path} is one file, the timings make {len(wanted)} tables ({there}): choose one by "
            "--latency, --latency-batch and --latency-threads, or leave --output out"
        )
    fitted = fitted_tables(dataclasses.replace(read, sets=tuple(wanted)))
    targets = [Path(path)] if path is not None else [_target(read.probed.model, one) for one in fitted]
    for target in targets:
        check_writable(target, overwrite=force)
    for target, one in zip(targets, fitted, strict=True):
        write_atomically(target, table_csv(one.table))
    return [TableFromProbe(target, one) for target, one in zip(targets, fitted, strict=True)]


def _target(model: str, fitted: FittedTable) -> Path:
    table = fitted.table
    return Path(table_name(model, table.scheme, table.source, table.batch, table.threads))


def warnings_of(tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """What must be said loudly of tables, as :meth:`TableFromProbe.to_json` gives them."""
    found = []
    for table in tables:
        named = f"{table['path']}"
        if table["misses"]:
            worst = max(abs(check["error_percent"]) for check in table["checks"])
            found.append(
                f"WARNING: sums of {named} miss whole models by up to {worst:.0f} %; searches will take "
                "smaller differences for none. Time again with nothing else running, or give more --seconds"
            )
        elif table["disturbed"]:
            found.append(
                f"note: other work ran while {named} was timed: shares of the float model hold, milliseconds "
                "may be too long"
            )
    return found
