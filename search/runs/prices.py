"""What a finished run costs by another latency source: its own trials, priced and judged again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import pandas as pd

from bitfront.evaluators.latency.table import TableLatency
from bitfront.search.engine.protocols import Progress
from bitfront.search.engine.result import SearchResult
from bitfront.search.estimation.estimates import judging_archive
from bitfront.search.problem.hypervolume import HypervolumeBox
from bitfront.search.problem.limits import FASTER, Limit
from bitfront.search.problem.objectives import parse_objectives
from bitfront.search.problem.problem import SearchProblem, least_of, priced_columns
from bitfront.search.problem.references import EIGHT_BIT_NAME, Reference, References
from bitfront.search.problem.spec import RunSpec
from bitfront.search.problem.trial import Trial
from bitfront.search.runs.columns import DIFFERENCE_ERROR
from bitfront.search.runs.files import FRONT, TRIALS, damaged_file, read_table
from bitfront.search.runs.folder import read_space
from bitfront.search.runs.names import run_command
from bitfront.search.runs.reader import Prices, RecordedRun
from bitfront.search.runs.recorded_costs import RecordedCost, RecordedCosts
from bitfront.search.runs.study_reader import recorded_trials
from bitfront.search.runs.tables import TableTexts
from bitfront.spaces import BitConfig, SearchSpace, UserError
from bitfront.spaces.quantities import count_of

AnyRun = TypeVar("AnyRun", bound=RecordedRun)
_LATENCY, _SIZE = "latency_ms", "size_bytes"


def priced(run: AnyRun, latency: TableLatency, asked: str, notes: Sequence[str] = ()) -> AnyRun:
    """A run as it would stand had its trials been priced so from the start; nothing is evaluated.

    Front, limits, hypervolume and all that is chosen by them follow. Constraint 3 (faster than the float
    model) is that of the new prices; a ``--max-latency`` of the search was meant for its own machine and is
    left out. Whole models were not timed there.

    Args:
        run: A run that has ended; not narrowed yet.
        latency: The other latencies, for all widths of the run.
        asked: The source as it was named, such as ``table:phone.csv``.
        notes: What must be known of that source.

    Raises:
        UserError: The run has not ended, its files are damaged, or its study cannot be reached.
    """
    if not run.summary or not run.references:
        raise UserError(
            f"run {run.name} has not ended, and cannot be priced by {asked} before: wait for it, or go on "
            f"with `{run_command(run.path, 'search', '--resume', run.name)}`"
        )
    spec, space = RunSpec.from_json(run.spec), read_space(run.path)
    if latency.encoders != len(space.encoders):
        raise damaged_file(run.path / "costs.json", f"it has {latency.encoders} encoders")
    references = _references(run, space, latency)
    problem = _problem(run, spec, space, latency, references)
    recorded = recorded_trials(run.path, space, problem.objectives, problem.constraint_names)
    trials = [_priced_trial(problem, trial, latency) for trial in recorded]
    archive = judging_archive(problem, trials)
    share = problem.box.share(archive.front_points)
    progress = Progress(
        archive.evaluations, spec.evaluations or archive.evaluations, 0, archive.front, len(archive), share,
        float(run.summary.get("seconds") or 0.0), None, problem.objectives,
    )  # fmt: skip
    reason = str(run.summary.get("stopped_because") or "")
    result = SearchResult(reason, archive.trials, archive.front, problem, progress)
    summary = {
        **run.summary,
        **result.to_json(),
        "latency_batch": latency.table.batch,
        "latency_threads": latency.table.threads,
        "latency_noise": latency.noise,
        "latency_note": "",
    }
    found = Prices(asked, latency.table.batch, latency.table.machine, (), latency.table.threads)
    found = dataclasses.replace(found, notes=(*notes, *_notes(run, result, found)))
    others = [r for r in run.references if r.name not in (references.float_model.name, EIGHT_BIT_NAME)]
    tables = _tables(run, result)
    return dataclasses.replace(
        run,
        trials=tables[TRIALS],
        front=tables[FRONT],
        references=(references.float_model, references.eight_bit, *others),
        limits=problem.limits,
        summary=summary,
        prices=found,
    )


def _references(run: RecordedRun, space: SearchSpace, latency: TableLatency) -> References:
    """The float and the 8-bit model at the new prices."""
    config = BitConfig.uniform(space.model, space.scheme, space.encoders, (8, 8, 8))
    eight, whole = next((r for r in run.references if r.name == EIGHT_BIT_NAME), None), run.float_reference
    if eight is None or whole is None:
        raise damaged_file(run.path / "references.json", "the float or the 8-bit model is missing")

    def at(reference: Reference, milliseconds: float) -> Reference:
        return dataclasses.replace(
            reference, latency_ms=milliseconds, latency_source=latency.source, latency_measured_ms=None
        )

    float_ms = latency.table.float_model.milliseconds
    return References(at(whole, float_ms), at(eight, latency.latency_ms(config)))


def _problem(
    run: RecordedRun, spec: RunSpec, space: SearchSpace, latency: TableLatency, references: References
) -> SearchProblem:
    """What was searched, with the limits that latencies have by themselves."""
    whole, limits = references.float_model, list[Limit]()
    for limit in run.limits:
        if limit.name == FASTER:
            limits.append(dataclasses.replace(limit, threshold=whole.latency_ms))
        elif limit.column != _LATENCY:
            limits.append(limit)
    objectives = parse_objectives(spec.objectives, run.schema.task.name)
    corners = [dict(run.summary.get(name) or {}) for name in ("ideal_point", "reference_point")]
    known = run.trials[["digest", _SIZE]].dropna().to_dict("records")
    sizes = {str(row["digest"]): int(row[_SIZE]) for row in known}
    least, most = (int(corner.get(_SIZE, 0)) for corner in corners)
    further = _further(run, references, corners[0])
    cost = RecordedCosts(latency, sizes, least, most, further)
    minima = {column: least_of(cost, column, space, spec.structural) for column in priced_columns(cost)}
    box = HypervolumeBox.fixed(objectives, references, minima, float(most))
    return SearchProblem(
        space, objectives, spec.structural, tuple(limits), cost, box, run.schema.task,
        spec.evaluation.metrics, whole.values.get(run.schema.task.counted), whole.right, whole.images,
        whole.test_images, spec.confidence,
    )  # fmt: skip


def _further(run: RecordedRun, references: References, ideal: Mapping[str, float]) -> dict[str, RecordedCost]:
    """The further costs of a run, which are not those of a latency source and stay."""
    found = {}
    for column, whole in references.float_model.costs.items():
        known = run.trials[["digest", column]].dropna().to_dict("records")
        values = {str(row["digest"]): float(row[column]) for row in known}
        least = float(ideal.get(column, min(values.values(), default=0.0)))
        found[column] = RecordedCost(str(run.spec.get("energy") or ""), whole, values, least)
    return found


def _priced_trial(problem: SearchProblem, trial: Trial, latency: TableLatency) -> Trial:
    config = problem.space.decode(np.array(trial.genome, dtype=np.int64))
    values = {**trial.values, _LATENCY: latency.latency_ms(config)}
    known = {limit.name: limit.violation(values) for limit in problem.limits if limit.analytic}
    violations = {**trial.violations, **known}
    ordered = {name: violations[name] for name in problem.constraint_names if name in violations}
    return dataclasses.replace(trial, values=values, violations=ordered)


def _tables(run: RecordedRun, result: SearchResult) -> dict[str, pd.DataFrame]:
    """Both tables as a search writes them and reads them again; what was measured on test images stays."""
    texts, genes = TableTexts(result.problem), [gene.name for gene in run.genes]
    written = {
        TRIALS: (texts.trials(result.trials, {}), run.schema.trials),
        FRONT: (texts.front(result.front, {}), run.schema.front),
    }
    known = run.trials.drop_duplicates("trial").set_index("trial")
    found = {}
    for name, (text, required) in written.items():
        table = read_table(run.path / name, run.schema.by_name, required, genes, text)
        tested = [
            column
            for column in table.columns
            if (column.startswith("test_") or column == DIFFERENCE_ERROR) and column in known.columns
        ]
        found[name] = table.assign(**{column: table["trial"].map(known[column]) for column in tested})
    return found


def _notes(run: RecordedRun, result: SearchResult, prices: Prices) -> tuple[str, ...]:
    """What a reader must know of prices that the search did not go by."""
    own = f"{run.latency_source or 'its own source'}"
    notes = [
        f"latencies are those of {result.problem.cost.latency_source} for a batch of {prices.batch}; the "
        f"search went by {own}, and nothing was evaluated for these"
    ]
    left_out = [limit.label for limit in run.limits if limit.column == _LATENCY and limit.name != FASTER]
    if left_out:
        notes.append(
            f"{', '.join(left_out)} was asked of {own} and is left out here: give --max-latency for these "
            "latencies"
        )
    admitted, contenders = unfinished(result)
    parts = []
    if admitted:
        parts.append(f"{count_of(admitted, 'candidate')} turned down unevaluated would be within limits here")
    if contenders:
        parts.append(f"{count_of(contenders, 'candidate')} given up early might stand on this front")
    if parts:
        command = run_command(run.path, "search", "--from", run.name, *prices.words)
        notes.append(f"{', and '.join(parts)}: `{command}` evaluates them")
    return tuple(notes)


def unfinished(result: SearchResult) -> tuple[int, int]:
    """How many rejected trials violate nothing now, and how many screened ones nothing on the front beats."""
    rejected = [trial for trial in result.trials if trial.state == "rejected"]
    screened = [trial for trial in result.trials if trial.state == "screened" and not trial.total_violation]
    objectives = result.problem.objectives
    points = [[o.minimised(trial.values) for o in objectives] for trial in result.front]

    def beaten(trial: Trial) -> bool:
        own = [o.minimised(trial.values) for o in objectives]
        return any(all(a <= b for a, b in zip(point, own, strict=True)) for point in points)

    admitted = sum(trial.total_violation == 0.0 for trial in rejected)
    return admitted, sum(not beaten(trial) for trial in screened)
