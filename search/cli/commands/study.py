"""``bitfront study``: a student distilled, averaged, in INT8 and refined, beside networks trained alike."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from bitfront.evaluators.latency.registry import TORCH
from bitfront.evaluators.training.recipe import TrainingSpec
from bitfront.search.cli.options.common import natural, option, positive
from bitfront.search.cli.options.groups import add_model_options
from bitfront.search.cli.options.training import add_recipe_options, add_teacher_options
from bitfront.search.reports.study import FORMATS, TERMINAL
from bitfront.search.runs.names import command_line
from bitfront.search.session.bench_options import BASELINES
from bitfront.search.session.study_spec import (
    SMALL_BASELINES,
    STUDENT,
    StudySpec,
    usual_baselines,
    usual_recipe,
    usual_teacher,
)
from bitfront.spaces import UserError
from bitfront.spaces.schemes import DEPLOY

if TYPE_CHECKING:
    from bitfront.search.session.study import Study

SUMMARY = "study a distilled model in INT8 on this CPU, beside convolutional networks"
DETAIL = """\
The tables of a CPU-centric study in one command: the model is trained alone and from a teacher, with averaged
weights, quantized to INT8 and refined; networks are trained alike; all are judged on validation and test
images (top-1, macro-F1, ROC-AUC), and timed at batch 1 and 8: 50 warm-up and 5 times 100 timed iterations,
p50, p90, images per second, peak memory, file size. Steps of the ablation have paired standard errors.

  bitfront study
  bitfront study --model deit_tiny_patch16_224 --checkpoint tiny.pth --data cifar10:FILE --image-size 48 \\
      --teacher deit_small_patch16_224 --teacher-checkpoint small.pth --train-images 5000 --seeds 3
  bitfront study --resume study-deit_tiny_patch16_224 --format latex

