"""Whether listed points really differ: each beside the next smaller one, on the same test images.

python tests/benchmarks/bench_neighbours.py runs/NAME
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bitfront.search import open_run
from bitfront.search.estimation.differences import paired_error


def main() -> None:
    parser = argparse.ArgumentParser(description="The shortlist of a run, in pairs, on its test images")
    parser.add_argument("run", type=Path)
    folder = parser.parse_args().run
    run = open_run(folder.name, runs_dir=folder.parent)
    listed = run.front[run.front["listed"]].sort_values("size_bytes")
    right = run.right_images("test")
    print(f"{'trial':>7} {'MB':>7} {'test %':>7} {'against the next smaller one, points':>37} {'errors':>7}")
    before = None
    for row in listed.itertuples():
        own, change = right[str(row.digest)], ""
        if before is not None:
            won, lost = int((own & ~before).sum()), int((before & ~own).sum())
            points, error = 100.0 * (won - lost) / len(own), float(paired_error(len(own), lost, won))
            change = f"{points:+30.2f} ± {error:.2f} {points / error:7.1f}"
        print(f"{row.trial:>7} {row.size_bytes / 1e6:7.3f} {100.0 * own.mean():7.2f} {change}")
        before = own


if __name__ == "__main__":
    main()
