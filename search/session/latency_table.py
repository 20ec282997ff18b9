"""``bitfront latency-table``: measures a table, checks its sums against whole models and writes it."""

from __future__ import annotations

import argparse
import re
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bitfront.evaluators.files import write_atomically
from bitfront.search.cli.options.specs import evaluation_spec, written_options
from bitfront.search.reports.latency_table import CheckedModel, print_table, table_document
from bitfront.spaces import BitConfig, SearchSpace, UserError, parse_bits

if TYPE_CHECKING:
    from bitfront.evaluators.context.spec import EvaluationSpec
    from bitfront.evaluators.latency.source import LatencySource
    from bitfront.evaluators.latency.timed_runtime import Subject


# Random configurations whose times are compared with the table's sums, and what draws them.
MIXED, SEED = 4, 0
_OF_MEASURING = ("latency", "seconds", "device")


def run_latency_table(args: argparse.Namespace) -> int:
    """Writes a table and returns the exit status.

    Raises:
        UserError: The model, the runtime or the file cannot be used.
    """
    spec = evaluation_spec(args, parse_bits(args.bits))
    return _write_template(args, spec) if args.template is not None else _measure(args, spec)


def _write_template(args: argparse.Namespace, spec: EvaluationSpec) -> int:
    from bitfront.evaluators.latency.stand_in import load_shapes
    from bitfront.evaluators.latency.table_file import template_csv
    from bitfront.search.cli.options.common import check_output
    from bitfront.search.reports.console import hint, print_json, stdout_console

    idle = [name for name in _OF_MEASURING if name in args.given]
    if idle:
        raise UserError(f"--{idle[0]} cannot be given with --template: nothing is measured")
    check_output(args.template, args.force, "--template")
    _, blueprint = load_shapes(spec)
    text = template_csv(blueprint, spec.widths, args.latency_batch, spec.scheme)
    write_atomically(args.template, text)
    rows = text.count("\n") - 1
    if args.json:
        print_json({"path": args.template, "rows": rows, "scheme": spec.scheme, "batch": args.latency_batch})
        return 0
    stdout_console().print(
        f"{args.template}: {rows} rows without milliseconds, for batches of {args.latency_batch}; fill them "
        "in, and source and machine in words",
        soft_wrap=True,
    )
    hint(_search_command(args, args.template))
    return 0


def _measure(args: argparse.Namespace, spec: EvaluationSpec) -> int:
    from bitfront.evaluators.latency.measured import measure_with_models
    from bitfront.evaluators.latency.source import latency_source
    from bitfront.evaluators.latency.stand_in import stand_in
    from bitfront.evaluators.latency.table_file import table_csv
    from bitfront.evaluators.latency.timing import TimingProtocol
    from bitfront.search.cli.options.common import check_output
    from bitfront.search.reports.console import hint, print_json, stderr_console
    from bitfront.search.reports.progress import stage

    source = latency_source(args.latency, spec.scheme)
    if not source.measured:
        raise UserError(f"--latency {args.latency} measures nothing: give measured:torch, or another runtime")
    path = args.output or _default_output(spec, source, args.latency_batch)
    check_output(path, args.force)
    console = stderr_console()
    with stage(console, f"preparing {spec.model} ({spec.scheme}) for timing") as share_done:
        subject = stand_in(spec, source.timer.needs_codes, share_done)
    configs = _configurations(spec, subject)
    started = time.monotonic()
    batch, protocol = args.latency_batch, TimingProtocol(budget_seconds=args.seconds)
    doing = f"timing encoders and {len(configs) + 1} whole models ({source.timer.source}), batch {batch}"
    with stage(console, doing) as share_done:
        table, entries = measure_with_models(
            source.timer, subject, list(configs.values()), batch, protocol, share_done
        )
    checks = [
        CheckedModel.of(name, config, entry, table, subject.prepared.blueprint)
        for (name, config), entry in zip(configs.items(), entries, strict=True)
    ]
    write_atomically(path, table_csv(table))
    document = table_document(spec, subject.prepared.blueprint, table, checks)
    if args.json:
        print_json({"path": path, **document, "seconds": round(time.monotonic() - started, 3)})
        return 0
    print_table(document, path)
    hint(_search_command(args, path))
    return 0


def _default_output(spec: EvaluationSpec, source: LatencySource, batch: int) -> Path:
    runtime = source.timer.source.partition(":")[2]
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", f"latency-{spec.model}-{spec.scheme}-{runtime}-b{batch}")
    return Path(f"{name}.csv")


def _configurations(spec: EvaluationSpec, subject: Subject) -> dict[str, BitConfig]:
    """Configurations to compare the table's sums with: uniform ones, and mixed ones drawn at random.

    The first one is that at which the table is filled up.
    """
    from bitfront.evaluators.latency.stand_in import encoder_layers_of

    widths = subject.prepared.widths
    uniform = dict.fromkeys((max(widths), min(widths)))
    found = {f"W{bits}A{bits}T{bits}": subject.uniform((bits, bits, bits)) for bits in uniform}
    if len(spec.widths) > 1:
        encoders = encoder_layers_of(subject.prepared.blueprint)
        space = SearchSpace(spec.model, spec.scheme, encoders, spec.widths)
        genomes = space.sample(np.random.default_rng(SEED), MIXED)
        found |= {f"mixed {place}": space.decode(genome) for place, genome in enumerate(genomes, start=1)}
    return found


def _search_command(args: argparse.Namespace, path: Path) -> str:
    bits = ["--bits", args.bits] if "bits" in args.given else []
    return shlex.join(["bitfront", "search", *written_options(args), *bits, "--latency", f"table:{path}"])
