"""Benchmarking a model: a suite of files is written and timed side by side, and what was found is told."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.files import check_writable, write_atomically
from bitfront.search.engine.stopping import InterruptGuard
from bitfront.search.reports.bench import bench_document, csv_text, markdown
from bitfront.search.reports.bench_findings import findings
from bitfront.search.runs.folder import RunStore
from bitfront.search.runs.names import plain_name, runs_root
from bitfront.search.session.bench_options import BASELINES, BATCHES, BUDGET, UNIFORM, BenchOptions, Words
from bitfront.search.session.inputs import preparing
from bitfront.search.session.reporter import ProgressCallback, Reporter, reporter_of
from bitfront.search.session.specs import (
    Document,
    at_formats,
    check_same,
    read_config_document,
    recorded_evaluation,
    recorded_spec,
)
from bitfront.spaces import BitConfig, BitfrontError, Choices, UserError
from bitfront.spaces.quantities import count_of
from bitfront.spaces.schemes import DEPLOY

if TYPE_CHECKING:
    from bitfront.evaluators.latency.bench.entry import Candidate
    from bitfront.evaluators.latency.bench.measuring import Measured
    from bitfront.evaluators.latency.bench.rapl import EnergyCounters
    from bitfront.evaluators.latency.bench.suite import BenchedModel, NamedConfig, Suite
    from bitfront.evaluators.tasks.quality import Quality

CSV, MARKDOWN, PICTURE = FILES = ("bench.csv", "bench.md", "bench.png")
# Below this many pixels convolutional networks have nothing left to convolve.
LEAST_SIDE = 64
RANDOM_WEIGHTS = (
    "weights are random and rounded to nearest: times hold for any weights, but the recipe's factors of "
    "weight groups are missing from files of 4-bit weights"
)
NO_BFLOAT16 = (
    "this processor has no bfloat16 instructions (such as avx512_bf16 or amx_bf16): bfloat16 is left out"
)


@dataclass(frozen=True)
class Benchmark:
    """What was measured of a model in its precisions and runtimes.

    Attributes:
        folder: Where the table and the picture are.
        figures: The model, the machine, a row for each file and batch, findings and notes.
    """

    folder: Path
    figures: Mapping[str, Any]

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended it before everything was measured."""
        return bool(self.figures["interrupted"])

    def to_json(self) -> dict[str, Any]:
        """The document that ``--json`` prints."""
        return {**self.figures, "files": [self.folder / name for name in FILES]}


