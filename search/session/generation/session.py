"""One search over formats in its run folder: prepare, search, measure the front, write."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitfront.evaluators.context.machine import describe_environment
from bitfront.evaluators.generation.costs import CostTable, measured_costs
from bitfront.evaluators.generation.lpips import WEIGHTS
from bitfront.evaluators.generation.workbench import PictureFigures, Workbench
from bitfront.evaluators.latency.timed_runtime import TimingProtocol
from bitfront.evaluators.tasks.quality import Quality
from bitfront.search.engine.engine import SearchEngine
from bitfront.search.engine.protocols import InlinePool
from bitfront.search.engine.result import INTERRUPTED, SearchResult
from bitfront.search.engine.stopping import Budget
from bitfront.search.problem.problem import SearchProblem
from bitfront.search.runs.files import SPEC
from bitfront.search.runs.folder import RunFolder, RunStore
from bitfront.search.runs.generation import COSTS, PICTURES, GenerationRun, read_generation_run
from bitfront.search.runs.journal import JOURNAL
from bitfront.search.runs.names import plain_name, run_command, runs_root
from bitfront.search.runs.progress_file import ProgressWriter
from bitfront.search.runs.study import StudyRecord
from bitfront.search.runs.tables import FolderWriter, RunTables
from bitfront.search.samplers.registry import FEW_EVALUATIONS, check_sampler, make_sampler
from bitfront.search.session.generation.finals import measure_points
from bitfront.search.session.generation.inputs import (
    first_genomes,
    load_workbench,
    problem_of,
    space_of,
    timed_together,
)
from bitfront.search.session.generation.spec import EXTENDABLE, GenerationSpec
from bitfront.search.session.reporter import ProgressCallback, Reporter, reporter_of
from bitfront.spaces.part_formats import FormatConfig, FormatSpace
from bitfront.spaces.quantities import count_of

logger = logging.getLogger(__name__)
PROTOCOL = TimingProtocol(warmup=3, iterations=20, repeats=3, budget_seconds=20.0)


def search_formats(
    spec: GenerationSpec | None = None,
    *,
    name: str | None = None,
    runs_dir: str | Path | None = None,
    progress: Reporter | ProgressCallback | None = None,
) -> GenerationRun:
    """Searches for the Pareto-best formats of a pipeline's parts, and writes a run folder.

    Args:
        spec: The settings; None for the embedded example.
        name: Of the run; None for the pipeline and the time.
        runs_dir: Folder of the runs.
        progress: Is told of the steps.

    Raises:
        UserError: The request cannot be carried out as stated.
        BitfrontError: The search failed; what was evaluated is kept, and :func:`resume_formats` goes on.
    """
    spec = spec or GenerationSpec()
    check_sampler(spec.sampler)
    spec.check()
    store = RunStore(runs_root(runs_dir))
    folder = store.create(name or store.default_name(plain_name(Path(spec.pipeline).name)))
    return FormatSession(spec, folder, reporter_of(progress)).run()


def resume_formats(
    name: str,
    *,
    runs_dir: str | Path | None = None,
    evaluations: int | None = None,
    time_budget: str | float | None = None,
    progress: Reporter | ProgressCallback | None = None,
) -> GenerationRun:
    """Goes on with a run; what it has evaluated is not evaluated again.

    Args:
        name: Of the run.
        runs_dir: Folder of the runs.
        evaluations: Another number of evaluations in all.
        time_budget: Another search time in all.
        progress: Is told of the steps.

    Raises:
        UserError: There is no such run, or it cannot be gone on with.
        BitfrontError: The search failed; what was evaluated is kept.
    """
    folder = RunStore(runs_root(runs_dir)).open(name)
    spec = GenerationSpec.from_json(folder.read_json(SPEC))
    asked: dict[str, Any] = dict(zip(EXTENDABLE, (evaluations, time_budget), strict=True))
    spec = dataclasses.replace(spec, **{field: value for field, value in asked.items() if value is not None})
    spec.check()
    return FormatSession(spec, folder, reporter_of(progress), resumed=True).run()


@dataclass
class FormatSession:
    """One search in its run folder.

    Attributes:
        spec: Its settings.
        folder: Its folder.
        reporter: Is told of the steps.
        resumed: Whether an earlier part of the run is gone on with.
    """

    spec: GenerationSpec
    folder: RunFolder
    reporter: Reporter
    resumed: bool = False

    def run(self) -> GenerationRun:
        """Searches with the run folder locked, and opens the run."""
        folder = self.folder
        command = run_command(folder.path, "search", "--resume", folder.name)
        kept = folder.resumable(lambda: command, begun=COSTS, new=not self.resumed)
        with folder.lock(), kept, folder.log_file():
            folder.write_json(SPEC, self.spec.to_json())
            self.reporter.note(f"run {folder.name} in {folder.path}")
            result = self._search()
        found = read_generation_run(folder.path.parent, folder.name)
        return dataclasses.replace(found, interrupted=result.reason == INTERRUPTED)

    def _search(self) -> SearchResult:
        spec, folder, stage = self.spec, self.folder, self.reporter.stage
        bench = load_workbench(spec)
        everything = bench.jobs
        bench.jobs = everything[: spec.search_pictures]
        with stage(
            f"converting {bench.pipeline.name} and making {count_of(len(bench.jobs), 'float picture')}"
        ) as told:
            bench.prepare(told)
        bench.timed_together = timed_together(spec, bench.pixels, len(bench.jobs))
        table, space = self._costs(bench), space_of(bench)
        problem = problem_of(spec, space, table, len(bench.jobs))
        first = first_genomes(space)
        if spec.evaluations is None:
            self.spec = spec = dataclasses.replace(spec, evaluations=len(first) + FEW_EVALUATIONS)
            folder.write_json(SPEC, spec.to_json())
        folder.write_json("environment.json", describe_environment())
        self._tell(bench, space)
        tables = RunTables(folder, problem)
        result = self._run_engine(problem, bench, tables, first)
        self._write_summary(result, bench, len(everything))
        tables.write(result.trials, result.front)
        if result.front and result.reason != INTERRUPTED:
            bench.jobs = everything
            measure_points(bench, space, result, folder, tables, stage, self._figures)
            self._draw()
        return result

    def _costs(self, bench: Workbench) -> CostTable:
        """Measured once: a resumed search goes on with the same prices."""
        if (self.folder.path / COSTS).is_file():
            return CostTable.from_json(self.folder.read_json(COSTS))
        together = count_of(bench.timed_together, "picture")
        with self.reporter.stage(f"timing every part in every format, {together} at a time") as told:
            table = measured_costs(bench, PROTOCOL, told)
        self.folder.write_json(COSTS, table.to_json())
        return table

    def _tell(self, bench: Workbench, space: FormatSpace) -> None:
        note = self.reporter.note
        note(
            f"{count_of(len(space), 'gene')}, formats {', '.join(space.widths)}: {space.cardinality:,} "
            "assignments"
        )
        features = "none, so no FID and KID" if bench.features is None else bench.features.name
        note(f"features: {features}")
        lpips = f"none, as torch's cache has no {WEIGHTS}: --lpips FILE names it"
        note(f"LPIPS: {lpips if bench.perceptual is None else bench.perceptual.name}")
        note(f"{count_of(len(bench.jobs), 'picture')} in OpenVINO on {count_of(bench.threads, 'thread')}")

    def _run_engine(
        self, problem: SearchProblem, bench: Workbench, tables: RunTables, first: Sequence[tuple[int, ...]]
    ) -> SearchResult:
        spec, folder = self.spec, self.folder
        assert spec.evaluations is not None, "the spec is complete"
        known = self.resumed and (folder.path / JOURNAL).exists()
        begin = StudyRecord.open if known else StudyRecord.create
        sampler = make_sampler(spec.sampler, problem, spec.population, spec.seed)

        def evaluate(config: Any, _: float | None) -> Quality:
            return self._figures(bench, config).quality()

        pool, record = InlinePool(evaluate), begin(folder.path, folder.name, spec, problem, None)
        with self.reporter.search(spec.evaluations) as display:
            budget = Budget(spec.evaluations, spec.time_budget, record.elapsed_s)
            told = ProgressWriter(folder)
            observers = (display, FolderWriter(tables, record), told)
            engine = SearchEngine(problem, sampler, pool, record, budget, observers, [first])
            result = engine.run()
            told.write(result.progress)
        return result

    def _figures(self, bench: Workbench, config: FormatConfig) -> PictureFigures:
        """Of an assignment, as its file has them, or made and kept: of so many pictures once."""
        name = f"{config.digest}-{len(bench.jobs)}.json"
        path = self.folder.path / PICTURES / name
        if path.is_file():
            try:
                return PictureFigures.from_json(json.loads(path.read_text(encoding="utf-8")))
            except (ValueError, KeyError, TypeError):
                logger.warning("%s is damaged and made again", path)
        found = bench.figures(dict(config.formats))
        path.parent.mkdir(exist_ok=True)
        self.folder.write_json(f"{PICTURES}/{name}", found.to_json())
        return found

    def _write_summary(self, result: SearchResult, bench: Workbench, pictures: int) -> None:
        document: Mapping[str, Any] = {
            **result.to_json(),
            "latency_batch": bench.timed_together,
            "pipeline": bench.pipeline.name,
            "components": {name: list(genes) for name, genes in bench.components},
            "pictures": pictures,
            "search_pictures": len(bench.jobs),
            "steps": bench.sampling.steps,
            "guidance": bench.sampling.guidance,
            "features": bench.features.name if bench.features else "",
            "lpips": bench.perceptual.name if bench.perceptual else "",
            "half_precision": _half_words(),
        }
        self.folder.write_json("summary.json", document)

    def _draw(self) -> None:
        from bitfront.search.reports.generation.pictures import write_generation_plots
        from bitfront.search.reports.generation.tables import write_tables

        run = read_generation_run(self.folder.path.parent, self.folder.name)
        with self.reporter.stage("drawing the contact sheet and the front"):
            write_generation_plots(run)
            write_tables(run)


def _half_words() -> str:
    """How bfloat16 is computed here, in words."""
    from bitfront.evaluators.generation.compiled import computes_half

    if computes_half():
        return "bfloat16 products of a component that is bf16 throughout are those of the processor"
    return (
        "this processor has no bfloat16 products: bf16 is simulated by rounded weights and float32 products"
    )
