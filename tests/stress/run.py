"""Faults put to bitfront on purpose: `make stress`, or `python tests/stress/run.py --help`.

Each harness has a seed and a count, and ends with a line of the table in docs/stress.md.
"""

from __future__ import annotations

import argparse
import collections
import errno
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "references"), str(HERE.parent / "layouts")]
os.environ.setdefault("OMP_NUM_THREADS", "1")

from subject import Subject  # noqa: E402
from table import Line, put_into  # noqa: E402
from watched import Outcome, in_children, in_one_child  # noqa: E402


def altered(subject: Subject, tries: int, seed: int, only: int | None, work: Path) -> Line:
    """Alters the files of a subject, has them read, and prints what went wrong."""
    template, scratch = work / "template", work / "scratch"
    template.mkdir(parents=True)
    scratch.mkdir()
    begun = time.perf_counter()
    in_one_child(lambda: subject.make(template))
    count = max(1, round(tries * subject.share))
    numbers = range(count) if only is None else range(only, only + 1)
    begin = lambda: subject.begin(template, scratch, seed)  # noqa: E731
    found = list(in_children(numbers, begin, scratch, subject.bounds))
    bad = [outcome for outcome in found if not outcome.survived]
    line = Line(
        f"altered: {subject.name}",
        len(found),
        len(found) - len(bad),
        refused=sum(outcome.kind == "refused" for outcome in found),
        wrong=sum(outcome.kind == "differs" for outcome in bad),
        longest=max(outcome.seconds for outcome in found),
        seconds=time.perf_counter() - begun,
    )
    print(line.text(), flush=True)
    alike: dict[tuple[str, str], list[Outcome]] = collections.defaultdict(list)
    for outcome in bad:
        alike[outcome.kind, outcome.detail.split(" at ")[-1][:150]].append(outcome)
    for (kind, _), several in alike.items():
        first = several[0]
        print(f"    {len(several)} x {kind}, first --number {first.number}: {first.detail}", flush=True)
    return line


def hurt(given: argparse.Namespace, work: Path) -> Iterator[Line]:
    """Kills and interrupts searches, and takes their disk away; prints what went wrong."""
    from interruptions import SIGNALS, Interruptions

    searches = Interruptions(work, given.evaluations, given.seed)
    counts = {name: given.kills if name == "SIGKILL" else given.signals for name in SIGNALS}
    makers = [
        *(lambda name=name: searches.signalled(name, counts[name]) for name in SIGNALS if counts[name]),
        *(
            lambda number=number: searches.cannot_write(number, given.writes)
            for number in (errno.ENOSPC, errno.EROFS)
            if given.writes
        ),
        *([lambda: searches.small_disk(given.disks)] if given.disks else []),
        *([lambda: searches.at_once(given.pairs)] if given.pairs else []),
    ]
    for make in makers:
        line = make()
        if line is not None:
            print(line.text(), flush=True)
            yield line
        for note in searches.notes:
            print(f"    {note}", flush=True)
        searches.notes.clear()


def main() -> int:
    """Runs the harnesses; 1 where something did not survive."""
    from registry import SUBJECTS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tries", type=int, default=100, help="of each kind of file (default: 100)")
    parser.add_argument("--only", default="", help="kinds of files whose name has one of these, by commas")
    parser.add_argument("--number", type=int, help="one try of a kind of file alone, by its number")
    parser.add_argument("--kills", type=int, default=20, help="of a search (default: 20)")
    parser.add_argument("--signals", type=int, default=3, help="of each other kind (default: 3)")
    parser.add_argument("--writes", type=int, default=10, help="that fail, of each kind (default: 10)")
    parser.add_argument("--disks", type=int, default=5, help="that are full (default: 5)")
    parser.add_argument("--pairs", type=int, default=3, help="of processes on one run (default: 3)")
    parser.add_argument("--evaluations", type=int, default=8, help="of each search (default: 8)")
    parser.add_argument("--files", action="store_true", help="files alone")
    parser.add_argument("--searches", action="store_true", help="searches alone")
    parser.add_argument("--table", type=Path, help="a page whose table is replaced")
    parser.add_argument("--work", type=Path, help="a folder to work in (default: a temporary one)")
    given = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="stress-", dir=given.work))
    os.environ["BITFRONT_CACHE"] = str(work / "cache")
    lines: list[Line] = []

    def found() -> Iterator[Line]:
        for place, subject in enumerate(SUBJECTS):
            if not given.searches and any(part in subject.name for part in given.only.split(",")):
                yield altered(subject, given.tries, given.seed, given.number, work / str(place))
        if not given.files and not given.only:
            yield from hurt(given, work / "searches")

    try:
        for line in found():
            lines.append(line)
            if given.table is not None:
                put_into(given.table, [line])
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 0 if all(line.survived == line.tries and not line.lost and not line.wrong for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
