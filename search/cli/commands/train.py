"""``bitfront train``: the embedded default model and its siblings, from nothing."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.files import check_writable
from bitfront.evaluators.models.digits_models import DEFAULT, DIGITS_MODELS
from bitfront.search.cli.options.common import natural, option, positive
from bitfront.search.reports.console import hint, print_json, stderr_console, stdout_console
from bitfront.search.runs.names import command_line
from bitfront.spaces.quantities import count_of

if TYPE_CHECKING:
    from bitfront.evaluators.training.digits import TrainingProgress, TrainingResult

SUMMARY = "train a small model of digits"
DETAIL = """\
Trains a small model from random weights on scikit-learn's digits. Without options it trains cluttered_deit,
which `bitfront search` uses by default: a quarter of an hour on two cores. The default options reproduce the
weights that cluttered_deit and digits_deit come with, to the bit on the same kind of machine.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    option(parser, "--model", "what is trained", default=DEFAULT, choices=DIGITS_MODELS)
    option(parser, "--output FILE", "file for the weights (default: MODEL.safetensors)", Path)
    option(parser, "--seed N", "seed", natural, 0)
    epochs = "passes over the scans, each in a new canvas for cluttered ones (default: as the model has it)"
    option(parser, "--epochs N", epochs, positive)
    option(parser, "--threads N", "threads that compute (default: as for the shipped weights)", positive)
    option(parser, "--force", "overwrite an existing file")


def run(args: argparse.Namespace) -> int:
    """Trains, writes the weights and prints their accuracy on held-out scans."""
    output = args.output or Path(f"{args.model}.safetensors")
    check_writable(output, overwrite=args.force)
    chosen = {name: getattr(args, name) for name in ("epochs", "threads") if getattr(args, name) is not None}
    result = _train(output, model=args.model, seed=args.seed, **chosen)
    if args.json:
        print_json(dataclasses.asdict(result))
        return 0
    stdout_console().print(
        f"{result.path}: {result.held_out_top1:.2f} % top-1 on "
        f"{count_of(result.held_out_images, 'held-out image')} after {count_of(result.epochs, 'epoch')} in "
        f"{result.seconds:.0f} s ({result.size_bytes / 1e6:.2f} MB)",
        soft_wrap=True,
    )
    model = () if args.model == DEFAULT else ("--model", args.model)
    hint(command_line("search", *model, "--checkpoint", result.path))
    return 0


def _train(output: Path, **options: Any) -> TrainingResult:
    from bitfront.evaluators.training.digits import train_digits

    console = stderr_console()
    if not console.is_terminal:
        return train_digits(output, progress=_print_tenths, **options)
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    figures = TextColumn("epochs, loss {task.fields[loss]:.4f}")
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), figures, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("training", total=None, loss=float("nan"))

        def show(state: TrainingProgress) -> None:
            bar.update(task, total=state.epochs, completed=state.epoch, loss=state.loss)

        return train_digits(output, progress=show, **options)


def _print_tenths(state: TrainingProgress) -> None:
    if state.epoch % max(1, state.epochs // 10) == 0:
        line = f"epoch {state.epoch}/{state.epochs}, loss {state.loss:.4f}, {state.seconds:.0f} s"
        print(line, file=sys.stderr, flush=True)
