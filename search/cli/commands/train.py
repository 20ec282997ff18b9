"""``bitfront train``: any supported model on any data; the built-in ones also by their own recipe."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.files import check_writable
from bitfront.evaluators.generation.digits_dit import NAME as GENERATOR
from bitfront.evaluators.models.digits_models import DEFAULT, DIGITS_MODELS
from bitfront.evaluators.training.recipe import TrainingRecipe
from bitfront.search.cli.options.common import INTERRUPTED, natural, option, positive
from bitfront.search.cli.options.groups import add_model_options
from bitfront.search.cli.options.training import add_recipe_options, add_teacher_options
from bitfront.search.reports.console import hint, print_json, stderr_console, stdout_console
from bitfront.search.runs.names import command_line
from bitfront.spaces import UserError
from bitfront.spaces.quantities import count_of

if TYPE_CHECKING:
    from bitfront.evaluators.training.digits import TrainingProgress, TrainingResult
    from bitfront.evaluators.training.training import Training

SUMMARY = "train a model, alone or from a teacher"
DETAIL = """\
Fine-tunes any classifier of timm on any data that bitfront reads, its head replaced to fit: a vision
transformer to be searched, others to teach and to compare with. Images that a search will see are kept out:
where the data have no training side, a part of them, and the printed search has that very part. Weights are
written for bitfront and timm alike, with their moving average beside.

  bitfront train --model deit_tiny_patch16_224 --pretrained --data cifar10 --image-size 96
  bitfront train --model deit_tiny_patch16_224 --pretrained --data DIR \\
      --teacher deit_small_patch16_224 --teacher-checkpoint teacher/model.safetensors