def bench(
    spec: EvaluationSpec | None = None,
    *,
    configs: Sequence[str | Path] | Mapping[Path, Document] = (),
    uniform: Words = UNIFORM,
    runtimes: Words | None = None,
    baselines: Words | None = None,
    batches: str | Sequence[int] = BATCHES,
    budget: str | float = BUDGET,
    folder: str | Path | None = None,
    force: bool = False,
    tested: bool = False,
    progress: Reporter | ProgressCallback | None = None,
) -> Benchmark:
    """Times a model as float32, bfloat16, dynamic INT8 and in configurations, in every installed runtime.

    Args:
        spec: Model and quantization; None for what the first configuration was found under, or the defaults.
        configs: Files of configurations, or their documents by file.
        uniform: Configurations of the same formats in every encoder: a text such as ``W8A8T8,W4A8T8``,
            ``none``, or a list.
        runtimes: Those that take part; None for all that are installed.
        baselines: Models of timm to compare with, or ``none``; None for the usual ones, and for none where
            images are small.
        batches: Images of a batch.
        budget: Time for timing, such as ``10m``, or in seconds; iterations shrink to fit.
        folder: Where ``bench.csv``, ``bench.md`` and ``bench.png`` go; None for a new one in ``runs``.
        force: Whether an earlier benchmark in that folder may be overwritten.
        tested: Whether the test images are classified as well, and published figures told beside.
        progress: Is told of the steps.

    Returns:
        What was measured, the first Ctrl-C ending it early.

    Raises:
        UserError: The model, a configuration, a runtime or the folder cannot be used.
        KeyboardInterrupt: Ctrl-C came before anything was measured.
    """
    from bitfront.evaluators.latency.bench.suite import load_benched
    from bitfront.search.reports.plots.bench import draw_bench

    reporter = reporter_of(progress)
    if not isinstance(configs, Mapping):
        configs = {path: read_config_document(path) for path in map(Path, configs)}
    spec = bench_spec(configs) if spec is None else spec
    options = BenchOptions.of(spec.scheme, uniform, runtimes, baselines, batches, budget)
    named = _named_configs(configs, spec, options)
    found = [config.formats() for config in named.values()]
    found += [Choices(*((value,) for value in triple)) for triple in options.uniform.values()]
    # Nothing is classified; everything is timed on one thread of the CPU.
    spec = at_formats(spec, found or [Choices.alike((8,))])
    spec = dataclasses.replace(spec, device="cpu", batch_size=1, threads=1)
    place = RunStore(runs_root()).made() / default_name(spec.model) if folder is None else Path(folder)
    _check_folder(place, force)
    with reporter.stage(preparing(spec)) as share_done:
        model = load_benched(spec, share_done)
    entries = _entries(model, options, named)
    qualities = _tested(model, entries, reporter) if tested else {}
    with tempfile.TemporaryDirectory() as scratch, InterruptGuard() as guard:
        suite = _suite(options, model, entries, Path(scratch), reporter)
        counters, uncounted = _energy_counters()
        rows = _measure(options, suite.candidates, guard, reporter, counters)
    if not rows:
        raise KeyboardInterrupt
    notes = [
        *options.notes,
        *suite.notes,
        *uncounted,
        *([RANDOM_WEIGHTS] if model.weights == "random" else []),
    ]
    figures = bench_document(spec, model.weights, rows, findings(rows), notes, guard.requested, qualities)
    write_atomically(place / CSV, csv_text(figures))
    write_atomically(place / MARKDOWN, markdown(figures))
    draw_bench(figures, place / PICTURE)
    return Benchmark(place, figures)


def _tested(model: BenchedModel, entries: Sequence[NamedConfig], reporter: Reporter) -> dict[str, Quality]:
    """Qualities on the test images, by variant.

    Raises:
        UserError: The weights are random.
    """
    from bitfront.evaluators.latency.bench.quality import tested_qualities
    from bitfront.evaluators.latency.bench.torch_entries import computes_bfloat16

    if model.context is None:
        raise UserError("--tested needs weights, and these are random: give --checkpoint or --pretrained")
    images = count_of(len(model.context.splits.test), "test image")
    with reporter.stage(f"accuracy on {images}") as share_done:
        return tested_qualities(model.context, entries, computes_bfloat16(), share_done)


def default_name(model: str) -> str:
    """The name of a new folder for a benchmark: that of the model and the time."""
    return plain_name(f"bench-{model}-{time.strftime('%Y%m%d-%H%M%S')}")


def bench_spec(
    documents: Mapping[Path, Document],
    otherwise: EvaluationSpec | None = None,
    changes: Mapping[str, Any] | None = None,
) -> EvaluationSpec:
    """The spec under which the first configuration was found, where that is recorded.

    Args:
        documents: Bit config documents by file.
        otherwise: The spec for documents that do not say; None for the defaults.
        changes: Fields that take other values than when it was found.

    Raises:
        UserError: A configuration is damaged.
    """
    recorded = next((found for found in map(recorded_evaluation, documents.values()) if found), None)
    if recorded is None:
        return otherwise or EvaluationSpec(scheme=DEPLOY)
    first = BitConfig.from_json(next(iter(documents.values())))
    # Times are those of the bits: what was learned for one configuration changes none.
    recorded = {name: value for name, value in recorded.items() if name != "refinement"}
    return recorded_spec({**recorded, "scheme": first.scheme}, changes or {})


