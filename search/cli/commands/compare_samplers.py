"""``bitfront compare-samplers``: which sampler finds how much of the front in how many evaluations."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from bitfront.search.cli.options.common import INTERRUPTED, add_runs_dir, option, positive
from bitfront.search.cli.options.groups import (
    add_limit_options,
    add_machine_options,
    add_model_options,
    add_quantization_options,
    add_seed_option,
    add_space_options,
    add_stage_drop_option,
    add_worker_options,
)
from bitfront.search.runs.names import command_line
from bitfront.search.samplers.registry import COMPARED_SAMPLERS, COMPARED_SEEDS, DEFAULT_EVALUATIONS, SAMPLERS

if TYPE_CHECKING:
    from bitfront.search.session.compare_samplers import Comparison

# Fewer tell no differences of a few percent.
ENOUGH_SEEDS = 10
# Settings that a resumed comparison may change.
_CHANGEABLE = ("samplers", "seeds", "evaluations", "truth", "tested")
SUMMARY = "compare samplers on a model at equal evaluations"
DETAIL = """\
Runs several samplers with several seeds on the same problem, and prints and draws the hypervolume that each
has after equal numbers of distinct evaluations. An evaluation of a configuration is paid for once and shared
by all of them. With --truth all configurations of a small space are evaluated first, and hypervolumes are
shares of the true front's. With --tested the front that each search would have ended with is judged by the
test images, too. `bitfront compare` tells what a search is worth beside uniform and random assignments.

  bitfront compare-samplers --space encoder --latency model:bops --truth --seeds 10
  bitfront compare-samplers --samplers surrogate-nsga2,nsga2 --evaluations 200 --max-drop 1

samplers:
{samplers}

Writes comparison.md, comparison.png and curves.csv in a folder of its own beside the runs. Ctrl-C, or a kill,
loses no evaluation: --resume goes on, also with more --seeds, other --samplers or --evaluations.
""".format(samplers="\n".join(f"  {name:17}{kind.summary}" for name, kind in SAMPLERS.items()))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    add_model_options(parser)
    add_quantization_options(parser)
    add_space_options(parser)
    add_limit_options(parser)
    group = parser.add_argument_group("comparison")
    listed = ",".join(COMPARED_SAMPLERS)
    option(group, "--samplers LIST", "samplers to compare, with commas between", default=listed)
    evaluations = "distinct candidates that each search may evaluate"
    option(group, "--evaluations N", evaluations, positive, DEFAULT_EVALUATIONS)
    seeds = "searches with each sampler; differences of a few percent need 10"
    option(group, "--seeds N", seeds, positive, COMPARED_SEEDS)
    add_stage_drop_option(group)
    add_seed_option(group, "seed of the splits and of each sampler's first search")
    option(group, "--truth", "evaluate all configurations first, at most 65,536, to know the true front")
    tested = "judge fronts by the test images as well, which no search has used"
    option(group, "--tested", tested)
    group = parser.add_argument_group("folder and machine")
    add_worker_options(group)
    add_machine_options(group)
    name = group.add_mutually_exclusive_group()
    option(name, "--run NAME", "name of the comparison (default: compare-MODEL and time)")
    option(name, "--resume NAME", "go on with a comparison; needs no other option")
    add_runs_dir(parser)
    # Options of `bitfront search` that a comparison decides by itself: every sampler as it is by default, and
    # every candidate on all images.
    unused = dict.fromkeys(("population", "time_budget", "plateau", "first_images"))
    parser.set_defaults(sampler="nsga2", **unused)


def run(args: argparse.Namespace) -> int:
    """Compares, or goes on with a comparison, and prints what was found."""
    from bitfront.search.cli.options.specs import check_resumable, chosen_workers, run_spec
    from bitfront.search.reports.comparison import print_comparison
    from bitfront.search.reports.console import hint, print_json
    from bitfront.search.reports.progress import stderr_reporter
    from bitfront.search.session.compare_samplers import PICTURE, compare_samplers, resume_comparison

    workers = chosen_workers(args)
    how: Any = {"runs_dir": args.runs_dir, "workers": workers, "progress": stderr_reporter()}
    if args.resume:
        check_resumable(args, "comparison", _CHANGEABLE)
        written = {name: getattr(args, name) for name in _CHANGEABLE if name in args.given}
        found = resume_comparison(args.resume, **written, **how)
    else:
        found = compare_samplers(
            run_spec(args),
            args.samplers,
            seeds=args.seeds,
            truth=args.truth,
            tested=args.tested,
            name=args.run,
            **how,
        )
    if args.json:
        print_json(found.to_json())
    else:
        print_comparison(found.figures, found.folder)
        hint(_next(found, args), f"picture in {found.folder / PICTURE}")
    return INTERRUPTED if found.interrupted else 0


def _next(found: Comparison, args: argparse.Namespace) -> str:
    """What to type next: the rest of the searches, more seeds, or a search with the best sampler."""
    from bitfront.search.cli.options.specs import RUN_OPTIONS, written_options
    from bitfront.search.session.compare_samplers import resume_command
    from bitfront.search.session.comparison.document import FIXED, TIGHT

    figures, resume = found.figures, resume_command(found.folder)
    if found.interrupted:
        return resume
    fewest = min(len(sampler["seeds"]) for sampler in figures["samplers"])
    if fewest < ENOUGH_SEEDS:
        return f"{resume} --seeds {ENOUGH_SEEDS}"
    boxes = figures["goal"]["boxes"]
    box = TIGHT if TIGHT in boxes else FIXED
    best = max(figures["samplers"], key=lambda sampler: sampler["hypervolume"][box][-1]["median"])
    if args.resume:
        return f"a search with --sampler {best['sampler']} and the options of this comparison"
    named = ("bits", "formats", *RUN_OPTIONS, "latency_batch")
    further = [name for name in named if name not in ("sampler", "evaluations")]
    return command_line("search", "--sampler", best["sampler"], *written_options(args, *further))
