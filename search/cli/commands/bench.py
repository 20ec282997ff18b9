"""``bitfront bench``: how long a model takes in every precision and runtime of this machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from bitfront.search.cli.options.common import INTERRUPTED, add_runs_dir, option
from bitfront.search.cli.options.groups import add_model_options, add_quantization_options, add_seed_option
from bitfront.search.session.bench_options import BASELINES, BATCHES, BUDGET, RUNTIMES, UNIFORM
from bitfront.spaces.schemes import DEPLOY

SUMMARY = "time a model in all precisions and runtimes"
DETAIL = """\
Times a model as float32, bfloat16, torch's dynamic INT8 and in configurations, in every installed runtime,
beside convolutional networks in float32 and INT8; all in turn, in short bursts and random order, on one
thread: 50 warm-up and 5 times 100 timed iterations, or as many as the budget allows. Peak memory is that of
a fresh process for each. Writes bench.csv, bench.md and bench.png.

  bitfront bench
  bitfront bench --model deit_tiny_patch16_224 --checkpoint F --data D --config runs/NAME/exports/*.json
  bitfront bench --model F --data cifar10 --tested --config runs/NAME/exports/*.json --baselines none
  bitfront bench --model deit_small_patch16_224 --budget 20m --baselines none

Times depend on shapes and precisions, not on weights: a model without --checkpoint or --pretrained gets
random weights, and is then prepared without data.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    add_model_options(parser, checked=False)
    add_quantization_options(parser)
    group = parser.add_argument_group("candidates")
    uniform = "configurations of the same widths in every encoder, or none"
    option(group, "--uniform LIST", uniform, default=UNIFORM)
    configs = "bit configs, or models that carry one, written by `bitfront export`"
    option(group, "--config FILE", configs, Path, [], nargs="+")
    installed = f"out of {', '.join(RUNTIMES)} (default: all that are installed)"
    option(group, "--runtimes LIST", installed)
    baselines = "models of timm to compare with, or none (default: %(default)s; none for small images)"
    option(group, "--baselines LIST", baselines, default=BASELINES)
    group = parser.add_argument_group("measuring")
    option(group, "--batches LIST", "images of a batch", default=BATCHES)
    budget = "time for timing, such as 90s, 10m or 1h30m; iterations shrink to fit"
    option(group, "--budget TIME", budget, default=BUDGET)
    tested = "classify the test images as well, and say what VQ-ViT published beside"
    option(group, "--tested", tested)
    add_seed_option(group)
    group = parser.add_argument_group("files")
    folder = "folder for the table and the picture (default: bench-MODEL-TIME in the folder of the runs)"
    option(group, "--output FOLDER", folder, Path)
    option(group, "--force", "overwrite an earlier bench in that folder")
    add_runs_dir(parser)
    # Nothing is classified; everything is timed on one thread of the CPU.
    parser.set_defaults(scheme=DEPLOY, device="cpu", batch_size=1, threads=1)


def run(args: argparse.Namespace) -> int:
    """Benchmarks and prints what was found."""
    from bitfront.search.cli.options.specs import evaluation_spec, spec_changes
    from bitfront.search.reports.bench import print_bench
    from bitfront.search.reports.console import print_json
    from bitfront.search.reports.progress import stderr_reporter
    from bitfront.search.runs.folder import RunStore
    from bitfront.search.session.bench import bench, bench_spec, default_name
    from bitfront.search.session.specs import read_config_document

    documents = {path: read_config_document(path) for path in args.config}
    spec = bench_spec(documents, evaluation_spec(args, ()), spec_changes(args))
    found = bench(
        spec,
        configs=documents,
        uniform=args.uniform,
        runtimes=args.runtimes,
        baselines=args.baselines if "baselines" in args.given else None,
        batches=args.batches,
        budget=args.budget,
        folder=args.output or RunStore(args.runs_dir).made() / default_name(spec.model),
        force=args.force,
        tested=args.tested,
        progress=stderr_reporter(),
    )
    if args.json:
        print_json(found.to_json())
    else:
        print_bench(found.figures, found.folder)
    return INTERRUPTED if found.interrupted else 0
