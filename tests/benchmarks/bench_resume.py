"""Kills a search at random moments, resumes it, and compares its front with that of an uninterrupted run.

python tests/benchmarks/bench_resume.py [--moments 20] [--evaluations 40] [--workers 2] [--seed 0] [OPTION]...

Further options go to ``bitfront search``, such as --model and --data. Moments are drawn evenly over the time
that the uninterrupted run takes, so that some fall into the preparation and some into the measurement of the
front. Columns of latency are left out of the comparison: a front that is measured again has other times.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SEARCH = [sys.executable, "-m", "bitfront.search.cli", "search"]
LATENCY = ("latency_ms", "latency_measured_ms")


def start(root: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [*SEARCH, "--runs-dir", str(root), *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def front(folder: Path) -> list[dict[str, str]]:
    """The front, without what is measured each time."""
    with (folder / "front.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in LATENCY} for row in csv.DictReader(file)]


def recorded(folder: Path) -> int:
    """Evaluations in the table of trials."""
    path = folder / "trials.csv"
    if not path.exists():
        return 0
    with path.open(newline="") as file:
        return sum(row["state"] not in ("rejected", "") for row in csv.DictReader(file))


def killed(root: Path, name: str, moment_s: float, options: list[str]) -> tuple[int, str]:
    """Runs a search until a moment, kills it, and resumes it; evaluations by then, and how it began again."""
    process = start(root, "--run", name, *options)
    try:
        process.wait(moment_s)
        how = "had ended"
    except subprocess.TimeoutExpired:
        process.kill()
        how = "resumed"
    process.wait()
    done = recorded(root / name)
    if how == "resumed":
        again = start(root, "--resume", name)
        if again.wait() != 0 and not (root / name / "space.json").exists():
            # It was killed before the search proper, when there is nothing to resume yet.
            shutil.rmtree(root / name, ignore_errors=True)
            again, how = start(root, "--run", name, *options), "begun again"
        if again.wait() != 0:
            how = "FAILED"
    return done, how


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--evaluations", type=int, default=40)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given, others = parser.parse_known_args()
    options = ["--evaluations", str(given.evaluations), "--workers", str(given.workers), *others]
    rng = np.random.default_rng(given.seed)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        started = time.monotonic()
        if start(root, "--run", "whole", *options).wait() != 0:
            print("the uninterrupted search failed", file=sys.stderr)
            return 1
        whole_s = time.monotonic() - started
        expected = front(root / "whole")
        print(f"uninterrupted: {whole_s:.1f} s, {len(expected)} points on the front")
        print(f"{'killed after':>12}  {'evaluations':>11}  {'then':<10}  same front")
        same = 0
        for number, moment_s in enumerate(rng.uniform(0.0, whole_s, given.moments)):
            name = f"cut{number}"
            done, how = killed(root, name, float(moment_s), options)
            equal = how != "FAILED" and front(root / name) == expected
            same += equal
            print(f"{moment_s:10.1f} s  {done:11d}  {how:<10}  {'yes' if equal else 'NO'}", flush=True)
        print(f"{same} of {given.moments} ended in the front of the uninterrupted run")
    return 0 if same == given.moments else 1


if __name__ == "__main__":
    sys.exit(main())
