"""``bitfront bench``: writes candidates to files, measures them side by side and writes what was found."""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.files import check_writable, write_atomically
from bitfront.search.engine.stopping import InterruptGuard
from bitfront.search.reports.bench import bench_document, csv_text, print_bench
from bitfront.search.reports.bench_findings import findings
from bitfront.search.session.bench_setup import BenchOptions, bench_entries, bench_spec, bench_suite
from bitfront.search.session.inputs import preparing
from bitfront.search.session.specs import read_config_document
from bitfront.spaces import UserError

if TYPE_CHECKING:
    from bitfront.evaluators.latency.bench.entry import Candidate
    from bitfront.evaluators.latency.bench.measuring import Measured


CSV, MARKDOWN, PICTURE = FILES = ("bench.csv", "bench.md", "bench.png")
INTERRUPTED = 130
RANDOM_WEIGHTS = (
    "weights are random and rounded to nearest: times hold for any weights, but the recipe's factors of "
    "weight groups are missing from files of 4-bit weights"
)


def run_bench(args: argparse.Namespace) -> int:
    """Measures, prints and writes; returns the exit status.

    Raises:
        UserError: The model, a configuration, a runtime or the folder cannot be used.
    """
    from bitfront.evaluators.latency.bench.suite import load_benched
    from bitfront.search.reports.console import print_json, stderr_console
    from bitfront.search.reports.progress import stage

    options = BenchOptions.of(args)
    documents = {path: read_config_document(path) for path in options.configs}
    spec = bench_spec(args, options, documents)
    folder = _output_folder(args, spec.model)
    console = stderr_console()
    with stage(console, preparing(spec)) as share_done:
        model = load_benched(spec, share_done)
    entries = bench_entries(model, options, documents)
    with tempfile.TemporaryDirectory() as place, InterruptGuard() as guard:
        with stage(console, "writing the candidates' files") as share_done:
            found = bench_suite(args, options, model, entries, Path(place), share_done)
        rows = _measure(options, found.candidates, guard)
    if not rows:
        raise KeyboardInterrupt
    notes = [*options.notes, *found.notes, *([RANDOM_WEIGHTS] if model.weights == "random" else [])]
    document = bench_document(spec, model.weights, rows, findings(rows), notes, guard.requested)
    _write(folder, document)
    if args.json:
        print_json({**document, "files": [folder / name for name in FILES]})
    else:
        print_bench(document, folder)
    return INTERRUPTED if guard.requested else 0


def _measure(options: BenchOptions, candidates: Sequence[Candidate], guard: InterruptGuard) -> list[Measured]:
    """Every batch by itself; the budget is shared so that about as many iterations fall to each."""
    from bitfront.evaluators.latency.bench.measuring import measure_memory, measure_times
    from bitfront.evaluators.latency.timing import TimingProtocol
    from bitfront.search.reports.console import stderr_console
    from bitfront.search.reports.progress import stage

    console, count = stderr_console(), len(candidates)

    def stopped() -> bool:
        return guard.requested

    rows: list[Measured] = []
    left = options.budget_s
    for place, batch in enumerate(options.batches):
        with stage(console, f"peak memory of {count} candidates, batch {batch}") as share_done:
            memory = measure_memory(candidates, batch, share_done, stopped)
        started = time.monotonic()
        protocol = TimingProtocol(budget_seconds=left * batch / sum(options.batches[place:]))
        with stage(console, f"timing {count} candidates in turn, batch {batch}") as share_done:
            rows += measure_times(candidates, batch, memory, protocol, share_done, stopped)
        left = max(1.0, left - (time.monotonic() - started))
    return rows


def _write(folder: Path, document: dict[str, Any]) -> None:
    from bitfront.search.reports.bench import markdown
    from bitfront.search.reports.plots.bench import draw_bench

    write_atomically(folder / CSV, csv_text(document))
    write_atomically(folder / MARKDOWN, markdown(document))
    draw_bench(document, folder / PICTURE)


def _output_folder(args: argparse.Namespace, model: str) -> Path:
    """The folder that results go to, made now, so that no minutes are lost over one that cannot be."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", f"bench-{model}-{time.strftime('%Y%m%d-%H%M%S')}")
    folder: Path = args.output or args.runs_dir / name
    there = [file for file in FILES if (folder / file).exists()]
    if there and not args.force:
        raise UserError(
            f"--output {folder} has a {there[0]}: choose another folder, or overwrite it with --force"
        )
    check_writable(folder / CSV, make_folder=True)
    return folder