def _named_configs(
    documents: Mapping[Path, Document], spec: EvaluationSpec, options: BenchOptions
) -> dict[str, BitConfig]:
    """The configurations of files by the names of these.

    Raises:
        UserError: A configuration is for another model or scheme, or two have the same name.
    """
    found: dict[str, BitConfig] = {}
    for path, document in documents.items():
        config = BitConfig.from_json(document)
        check_same(str(path), config, spec)
        if path.stem in found or path.stem in options.uniform:
            raise UserError(f"two configurations are called {path.stem}: rename one of the files")
        found[path.stem] = config
    return found


def _entries(model: BenchedModel, options: BenchOptions, named: Mapping[str, BitConfig]) -> list[NamedConfig]:
    """The uniform configurations and those of files.

    Raises:
        UserError: A configuration does not fit the model.
    """
    from bitfront.evaluators.latency.bench.suite import NamedConfig
    from bitfront.evaluators.latency.timed_runtime import Subject

    subject = Subject(model.prepared, model.module)
    entries = [NamedConfig(name, subject.uniform(bits), bits) for name, bits in options.uniform.items()]
    for name, config in named.items():
        model.prepared.check(config)
        entries.append(NamedConfig(name, config))
    return entries


def _suite(
    options: BenchOptions,
    model: BenchedModel,
    entries: Sequence[NamedConfig],
    folder: Path,
    reporter: Reporter,
) -> Suite:
    """Writes everyone's files into a folder."""
    from bitfront.evaluators.latency.bench.suite import make_suite
    from bitfront.evaluators.latency.bench.torch_entries import computes_bfloat16

    notes, side, baselines = [], min(model.shape[1:]), options.baselines
    if baselines is None and side < LEAST_SIDE:
        baselines = ()
        notes.append(f"baselines are left out: images of {side} pixels are too small for them")
    elif baselines is None:
        baselines = tuple(BASELINES.split(","))
    if not (bfloat16 := computes_bfloat16()):
        notes.append(NO_BFLOAT16)
    with reporter.stage("writing the candidates' files") as share_done:
        found = make_suite(model, entries, options.runtimes, baselines, bfloat16, folder, share_done)
    return dataclasses.replace(found, notes=(*notes, *found.notes))


def _energy_counters() -> tuple[EnergyCounters | None, list[str]]:
    """The processor's counters of energy, or why there are none."""
    from bitfront.evaluators.latency.bench.rapl import EnergyCounters

    try:
        return EnergyCounters.found(), []
    except BitfrontError as error:
        return None, [f"joules per image are not known: {error}"]


def _measure(
    options: BenchOptions,
    candidates: Sequence[Candidate],
    guard: InterruptGuard,
    reporter: Reporter,
    counters: EnergyCounters | None = None,
) -> list[Measured]:
    """Every batch by itself; the budget is shared so that about as many iterations fall to each."""
    from bitfront.evaluators.latency.bench.measuring import measure_memory, measure_times
    from bitfront.evaluators.latency.timed_runtime import TimingProtocol

    def stopped() -> bool:
        return guard.requested

    rows: list[Measured] = []
    left, count = options.budget_s, len(candidates)
    for place, batch in enumerate(options.batches):
        with reporter.stage(f"peak memory of {count_of(count, 'candidate')}, batch {batch}") as share_done:
            memory = measure_memory(candidates, batch, share_done, stopped)
        started = time.monotonic()
        protocol = TimingProtocol(budget_seconds=left * batch / sum(options.batches[place:]))
        with reporter.stage(f"timing {count_of(count, 'candidate')} in turn, batch {batch}") as share_done:
            rows += measure_times(candidates, batch, memory, protocol, share_done, stopped, counters)
        left = max(1.0, left - (time.monotonic() - started))
    return rows


def _check_folder(folder: Path, force: bool) -> None:
    """Makes the folder that results go to, so that no minutes are lost over one that cannot be."""
    there = [file for file in FILES if (folder / file).exists()]
    if there and not force:
        raise UserError(
            f"--output {folder} has a {there[0]}: choose another folder, or overwrite it with --force"
        )
    check_writable(folder / CSV, make_folder=True)
