"""``bitfront verify``: an exported file against the evaluator, later or elsewhere."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.context.machine import available_cpus
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.deployment.documents import read_preprocessing
from bitfront.evaluators.deployment.expectation import Sidecar, content_digest, sidecar_of
from bitfront.evaluators.deployment.formats import file_document
from bitfront.evaluators.deployment.registry import BITFRONT, check_suffix, runtime_for
from bitfront.evaluators.deployment.runtimes.registry import (
    runtime_named,
)
from bitfront.evaluators.deployment.verification import Expected, Tolerance
from bitfront.search.export.verification import Check, print_verification
from bitfront.search.reports.console import print_json, stderr_console, stdout_console
from bitfront.search.reports.progress import stage
from bitfront.search.session.inputs import preparing
from bitfront.spaces import BitConfig, UserError

if TYPE_CHECKING:
    from bitfront.evaluators.context.context import SplitName
    from bitfront.evaluators.data.images import PreprocessedImages


FAILED = 1
SPLITS: tuple[SplitName, ...] = ("calibration", "search", "test")


def run_verify(args: argparse.Namespace) -> int:
    """Verifies a file and returns the exit status: 1 where it does not compute what was evaluated.

    Raises:
        UserError: The file, its runtime, its data or the weights cannot be used.
    """
    check_suffix(args.file)
    runtime = runtime_for(args.file, args.runtime)
    _check_precision(runtime, args.precision)
    if args.threads > available_cpus():
        raise UserError(f"--threads {args.threads}: there are {available_cpus()} processors here")
    document = file_document(args.file)
    config = BitConfig.from_json(document)
    splits = SPLITS if args.split == "all" else (args.split,)
    check = Check(
        args.file, runtime, args.precision, args.threads, Tolerance(args.top1_tolerance, args.least_equal)
    )
    spec, recorded = _spec(args, document), _recorded(args, check, splits)
    if recorded is None:
        against = "the evaluator, prepared anew"
        images, expected = _rebuilt(spec, config, splits, second=runtime != BITFRONT)
    else:
        against = "what the evaluator predicted when the file was exported"
        images, expected = _images(spec, read_preprocessing(args.file, document), splits), recorded
        _check_labels(images, expected, args.file)
    with stage(stderr_console(), f"classifying {len(expected.labels)} images by {runtime}") as share_done:
        report = check.run(images, expected, config, share_done)
    report["against"] = against
    if args.json:
        print_json(report)
    else:
        stdout_console().print(f"against {against}", soft_wrap=True)
        print_verification(report, stdout_console())
    return 0 if report["passed"] else FAILED


def _check_precision(runtime: str, precision: str) -> None:
    """Refuses a precision that a runtime has not, and a runtime that is not installed."""
    known = ("f32",) if runtime == BITFRONT else runtime_named(runtime).precisions
    if precision not in known:
        raise UserError(f"--precision {precision}: {runtime} computes in {' or '.join(known)} only")


def _spec(args: argparse.Namespace, document: Mapping[str, Any]) -> EvaluationSpec:
    """What the file's configuration was evaluated under, with the places that were given.

    Raises:
        UserError: The file does not say, or nothing could have been evaluated so.
    """
    from bitfront.evaluators.context.context import check_spec

    provenance = document.get("provenance")
    recorded = provenance.get("evaluation") if isinstance(provenance, dict) else None
    try:
        spec = EvaluationSpec.from_json(dict(recorded or {}))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{args.file} has a damaged provenance ({error}): export it again") from error
    known = spec.model, spec.scheme
    if recorded is None or known != (document["model"], document["scheme"]):
        raise UserError(f"{args.file} does not say what it was evaluated on: export it again from its run")
    if args.data is not None:
        spec = dataclasses.replace(spec, data=args.data)
    if args.checkpoint is not None:
        spec = dataclasses.replace(spec, checkpoint=args.checkpoint, pretrained=False)
    spec = dataclasses.replace(spec, device="cpu")
    check_spec(spec)
    return spec


def _recorded(args: argparse.Namespace, check: Check, splits: Sequence[str]) -> Expected | None:
    """The predictions beside the file, where they are of the same images.

    Raises:
        UserError: The record is damaged, or of another file.
    """
    path = sidecar_of(args.file)
    if args.rebuild or args.checkpoint is not None or not path.is_file():
        return None
    sidecar = Sidecar.read(path)
    if sidecar.splits != tuple(splits):
        return None
    if sidecar.digest != content_digest(check.files()):
        raise UserError(
            f"{args.file} has changed since it was verified: export it again, or give --rebuild to compare "
            "it with the evaluator all the same"
        )
    return sidecar.expected


def _rebuilt(
    spec: EvaluationSpec, config: BitConfig, splits: Sequence[SplitName], *, second: bool
) -> tuple[list[PreprocessedImages], Expected]:
    """Images and predictions of the model prepared anew."""
    from bitfront.evaluators.context.context import EvaluationContext
    from bitfront.evaluators.deployment.expectation import expected_of

    console = stderr_console()
    with stage(console, preparing(spec)) as share_done:
        context = EvaluationContext.from_spec(spec, share_done, keep_codes=True)
    with stage(console, "classifying by the evaluator"):
        expected = expected_of(context, config, splits, second=second)
    return [context.images(split) for split in splits], expected


def _images(
    spec: EvaluationSpec, data_config: Mapping[str, Any], splits: Sequence[SplitName]
) -> list[PreprocessedImages]:
    """The splits, preprocessed as the file says: neither the model nor its weights are needed."""
    from bitfront.evaluators.context.context import splits_of
    from bitfront.evaluators.data.images import load_images
    from bitfront.evaluators.data.registry import open_source

    source = open_source(spec.data)
    found = splits_of(spec, source)
    with stage(stderr_console(), f"reading {', '.join(splits)} images"):
        return [load_images(source, getattr(found, split), data_config) for split in splits]


def _check_labels(images: Sequence[PreprocessedImages], expected: Expected, path: Path) -> None:
    labels = [label for split in images for label in split.labels.tolist()]
    if labels != expected.labels.tolist():
        raise UserError(
            f"the images are not those that {path} was verified on: bring them back with --data, or give "
            "--rebuild"
        )