With a built-in model and none of these options it makes the weights that bitfront comes with, from nothing,
to the bit on the same kind of machine: cluttered_deit in a quarter of an hour on two cores. With --model
digits_dit it makes those of the pipeline that `bitfront search --task generation` takes.
"""
# Options that the recipe of the built-in models has, too.
_SHARED = frozenset({"model", "output", "seed", "epochs", "threads", "force"})
_DEFAULT = TrainingRecipe()


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    group = parser.add_argument_group("training")
    place = (
        "folder of the training (default: MODEL-DATA); of a built-in model's own recipe, the file of its "
        "weights (default: MODEL.safetensors)"
    )
    option(group, "--output PLACE", place, Path)
    option(group, "--force", "write into a folder that holds files, or over a file")
    went = (
        "go on with the training of a folder, or of the file of a built-in recipe, that was interrupted or "
        "killed: it ends in the same weights"
    )
    option(group, "--resume PLACE", went, Path)
    option(group, "--seed N", "of the initial weights, the order of images and their variations", natural, 0)
    option(group, "--split-seed N", "seed of the splits, as --seed of a search", natural, 0)
    epochs = f"passes over the images (default: {_DEFAULT.epochs}, or as the built-in recipe has it)"
    option(group, "--epochs N", epochs, positive)
    threads = "threads that compute (default: all CPUs, or as for the shipped weights)"
    option(group, "--threads N", threads, positive)
    add_recipe_options(parser.add_argument_group("recipe"))
    add_teacher_options(parser.add_argument_group("teacher"))
    add_model_options(parser, checked=False)


def run(args: argparse.Namespace) -> int:
    """Trains, writes the weights and prints what they are worth on held-out images."""
    if args.resume is not None:
        return _resume(args)
    if args.model in DIGITS_MODELS and args.given <= _SHARED:
        return _make_builtin(args)
    if args.model == GENERATOR:
        return _make_generator(args)
    from bitfront.search.cli.options.specs import training_spec
    from bitfront.search.reports.progress import stderr_reporter
    from bitfront.search.session.train import train

    found = train(training_spec(args), args.output, overwrite=args.force, progress=stderr_reporter())
    return _shown(found, args.json)


def _resume(args: argparse.Namespace) -> int:
    from bitfront.search.reports.progress import stderr_reporter
    from bitfront.search.session.train import resume_training

    others = sorted(args.given - {"resume", "threads"})
    if others:
        raise UserError(
            f"--{others[0].replace('_', '-')} cannot be given with --resume: {args.resume} keeps its settings"
        )
    from bitfront.evaluators.training.digits import resume_digits, state_beside

    if state_beside(args.resume).is_file():
        return _told(_followed(partial(resume_digits, args.resume, args.threads)), args.json)
    if "threads" in args.given:
        raise UserError(f"--threads cannot be given with --resume: {args.resume} keeps its settings")
    return _shown(resume_training(args.resume, progress=stderr_reporter()), args.json)


def _shown(found: Training, as_json: bool) -> int:
    """Prints a training; returns the exit status."""
    from bitfront.search.reports.training import next_words, print_training

    if found.interrupted:
        hint(command_line("train", "--resume", found.folder))
        return INTERRUPTED
    if as_json:
        print_json({**found.to_json(), "folder": str(found.folder)})
        return 0
    print_training(found)
    hint(command_line(*next_words(found)))
    return 0


def _make_builtin(args: argparse.Namespace) -> int:
    """Trains a built-in model by its own recipe."""
    output = args.output or Path(f"{args.model}.safetensors")
    check_writable(output, overwrite=args.force)
    chosen = {name: getattr(args, name) for name in ("epochs", "threads") if getattr(args, name) is not None}
    try:
        result = _train(output, model=args.model, seed=args.seed, **chosen)
    except KeyboardInterrupt:
        hint(command_line("train", "--resume", output))
        raise
    return _told(result, args.json)


def _make_generator(args: argparse.Namespace) -> int:
    """Trains the embedded pipeline that makes pictures of digits."""
    from bitfront.evaluators.generation.digits_training import train_generator
    from bitfront.evaluators.generation.loading import check_installed

    foreign = sorted(args.given - {"model", "output", "seed", "force"})
    if foreign:
        raise UserError(f"--{foreign[0].replace('_', '-')} is not for {GENERATOR}, which has its own recipe")
    check_installed()
    output = args.output or Path(f"{GENERATOR}.safetensors")
    check_writable(output, overwrite=args.force)

    def told(what: str, step: int, steps: int, loss: float) -> None:
        if step % 500 == 0 or step == steps:
            print(f"{what}: step {step}/{steps}, loss {loss:.4f}", file=sys.stderr, flush=True)

    found = train_generator(output, seed=args.seed, told=told)
    if args.json:
        print_json(dataclasses.asdict(found))
        return 0
    stdout_console().print(
        f"{found.path}: noise predicted to a mean squared error of {found.loss:.4f}, held-out scans coded to "
        f"{found.reconstruction:.5f}, in {found.seconds:.0f} s ({found.size_bytes / 1e6:.2f} MB)",
        soft_wrap=True,
    )
    hint(command_line("search", "--task", "generation", "--pipeline", found.path))
    return 0


def _told(result: TrainingResult, as_json: bool) -> int:
    """Prints the training of a built-in recipe; returns the exit status."""
    if as_json:
        print_json(dataclasses.asdict(result))
        return 0
    stdout_console().print(
        f"{result.path}: {result.held_out_top1:.2f} % top-1 on "
        f"{count_of(result.held_out_images, 'held-out image')} after {count_of(result.epochs, 'epoch')} in "
        f"{result.seconds:.0f} s ({result.size_bytes / 1e6:.2f} MB)",
        soft_wrap=True,
    )
    model = () if result.model == DEFAULT else ("--model", result.model)
    hint(command_line("search", *model, "--checkpoint", result.path))
    return 0


def _train(output: Path, **options: Any) -> TrainingResult:
    from bitfront.evaluators.training.digits import train_digits

    return _followed(partial(train_digits, output, **options))


def _followed(training: Callable[..., TrainingResult]) -> TrainingResult:
    """Runs a training with its progress on stderr."""
    console = stderr_console()
    if not console.is_terminal:
        return training(progress=_print_tenths)
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    figures = TextColumn("epochs, loss {task.fields[loss]:.4f}")
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), figures, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("training", total=None, loss=float("nan"))

        def show(state: TrainingProgress) -> None:
            bar.update(task, total=state.epochs, completed=state.epoch, loss=state.loss)

        return training(progress=show)


def _print_tenths(state: TrainingProgress) -> None:
    if state.epoch % max(1, state.epochs // 10) == 0:
        line = f"epoch {state.epoch}/{state.epochs}, loss {state.loss:.4f}, {state.seconds:.0f} s"
        print(line, file=sys.stderr, flush=True)
