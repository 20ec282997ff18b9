"""``bitfront export``: one configuration of a run as a file."""

from __future__ import annotations

import argparse
import itertools
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bitfront.evaluators.deployment.registry import FORMATS
from bitfront.evaluators.deployment.runtimes.registry import RUNTIMES
from bitfront.evaluators.deployment.tolerance import Tolerance
from bitfront.search.cli.commands.verify import add_tolerance_options
from bitfront.search.cli.options.common import FAILED, add_run_argument, open_chosen_run, option, priced_runs
from bitfront.search.cli.options.groups import (
    add_choice_limits,
    add_other_data_options,
    add_price_options,
    choice_limits,
    choice_words,
)
from bitfront.search.runs.names import command_line

if TYPE_CHECKING:
    from bitfront.search.session.export import Exported
    from bitfront.search.session.run import Run

JSON = next(iter(FORMATS))


def _listed() -> Iterator[str]:
    """The formats and what they are; those that are alike in one entry."""
    for summary, group in itertools.groupby(FORMATS, key=lambda name: FORMATS[name].summary):
        names = ", ".join(group)
        yield f"  {names:10}{summary}" if len(names) < 10 else f"  {names}\n{'':12}{summary}"


SUMMARY = "write a configuration as a file that runs"
DETAIL = """\
Writes one configuration of a run: a point of its front, or the same bits everywhere.

{formats}

Formats onnx and openvino are written as a folder: the model, what its input and outputs are, a README, and a
predict.py that needs the runtime, numpy and pillow alone; --output FILE.onnx writes the model alone. What is
shipped names no folder of this machine.

Files that compute are verified at once: they classify the test split in the runtime itself, and the figures
are printed and kept with the file. The exit status is 1 where they are not the evaluator's.

The knee is the starred point: the cheapest that is not shown to be worse than the best by more than the run's
--max-drop, half a point where it has none. Limits leave the points within them to pick from: --pick top1
--max-size 4MB is the most accurate within 4 MB, --pick size --max-drop 1 the smallest within a point of the
float model, --pick nearest --max-size 4MB what comes closest to 4 MB. Weights, such as top1=2,size=1, take
the point whose largest weighted shortfall is least (weighted Chebyshev), each objective scaled from 0, the
best of these points, to 1, the worst.
""".format(formats="\n".join(_listed()))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    add_run_argument(parser)
    which = parser.add_mutually_exclusive_group()
    points = (
        "knee (or star), an objective (top1: best, latency: fastest, size: smallest), nearest (to the limits "
        "below), weights such as top1=2,size=1, or a trial number"
    )
    option(which, "--pick POINT", points, default="knee")
    option(which, "--uniform WxAxTx", "the same widths in every encoder instead")
    option(parser, "--refined", "the point as `bitfront refine` left it")
    option(parser, "--format FORMAT", ", ".join(FORMATS), default=JSON, choices=FORMATS)
    runtime = "whose fast paths an onnx file is written for, and what verifies it (default: onnxruntime)"
    option(parser, "--runtime", runtime, choices=RUNTIMES)
    place = "file to write, or folder (a name without an ending); default: in exports of the run folder"
    option(parser, "--output PLACE", place, Path)
    option(parser, "--force", "overwrite a file or an export that is something else")
    larger = "write it also where the file breaks the --max-size that the run, or the choice, was held to"
    option(parser, "--allow-larger", larger)
    add_price_options(parser)
    add_choice_limits(parser)
    moved = parser.add_argument_group("where the run's own files have moved")
    option(moved, "--checkpoint FILE", "the weights that the run searched with")
    option(moved, "--data DATA", "the data that the run searched with")
    add_other_data_options(moved, "the run's {} images, where they were apart")
    option(moved, "--class-map FILE", "the run's class map")
    add_tolerance_options(parser)


def run(args: argparse.Namespace) -> int:
    """Exports; the status is 1 where the file does not compute what was evaluated."""
    from bitfront.search.reports.console import print_json
    from bitfront.search.reports.progress import stderr_reporter
    from bitfront.search.session.export import export_run
    from bitfront.spaces.errors import UserError

    if len(args.latency or ()) > 1:
        raise UserError("a point is chosen by the prices of one source: give --latency once")
    (chosen,) = priced_runs(args, open_chosen_run(args))
    if not args.uniform:
        chosen = chosen.within(**choice_limits(args))
    elif words := choice_words(args):
        raise UserError(f"{words[0]} chooses among the points of the front, and --uniform is none of them")
    exported = export_run(
        chosen,
        args.pick,
        uniform=args.uniform,
        refined=args.refined,
        format=args.format,
        path=args.output,
        runtime=args.runtime,
        tolerance=Tolerance(args.top1_tolerance, args.least_equal),
        force=args.force,
        allow_larger=args.allow_larger,
        checkpoint=args.checkpoint,
        data=args.data,
        calibration_data=args.calibration_data,
        test_data=args.test_data,
        class_map=args.class_map,
        progress=stderr_reporter(),
    )
    if args.json:
        print_json(exported.to_json())
    else:
        _print(exported, chosen, args)
    return 0 if exported.passed else FAILED


def _print(exported: Exported, run: Run, args: argparse.Namespace) -> None:
    """What was written, what came of it, and what to do next."""
    from bitfront.search.reports.console import hint, stderr_console, stdout_console
    from bitfront.search.reports.evaluation import print_verification

    console = stdout_console()
    if exported.trial is not None:
        within = f" within {' '.join(exported.within)}" if exported.within else ""
        refined = ", refined" if exported.refined else ""
        stderr_console().print(f"{exported.pick}{within}: trial {exported.trial}{refined}", soft_wrap=True)
    console.print(str(exported.folder or exported.path), soft_wrap=True)
    if exported.verification is not None:
        print_verification(exported.verification.to_json())
        if exported.folder is not None:
            program, runtime = exported.folder / "predict.py", exported.verification.runtime
            needed = f"which needs {runtime}, numpy and pillow alone"
            console.print(
                f"python {shlex.quote(str(program))} IMAGE classifies with it, {needed}", soft_wrap=True
            )
        hint(_verify_command(exported, run, args))
    elif exported.format == JSON:
        hint(_evaluate_command(run, exported.path))
    else:
        hint("docs/toolchains.md tells how to load it")


def _verify_command(exported: Exported, run: Run, args: argparse.Namespace) -> str:
    """The command that verifies an export again, with the places that neither it nor its run tells."""
    from bitfront.evaluators.context.spec import DATA_PLACES
    from bitfront.search.export.places import lost_places

    if exported.folder is None:
        return command_line("verify", exported.path)  # the record beside it tells
    places = lost_places(exported.document, exported.path, run.evaluation)
    words = ["verify", str(exported.folder)]
    for name in (*DATA_PLACES, "class_map"):
        place = getattr(args, name) or places.get(name)
        if place is not None:
            words += [f"--{name.replace('_', '-')}", str(place)]
    return command_line(*words)


def _evaluate_command(run: Run, path: Path) -> str:
    """The command that confirms an exported config on the data of its run."""
    from bitfront.evaluators.context.spec import PLACES, EvaluationSpec

    words, default = ["evaluate", "--config", str(path)], EvaluationSpec()
    for name in ("model", *PLACES):
        value = run.evaluation.get(name)
        if value not in (None, getattr(default, name)):
            words += [f"--{name.replace('_', '-')}", str(value)]
    return command_line(*words, *(["--pretrained"] if run.evaluation.get("pretrained") else []))
