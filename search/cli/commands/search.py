"""``bitfront search``: finds a front."""

from __future__ import annotations

import argparse
from typing import Any

from bitfront.evaluators.tasks.registry import GENERATION
from bitfront.search.cli.options.common import INTERRUPTED, add_runs_dir, option, positive, positive_or_auto
from bitfront.search.cli.options.generation import add_generation_options, check_other_task, generation_spec
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
from bitfront.search.samplers.registry import DEFAULT_EVALUATIONS, FEW_EVALUATIONS, FEW_GENES, SAMPLERS
from bitfront.spaces import BitfrontError

SUMMARY = "search for the front of a model"
DETAIL = """\
Searches for the Pareto-best bit widths of a vision transformer and writes a run folder. Without options it
searches the built-in digits_deit, which takes a few minutes on two cores.

  bitfront search --max-size 0.2x --max-drop 1.0
  bitfront search --model deit_tiny_patch16_224 --pretrained --data path/to/imagenet/val --evaluations 100

Ctrl-C ends a search in good order; --resume goes on with it.

  bitfront search --from NAME --latency table:phone.csv

begins a search for another machine with what run NAME has evaluated: accuracy does not depend on it.

  bitfront search --task generation --pipeline path/to/pipeline --prompts prompts.txt

searches for number formats of the parts of a pipeline that makes pictures, by how far these are from the
float ones.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    add_model_options(parser, further_tasks=(GENERATION,))
    add_quantization_options(parser)
    add_space_options(parser)
    add_limit_options(parser)
    group = parser.add_argument_group("search")
    samplers = "; ".join(f"{name} ({kind.summary})" for name, kind in SAMPLERS.items())
    proposing = f"what proposes candidates: {samplers} (default: %(default)s)"
    option(group, "--sampler NAME", proposing, default="surrogate-nsga2", choices=SAMPLERS)
    number = (
        f"candidates to evaluate (default: {DEFAULT_EVALUATIONS}; {FEW_EVALUATIONS} where the surrogate has "
        f"at most {FEW_GENES} genes to search; all of the space for exhaustive)"
    )
    option(group, "--evaluations N", number, positive)
    option(group, "--time-budget TIME", "stop after 90s, 10m or 1h30m (default: no limit)")
    plateau = "stop when the hypervolume has not grown in the last N evaluations (default: go on)"
    option(group, "--plateau N", plateau, positive)
    population = "candidates proposed at a time (default: as it suits the sampler)"
    option(group, "--population N", population, positive)
    add_stage_drop_option(group)
    first = (
        "evaluate every candidate on N search images first, and only contenders for the front on more "
        "(default: auto, all where there are few; the front is always evaluated on all)"
    )
    option(group, "--first-images N", first, positive_or_auto)
    add_seed_option(group, "seed of the splits and the sampler; the same seed finds the same front")
    add_generation_options(parser)
    group = parser.add_argument_group("run and machine")
    add_worker_options(group)
    known = "evaluate also what the cache knows from earlier runs of the same model, data, splits and recipe"
    option(group, "--evaluate-all", known)
    add_machine_options(group)
    option(group, "--storage URL", "database for the Optuna study (default: the run folder)")
    name = group.add_mutually_exclusive_group()
    option(name, "--run NAME", "name of the new run (default: model and time)")
    option(name, "--resume NAME", "go on with a run; needs no other option")
    earlier = (
        "begin a new run with the evaluations of an earlier one, such as for other latencies or limits: "
        "--evaluations counts those beyond them"
    )
    option(group, "--from NAME", earlier, dest="begin_from")
    add_runs_dir(parser)


def run(args: argparse.Namespace) -> int:
    """Searches or resumes, and prints the front.

    Raises:
        BitfrontError: No configuration met the limits; the run folder is complete all the same.
    """
    from bitfront.search.runs.files import is_generation
    from bitfront.search.runs.names import checked_name

    if args.task == GENERATION or (args.resume and is_generation(args.runs_dir / checked_name(args.resume))):
        return _search_formats(args)
    check_other_task(args)
    from bitfront.search.cli.options.specs import check_resumable, chosen_workers, run_changes, run_spec
    from bitfront.search.problem.spec import EXTENDABLE
    from bitfront.search.reports.console import hint, print_json
    from bitfront.search.reports.front_table import front_document, print_front
    from bitfront.search.reports.progress import stderr_reporter
    from bitfront.search.runs.names import run_command
    from bitfront.search.runs.storage import resume_command
    from bitfront.search.session.search import resume, search, search_from

    how: Any = {"runs_dir": args.runs_dir, "storage": args.storage, "progress": stderr_reporter()}
    how["workers"] = chosen_workers(args)
    if args.resume:
        check_resumable(args, "run", EXTENDABLE)
        found = resume(args.resume, **{name: getattr(args, name) for name in EXTENDABLE}, **how)
    elif args.begin_from:
        changes = run_changes(args)
        wanted = {"evaluations": args.evaluations} if "evaluations" in args.given else {}
        found = search_from(args.begin_from, settings=changes, name=args.run, **wanted, **how)
    else:
        found = search(run_spec(args), name=args.run, **how)
    if args.json:
        print_json(front_document(found))
    elif len(found.front):
        print_front(found)
    if found.message and not found.interrupted:
        raise BitfrontError(found.message)
    if not args.json:
        going_on = [resume_command(found.path)] if found.interrupted else []
        export = run_command(found.path, "export", found.name, "--pick", "knee")
        hint(*going_on, *([export] if len(found.front) else []), f"pictures in {found.path / 'plots'}")
    return INTERRUPTED if found.interrupted else 0


def _search_formats(args: argparse.Namespace) -> int:
    """Searches, or resumes, for formats of a pipeline, and prints the front."""
    from bitfront.search.cli.options.specs import check_resumable
    from bitfront.search.reports.console import hint, print_json, stdout_console
    from bitfront.search.reports.generation.tables import front_document, front_table
    from bitfront.search.reports.progress import stderr_reporter
    from bitfront.search.runs.names import run_command
    from bitfront.search.session.generation.session import resume_formats, search_formats
    from bitfront.search.session.generation.spec import EXTENDABLE

    how: Any = {"runs_dir": args.runs_dir, "progress": stderr_reporter()}
    if args.resume:
        check_resumable(args, "run", (*EXTENDABLE, "task"))
        found = resume_formats(args.resume, **{name: getattr(args, name) for name in EXTENDABLE}, **how)
    else:
        found = search_formats(generation_spec(args), name=args.run, **how)
    if args.json:
        print_json(front_document(found))
    elif len(found.front):
        stdout_console().print(front_table(found))
    if not len(found.front) and not found.interrupted:
        raise BitfrontError(str(found.summary.get("message") or "no assignment was evaluated"))
    if not args.json:
        name, path = found.name, found.path
        going_on = [run_command(path, "search", "--resume", name)] if found.interrupted else []
        further = [run_command(path, command, name) for command in ("tables", "recommend")]
        hint(*going_on, *further, f"pictures in {path / 'plots'}")
    return INTERRUPTED if found.interrupted else 0
