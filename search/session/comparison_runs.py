"""A search of a comparison as a run of its own, which can be looked at, drawn and exported from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from bitfront.evaluators.files import explained
from bitfront.search.engine.protocols import Progress
from bitfront.search.engine.result import SearchResult
from bitfront.search.estimation.estimates import judging_archive
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.runs.folder import RunFolder, write_space
from bitfront.search.runs.tables import RunTables
from bitfront.search.session.comparison.searches import FinishedSearch
from bitfront.search.session.inputs import RunInputs
from bitfront.search.session.run import Run, open_run
from bitfront.search.session.search_session import write_result

# The folder of these runs in that of the comparison.
FRONTS = "fronts"


def run_name(seed: int) -> str:
    """What the run of a seed is called."""
    return f"seed{seed}"


def write_run(
    comparison: Path, searched: FinishedSearch, ready: RunInputs, problem: SearchProblem
) -> tuple[Run, SearchResult]:
    """Writes the run folder of a finished search, and reads it.

    Args:
        comparison: The comparison's folder.
        searched: The search.
        ready: What it searched on.
        problem: What was searched.
    """
    entry = searched.entry
    archive = judging_archive(problem, searched.trials)
    progress = Progress(
        evaluations=archive.evaluations,
        evaluations_budget=entry.evaluations,
        generation=-(-archive.evaluations // (entry.population or 1)),
        front=archive.front,
        trials=len(archive),
        hypervolume=problem.box.share(archive.front_points),
        elapsed_s=0.0,
        remaining_s=None,
        objectives=problem.objectives,
    )
    result = SearchResult(searched.reason, archive.trials, archive.front, problem, progress)
    folder = RunFolder(comparison / FRONTS / run_name(entry.seed))
    with explained(folder.path):
        folder.path.mkdir(parents=True, exist_ok=True)
    spec = dataclasses.replace(ready.spec, seed=entry.seed)
    folder.write_spec(spec)
    folder.write_json("references.json", ready.references.to_json())
    write_space(folder.path, ready.space)
    tables = RunTables(folder, problem)
    tables.write(result.trials, result.front)
    write_result(folder, spec, result, ready, tables)
    return open_run(folder.name, runs_dir=folder.path.parent), result
