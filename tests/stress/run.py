"""Faults put to bitfront on purpose: `make stress`, or `python tests/stress/run.py --help`.

Each harness has a seed and a count, and ends with a line of the table of docs/stress.md.
"""

from __future__ import annotations

import argparse
import collections
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "references"), str(HERE.parent / "layouts")]
os.environ.setdefault("OMP_NUM_THREADS", "1")

from subject import Subject  # noqa: E402
from table import Line  # noqa: E402
from watched import Outcome, in_children, in_one_child  # noqa: E402


def put_to(
    subject: Subject, tries: int, seed: int, only: int | None, work: Path
) -> tuple[Line, list[Outcome]]:
    """Alters the files of a subject and has them read."""
    template, scratch = work / "template", work / "scratch"
    template.mkdir(parents=True)
    scratch.mkdir()
    begun = time.perf_counter()
    in_one_child(lambda: subject.make(template))
    count = max(1, round(tries * subject.share))
    numbers = range(count) if only is None else range(only, only + 1)
    found = list(
        in_children(numbers, lambda: subject.begin(template, scratch, seed), scratch, subject.bounds)
    )
    bad = [outcome for outcome in found if not outcome.survived]
    wrong = sum(outcome.kind == "differs" for outcome in bad)
    line = Line(
        f"altered: {subject.name}",
        len(found),
        len(found) - len(bad),
        refused=sum(outcome.kind == "refused" for outcome in found),
        wrong=wrong,
        longest=max(outcome.seconds for outcome in found),
        seconds=time.perf_counter() - begun,
    )
    return line, bad


def main() -> int:
    from registry import SUBJECTS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=300, help="of each kind of file (default: 300)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", default="", help="kinds of files whose name has one of these in it, with commas between"
    )
    parser.add_argument("--number", type=int, help="one try alone, by its number")
    parser.add_argument("--work", type=Path, help="a folder to work in (default: a temporary one)")
    given = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="stress-", dir=given.work))
    os.environ["BITFRONT_CACHE"] = str(work / "cache")
    failed = 0
    try:
        for place, subject in enumerate(SUBJECTS):
            if not any(part in subject.name for part in given.only.split(",")):
                continue
            line, bad = put_to(subject, given.tries, given.seed, given.number, work / str(place))
            print(line.text(), flush=True)
            failed += len(bad)
            alike = collections.Counter((o.kind, o.detail.split(" at ")[-1][:150]) for o in bad)
            for (kind, detail), count in alike.most_common():
                first = next(o for o in bad if (o.kind, o.detail.split(" at ")[-1][:150]) == (kind, detail))
                print(f"    {count} x {kind}, first --number {first.number}: {first.detail}", flush=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
