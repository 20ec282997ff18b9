"""Makes the report of a study of 5,000 trials; measures its size and how soon a browser can use it.

python tests/benchmarks/bench_report.py [--trials 5000] [--repeats 5] [--keep FILE.html]

Needs the extra ``report``, playwright, and Chromium as Debian packages it. Evaluations are a formula (see
tests/references/synthetic_search.py). *Interactive* is the time from the start of navigation until all charts
are drawn and every control answers, as the page itself notes it; *change* that from a change of a limit
until all charts are drawn again.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "references"))

import synthetic_search
from report_browser import browser_page

from bitfront.search.estimation.estimates import judging_archive
from bitfront.search.problem.spec import RunSpec
from bitfront.search.reports.interactive.page import write_report
from bitfront.search.runs.folder import RunStore, write_space
from bitfront.search.runs.reader import RecordedRun
from bitfront.search.runs.tables import RunTables

CHANGE = """async () => {
  const page = window.bitfrontReport, values = page.front.rows.map((row) => page.run.values.size[row]);
  const start = performance.now();
  await page.change({ limits: { size: values.sort()[Math.floor(values.length / 2)] } });
  return performance.now() - start;
}"""


def make_study(root: Path, name: str, trials: int) -> RecordedRun:
    """A run whose trials are random genomes, those of the front changed a little, and so on."""
    folder, space = RunStore(root).create(name), synthetic_search.space()
    spec = RunSpec(seed=0, evaluations=trials)
    problem, rng = synthetic_search.problem(spec, space), np.random.default_rng(0)
    found, seen, parents = [], set(), []
    while len(found) < trials:
        if parents and rng.random() < 0.8:
            genome = np.array(parents[rng.integers(len(parents))])
            genome = np.where(rng.random(len(genome)) < 0.05, 1 - genome, genome)
        else:
            genome = (rng.random(len(space)) < rng.random()).astype(np.int64)
        candidate = problem.prepare(genome)
        if candidate.digest in seen:
            continue
        seen.add(candidate.digest)
        outcome = synthetic_search.score(candidate.config)
        found.append(problem.trial(len(found), candidate, outcome, float(len(found))))
        if len(found) % 1000 == 0:
            parents = [trial.genome for trial in judging_archive(problem, found).front]
    archive = judging_archive(problem, found)
    RunTables(folder, problem).write(archive.trials, archive.front)
    folder.write_spec(spec)
    folder.write_json("references.json", synthetic_search.references(space).to_json())
    steps = np.unique(np.linspace(1, trials, 500).astype(int)).tolist()
    history = [
        (step, problem.box.share(archive.front_points_of(step))) for step in steps[:: len(steps) // 25]
    ]
    folder.write_json("summary.json", {"evaluations": trials, "hypervolume_history": history})
    write_space(folder.path, space)
    return RecordedRun.read(root, name)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="where the report is kept")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        run = make_study(Path(scratch), "study", given.trials)
        start = time.perf_counter()
        path = write_report([run], given.keep or Path(scratch) / "report.html")
        made = time.perf_counter() - start
        ready, changes = list[float](), list[float]()
        with browser_page() as page:
            for _ in range(given.repeats):
                page.goto(path.as_uri())
                page.wait_for_selector("html[data-ready]", timeout=600_000)
                ready.append(float(page.get_attribute("html", "data-ready")))
                changes.append(page.evaluate(CHANGE))
        size = path.stat().st_size / 1e6
    print(f"{len(run.trials)} trials, {len(run.front)} on the front: {size:.2f} MB, made in {made:.1f} s")
    print(f"interactive after {statistics.median(ready):.0f} ms ({min(ready):.0f} to {max(ready):.0f})")
    print(
        f"a limit changed in {statistics.median(changes):.0f} ms ({min(changes):.0f} to {max(changes):.0f})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
