"""How well tables from a folder of probes predict whole models, on a quiet machine and beside a busy loop.

    python tests/benchmarks/bench_probe.py [--seconds 45] [--threads 1,2] [--batch 1,8] [--folder DIR]

Makes the folder of DeiT-Tiny for OpenVINO and ONNX Runtime, runs its program in a process of its own, first
alone, then beside a Python loop that never sleeps, and makes tables of what it wrote. Sums of each table are
compared with the two mixed models that it was not fitted to, as they were timed in the same rounds, and (last
column) with the same models of the quiet run. An earlier folder is gone on with.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.latency.probes.fitting import FittedTable, fitted_tables
from bitfront.evaluators.latency.probes.timings import read_timings
from bitfront.search.session.latency_probe import write_probe

MODEL = "deit_tiny_patch16_224"
STATES = ("quiet", "busy")
SHAPE = "197x192h3m768"


@contextmanager
def beside(state: str) -> Iterator[None]:
    """A busy loop for the time of the block, or nothing."""
    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if state == "busy" else None
    try:
        yield
    finally:
        if loop is not None:
            loop.kill()
            loop.wait()


def timed(folder: Path, state: str, options: list[str]) -> list[FittedTable]:
    """The tables of one state of the machine."""
    output = folder / f"timings-{state}.json"
    words = [sys.executable, "probe.py", *options, "--output", str(output)]
    load = os.getloadavg()[0]
    started = time.monotonic()
    with beside(state):
        subprocess.run(words, cwd=folder, check=True)
    print(f"{state}: {time.monotonic() - started:.0f} s, load before it {load:.1f}", flush=True)
    return fitted_tables(read_timings(output))


def main() -> None:
    """Times, and prints a table of errors in percent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", default="45")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--batch", default="1,8")
    parser.add_argument("--folder", type=Path, default=Path("build/bench-probe"))
    args = parser.parse_args()
    if not (args.folder / "manifest.json").exists():
        written = write_probe(args.folder, EvaluationSpec(model=MODEL, scheme="deploy"))
        print(f"{written.path}: {written.size_bytes / 1e6:.1f} MB, graphs {dict(written.probes)}")
    options = ["--seconds", args.seconds, "--threads", args.threads, "--batch", args.batch]
    found = {state: timed(args.folder.resolve(), state, options) for state in STATES}
    quiet_wholes = {
        (t.table.source, t.table.threads, t.table.batch): [check.measured_ms for check in t.checks]
        for t in found["quiet"]
    }
    print(
        "\n| state | runtime | threads | batch | rounds | stopped | rounds vary | float ms | W8A8T8 ms "
        "| sums | of quiet |"
        "\n|---|---|---|---|---|---|---|---|---|---|---|"
    )
    for state, tables in found.items():
        errors = []
        for one in tables:
            table = one.table
            own = [100.0 * check.error for check in one.checks]
            errors += map(abs, own)
            load = (table.source, table.threads, table.batch)
            wholes = zip(one.checks, quiet_wholes[load], strict=True)
            against = " ".join(f"{100.0 * (check.sum_ms / whole - 1.0):+.0f}" for check, whole in wholes)
            wide = table.rest.milliseconds + 12 * table.encoders[SHAPE, (8, 8, 8)].milliseconds
            print(
                f"| {state} | {table.source.partition(':')[2]} | {table.threads} | {table.batch} "
                f"| {one.rounds} | {one.stopped:.0%} | {one.variation:.0%} "
                f"| {table.float_model.milliseconds:.2f} | {wide:.2f} "
                f"| {' '.join(f'{error:+.1f}' for error in own)} | {against} |"
            )
        print(f"{state}: median {statistics.median(errors):.1f} %, worst {max(errors):.1f} %\n", flush=True)


if __name__ == "__main__":
    main()
