"""Samplers at equal evaluations: against the true front of a small space, and on a real model.

python tests/benchmarks/bench_samplers.py
python tests/benchmarks/bench_samplers.py --checkpoint deit_tiny.pth --data labels.csv

Without a checkpoint: all 2^12 configurations of space `encoder` of the digits model are evaluated, then each
sampler searches with 10 seeds; hypervolumes are shares of the true front's. The recipe is FQ-ViT's own, whose
4-bit encoders cost accuracy: with the best recipe one point is nearly all of the front. With a checkpoint:
DeiT-Tiny in space `encoder-kind`, 600 evaluations, against the front of all searches together.

What follows `--` goes to `bitfront compare-samplers`, such as `-- --workers 2 --resume NAME`.
"""

from __future__ import annotations

import argparse
import sys

from bitfront.search.cli.main import main as bitfront

DIGITS = ("--space", "encoder", "--recipe", "fq-vit", "--truth", "--evaluations", "400")
DEIT = ("--model", "deit_tiny_patch16_224", "--space", "encoder-kind", "--evaluations", "600")
SAMPLERS = "surrogate-nsga2,nsga2,random,optuna-tpe,optuna-nsga2"


def main() -> int:
    parser = argparse.ArgumentParser(description="Samplers at equal evaluations")
    parser.add_argument("--checkpoint", help="weights of deit_tiny_patch16_224")
    parser.add_argument("--data", help="its images")
    parser.add_argument("--samplers", default=SAMPLERS)
    parser.add_argument("--seeds", default="10")
    parser.add_argument("rest", nargs="*", help="options of bitfront compare-samplers, after --")
    options = parser.parse_args()
    if (options.checkpoint is None) != (options.data is None):
        parser.error("give both --checkpoint and --data, or neither")
    shared = ("--samplers", options.samplers, "--seeds", options.seeds)
    if "--resume" in options.rest:
        return bitfront(["compare-samplers", *shared, *options.rest])
    # Modelled, so that the latencies are the same everywhere.
    shared = (*shared, "--latency", "model:bops")
    if options.checkpoint is None:
        return bitfront(["compare-samplers", *DIGITS, *shared, *options.rest])
    deit = (*DEIT, "--checkpoint", options.checkpoint, "--data", options.data)
    return bitfront(["compare-samplers", *deit, *shared, *options.rest])


if __name__ == "__main__":
    sys.exit(main())
