"""Time that samplers take to propose: seconds for a batch at 1,000 recorded trials, for 36, 96 and 288 genes.

OMP_NUM_THREADS=1 python tests/benchmarks/bench_proposals.py
python tests/benchmarks/bench_proposals.py --samplers surrogate-nsga2 --genes 36

Evaluations are a formula (tests/references/synthetic_search.py). A time is processor time, which a busy
machine does not lengthen, of asking and telling: the median of the last ten batches before the trials are
reached. A sampler that does not get that far within the budget is reported where it stands. The baseline is
nsga2, which proposes a whole generation at a time.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from bitfront.search.problem.problem import SearchProblem
from bitfront.search.problem.trial import Trial
from bitfront.search.samplers.registry import SAMPLERS, make_sampler

sys.path.append(str(Path(__file__).resolve().parents[1] / "references"))
import synthetic_search as synthetic

# Genes by space and encoders: those of a ViT-B, and of a ViT-H.
SPACES = {"36": ("encoder-kind", 12), "96": ("encoder-kind", 32), "288": ("layer", 32)}
ALL = "nsga2,surrogate-nsga2,random,optuna-nsga2,optuna-tpe,optuna-gp"
BATCHES = 10
BASELINE = "nsga2"


class Proposed(NamedTuple):
    """What proposing took a sampler: seconds for a batch of candidates, after so many trials."""

    trials: int
    batch: int
    seconds: float

    @property
    def each(self) -> float:
        return self.seconds / self.batch


def main() -> None:
    parser = argparse.ArgumentParser(description="Time that samplers take to propose")
    parser.add_argument("--samplers", default=ALL)
    parser.add_argument("--genes", nargs="+", choices=SPACES, default=list(SPACES))
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--budget", type=float, default=300.0, help="seconds for each sampler and size")
    options = parser.parse_args()
    names = [name for name in options.samplers.split(",") if name in SAMPLERS]
    print("| sampler | genes | trials | batch | s/batch | ms/candidate | us/candidate and gene | x nsga2 |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for genes in options.genes:
        problem = problem_of(*SPACES[genes])
        known = dict[str, Proposed]()
        for name in names:
            known[name] = proposed(name, problem, options.trials, options.budget)
            print(line(name, int(genes), known[name], known.get(BASELINE)), flush=True)


def problem_of(granularity: str, encoders: int) -> SearchProblem:
    """The formula's problem, with a float model that grows with the encoders."""
    space = synthetic.space(granularity, encoders)
    references = synthetic.references(space)
    slower = replace(references.float_model, latency_ms=references.float_model.latency_ms * encoders / 12)
    references = replace(references, float_model=slower)
    return SearchProblem.from_spec(synthetic.at_widths_of(space), space, synthetic.Cost(), references)


def proposed(name: str, problem: SearchProblem, trials: int, budget_s: float) -> Proposed:
    """Searches until the trials are told or the time is over."""
    sampler, untold, told = make_sampler(name, problem, None, seed=0), deque[list[Trial]](), 0
    times, spent, batch = deque[float](maxlen=BATCHES), 0.0, 1
    while told < trials and spent < budget_s:
        started = time.process_time()
        genomes = sampler.ask()
        asking = time.process_time() - started
        batch = len(genomes)
        untold.append([judged(problem, told, genome) for genome in genomes])
        started = time.process_time()
        if len(untold) > sampler.lag:
            told += len(untold[0])
            sampler.tell(untold.popleft())
        times.append(asking + time.process_time() - started)
        spent += times[-1]
    return Proposed(told, batch, statistics.median(times))


def judged(problem: SearchProblem, number: int, genome: tuple[int, ...]) -> Trial:
    """What the formula says of a candidate."""
    prepared = problem.prepare(genome)
    if prepared.admissible:
        return problem.trial(number, prepared, synthetic.score(prepared.config), 0.0)
    values, violations = prepared.values, prepared.violations
    return Trial(number, prepared.digest, prepared.genome, "rejected", values, violations)


def line(name: str, genes: int, found: Proposed, baseline: Proposed | None) -> str:
    """A row of the table."""
    ratio = "" if baseline is None else f"{found.each / baseline.each:.1f}"
    figures = (
        f"{found.trials}", f"{found.batch}", f"{found.seconds:.3g}", f"{1e3 * found.each:.3g}",
        f"{1e6 * found.each / genes:.3g}", ratio,
    )  # fmt: skip
    return f"| {name} | {genes} | {' | '.join(figures)} |"


if __name__ == "__main__":
    main()
