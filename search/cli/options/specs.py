"""Specs of evaluations, runs and workers from the arguments of a command."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from bitfront.evaluators.context.spec import PLACES, EvaluationSpec, absolute_place
from bitfront.search.problem.spec import RunSpec
from bitfront.search.session.specs import MACHINE_FIELDS
from bitfront.search.session.worker_pool import WorkerOptions
from bitfront.spaces import parse_bits

# Options that are fields of the evaluation spec under the same name.
EVALUATION_OPTIONS = (
    "model",
    "checkpoint",
    "pretrained",
    "data",
    "scheme",
    "calibration_images",
    "search_images",
    "test_images",
    "seed",
    "recipe",
    "without",
    "observer",
    "device",
    "batch_size",
    "threads",
)
# Options that are fields of the run spec under the same name.
_RUN_OPTIONS = (
    "space",
    "hold",
    "objectives",
    "max_latency",
    "max_size",
    "min_top1",
    "max_drop",
    "latency",
    "sampler",
    "evaluations",
    "time_budget",
    "plateau",
    "population",
    "seed",
    "allow_uniform",
    "allow_slower",
    "allow_larger",
)
# Options of the workers, which decide nothing of what is found: they may be given to a resumed run.
WORKER_OPTIONS = frozenset({"workers", "cluster", "evaluation_timeout", "worker_memory", "send_data"})


def evaluation_spec(args: argparse.Namespace, widths: tuple[int, ...]) -> EvaluationSpec:
    """The evaluation spec that arguments describe, at the given widths."""
    return EvaluationSpec(**{name: _value(args, name) for name in EVALUATION_OPTIONS}, widths=widths)


def spec_changes(args: argparse.Namespace) -> dict[str, Any]:
    """What :func:`bitfront.search.session.specs.recorded_spec` takes over from the arguments.

    Returns:
        The fields whose options were written, and those of the machine at hand.
    """
    names = {*args.given, *MACHINE_FIELDS}
    return {name: _value(args, name) for name in EVALUATION_OPTIONS if name in names}


def _value(args: argparse.Namespace, name: str) -> Any:
    """An option's value; paths are made absolute, so that a run or config can be used from any folder."""
    value = getattr(args, name)
    if name in PLACES and value is not None:
        return absolute_place(name, value)
    return value


def written_options(args: argparse.Namespace) -> list[str]:
    """The options of the evaluation spec that were written, for the commands that come next."""
    words: list[str] = []
    for name in EVALUATION_OPTIONS:
        value = getattr(args, name)
        if name in args.given:
            words.append(f"--{name.replace('_', '-')}")
            words += [] if value is True else [",".join(value) if isinstance(value, tuple) else str(value)]
    return words


def written_batch(args: argparse.Namespace) -> int | None:
    """The images of a batch where ``--latency-batch`` was written."""
    return int(args.latency_batch) if "latency_batch" in args.given else None


def run_spec(args: argparse.Namespace) -> RunSpec:
    """The run spec that arguments describe.

    Raises:
        UserError: An option cannot be read.
    """
    evaluation = evaluation_spec(args, parse_bits(args.bits))
    return RunSpec(
        evaluation=dataclasses.replace(evaluation, first_images=args.first_images),
        latency_batch=written_batch(args),
        **{name: getattr(args, name) for name in _RUN_OPTIONS},
    )


def worker_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """Who evaluates, as the arguments of :func:`bitfront.search.search`."""
    return {name: getattr(args, name) for name in WORKER_OPTIONS}


def worker_options(args: argparse.Namespace) -> WorkerOptions:
    """Who evaluates.

    Raises:
        UserError: An option cannot be read, or rules out another.
    """
    return WorkerOptions.of(**worker_arguments(args))