Every step is kept as soon as it is done: after Ctrl-C or a kill --resume goes on, and the same command does,
too. The teacher is fine-tuned first, from the weights that it is given, unless --teacher-as-is. Published
figures stand beside ours where model, size and data are those published.
"""
# Fields of the recipe that suit the model where they are not written.
_SUITED = ("epochs", "learning_rate", "ema_decay")
# Options that say how a study is shown; a resumed one takes no others.
_SHOWN = frozenset({"resume", "format", "json", "time_again"})


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    group = parser.add_argument_group("study")
    option(group, "--output FOLDER", "folder of the study (default: study-MODEL)", Path)
    option(group, "--force", "replace another study in that folder, or write into one that holds files")
    went = "go on with a study that was interrupted or killed, or print one that has ended"
    option(group, "--resume FOLDER", went, Path)
    shown = "form of the tables that are printed; the folder has all of them"
    option(group, "--format FORMAT", f"{', '.join(FORMATS)}: {shown}", default=TERMINAL, choices=FORMATS)
    option(group, "--seeds N", "trainings of the student, alone and distilled, each", positive, 1)
    option(group, "--seed N", "the first of these seeds", natural, 0)
    option(group, "--split-seed N", "seed of the splits, as --seed of a search", natural, 0)
    option(
        group, "--epochs N", "passes over the images (default: 10, or what suits a built-in model)", positive
    )
    option(group, "--threads N", "threads of trainings and of classifying (default: all CPUs)", positive)
    add_recipe_options(parser.add_argument_group("recipe of all trainings"))
    group = parser.add_argument_group("teacher")
    add_teacher_options(group)
    option(group, "--teacher-as-is", "let it teach with the weights that it has, without fine-tuning it")
    option(group, "--teacher-image-size SIZE", "of a teacher that is fine-tuned (default: the student's)")
    group = parser.add_argument_group("networks")
    networks = (
        f"of timm, trained alike, or none (default: {BASELINES}; {SMALL_BASELINES} for built-in models)"
    )
    option(group, "--baselines LIST", networks)
    begun = "weights that one of them begins with; may be given again (default: random ones)"
    option(group, "--baseline-checkpoint NAME=FILE", begun, default=[], action="append")
    option(group, "--baselines-pretrained", "let them begin with timm's weights from the model hub")
    group = parser.add_argument_group("measuring")
    option(group, "--runtimes LIST", "what runs graphs: openvino, onnxruntime (default: the first installed)")
    option(group, "--batches LIST", "images of a batch", default="1,8")
    again = "measure times and memory again, with --resume, such as where other work ran on the machine"
    option(group, "--time-again", again)
    budget = "time for timing, such as 10m: iterations shrink to fit (default: all iterations)"
    option(group, "--budget TIME", budget)
    group = parser.add_argument_group("refining")
    option(group, "--refine-images N", "images that it learns from (default: up to 1,024)", positive)
    passes = StudySpec.refine_passes
    option(group, "--refine-passes N", "times that it learns from each of them", positive, passes)
    add_model_options(parser, checked=False)
    parser.set_defaults(model=STUDENT)


def run(args: argparse.Namespace) -> int:
    """Studies, or goes on with a study, and prints the tables."""
    from bitfront.search.reports.progress import stderr_reporter
    from bitfront.search.session.study import resume_study, study

    if args.resume is not None:
        others = sorted(args.given - _SHOWN)
        if others:
            raise UserError(
                f"--{others[0].replace('_', '-')} cannot be given with --resume: {args.resume} keeps its "
                "settings"
            )
        found = resume_study(args.resume, time_again=args.time_again, progress=stderr_reporter())
    elif args.time_again:
        raise UserError("--time-again is for a study that was timed before: name its folder with --resume")
    else:
        found = study(_spec(args), args.output, overwrite=args.force, progress=stderr_reporter())
    _print(found, args)
    return 0


def _print(found: Study, args: argparse.Namespace) -> None:
    from bitfront.search.reports.console import hint, print_json
    from bitfront.search.reports.study import print_study

    if args.json:
        print_json(found.to_json())
        return
    if args.format == TERMINAL:
        print_study(found.figures, found.folder)
    else:
        print(found.table(args.format), end="")
    hint(command_line(*found.next_words()))


def _spec(args: argparse.Namespace) -> StudySpec:
    """What is asked for.

    Raises:
        UserError: An option cannot be read.
    """
    from bitfront.evaluators.data.image_options import read_size
    from bitfront.search.session.bench_options import BenchOptions
    from bitfront.spaces.quantities import parse_duration

    size, networks = args.teacher_image_size, args.baselines or usual_baselines(args.model)
    lists = BenchOptions.of(DEPLOY, "none", args.runtimes, networks, args.batches)
    graphs = tuple(name for name in lists.runtimes if name != TORCH)
    return StudySpec(
        student=_student(args),
        train_teacher=args.teacher is not None and not args.teacher_as_is,
        teacher_image_size=None if size is None else read_size(size),
        baselines=lists.baselines or (),
        baseline_weights=dict(map(_named_file, args.baseline_checkpoint)),
        pretrained_baselines=args.baselines_pretrained,
        seeds=args.seeds,
        runtimes=None if args.runtimes is None else graphs,
        batches=lists.batches,
        budget_s=None if args.budget is None else parse_duration(args.budget),
        refine_images=args.refine_images,
        refine_passes=args.refine_passes,
    )


def _student(args: argparse.Namespace) -> TrainingSpec:
    """The student, with the recipe and the teacher that suit it where none were given."""
    from bitfront.search.cli.options.specs import training_spec

    found, usual = training_spec(args), usual_recipe(args.model)
    left = {name: getattr(usual, name) for name in _SUITED if name not in args.given}
    recipe = dataclasses.replace(found.recipe, **left)
    return dataclasses.replace(found, recipe=recipe, teacher=found.teacher or usual_teacher(args.model))


def _named_file(text: str) -> tuple[str, str]:
    """A network and its file of weights.

    Raises:
        UserError: The text is not of the form NAME=FILE.
    """
    name, equals, file = text.partition("=")
    if not (name and equals and file):
        raise UserError(f"--baseline-checkpoint {text}: expected NAME=FILE, such as resnet18=resnet18.pth")
    return name, file
