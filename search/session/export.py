"""``bitfront export``: a configuration of a run as a file, verified where it will be served."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.files import check_writable
from bitfront.search.cli.options.common import open_chosen_run
from bitfront.search.export.export import (
    Chosen,
    chosen_point,
    chosen_uniform,
    place_files,
    write_config,
)
from bitfront.search.reports.console import hint, print_json, stderr_console, stdout_console
from bitfront.search.runs.files import damaged_file
from bitfront.search.runs.folder import SPEC
from bitfront.search.runs.reader import Run
from bitfront.search.session.inputs import preparing
from bitfront.spaces import UserError

if TYPE_CHECKING:
    from bitfront.evaluators.context.context import EvaluationContext
    from bitfront.evaluators.context.spec import EvaluationSpec


Stage = Callable[[str], AbstractContextManager[Callable[[float], None]]]
JSON = "json"
FAILED = 1


def run_export(args: argparse.Namespace) -> int:
    """Writes the file, verifies it, and returns the exit status: 1 where the file is not what was evaluated.

    Raises:
        UserError: There is no such configuration, or it cannot be written in that format or place.
        BitfrontError: Writing failed.
    """
    run = open_chosen_run(args)
    chosen = chosen_uniform(run, args.uniform) if args.uniform else chosen_point(run, args.pick)
    if args.format == JSON:
        path = args.output or _default_path(run, f"{chosen.name}.json")
        write_config(chosen.document(), path, args.force)
        return _told(args, run, chosen, path, None)
    if args.format in _mappings():
        path = args.output or _default_path(run, f"{chosen.name}.{args.format}.json")
        write_config(_mapping(args.format, run, chosen), path, args.force)
        return _told(args, run, chosen, path, None)
    path, report = _exported(args, run, chosen)
    return _told(args, run, chosen, path, report)


def _default_path(run: Run, name: str) -> Path:
    return run.path / "exports" / name


def _mappings() -> tuple[str, ...]:
    from bitfront.evaluators.deployment.mappings.registry import MAPPINGS

    return tuple(MAPPINGS)


def _mapping(name: str, run: Run, chosen: Chosen) -> dict[str, Any]:
    """The document of another toolchain."""
    from bitfront.evaluators.deployment.mappings.assignment import model_layers
    from bitfront.evaluators.deployment.mappings.registry import mapping_named, to_document
    from bitfront.evaluators.models.architecture import read_architecture
    from bitfront.evaluators.models.loading import model_outline

    checkpoint = run.evaluation.get("checkpoint")
    architecture = None if checkpoint is None else read_architecture(Path(checkpoint))
    layers = model_layers(model_outline(str(run.evaluation["model"]), architecture=architecture))
    return to_document(mapping_named(name), chosen.config, layers, chosen.measured, chosen.provenance)


def _exported(args: argparse.Namespace, run: Run, chosen: Chosen) -> tuple[Path, dict[str, Any]]:
    """Writes a file that computes and verifies it."""
    from bitfront.evaluators.context.context import EvaluationContext
    from bitfront.evaluators.context.machine import available_cpus
    from bitfront.evaluators.deployment.graph.parts import check_graph_scheme
    from bitfront.evaluators.deployment.registry import FORMATS, PACKED, runtime_for
    from bitfront.evaluators.deployment.runtimes.registry import (
        runtime_named,
    )
    from bitfront.evaluators.deployment.verification import Tolerance
    from bitfront.search.export.verification import Check
    from bitfront.search.reports.progress import stage

    suffix = FORMATS[args.format].suffix
    path = args.output or _default_path(run, f"{chosen.name}{_middle(args)}{suffix}")
    if path.suffix != suffix:
        raise UserError(f"--output {path} needs the ending {suffix} for --format {args.format}")
    runtime = runtime_for(path, args.runtime)
    if args.format != PACKED:
        check_graph_scheme(chosen.config.scheme)
        runtime_named(runtime)
    check_writable(path, make_folder=True)
    spec = _spec(args, run)
    console = stderr_console()
    with stage(console, preparing(spec)) as share_done:
        context = EvaluationContext.from_spec(spec, share_done, keep_codes=True)
    with stage(console, f"writing {path}"):
        _write(args, context, chosen, path, runtime)
    tolerance = Tolerance(args.top1_tolerance, args.least_equal)
    threads = min(spec.threads or 1, available_cpus())
    check = Check(path, runtime, "f32", threads, tolerance)
    return path, verified(context, chosen, check, args.format != PACKED, lambda text: stage(console, text))


def _middle(args: argparse.Namespace) -> str:
    """Tells files for a runtime that is not the format's first from those that are for it."""
    return f".{args.runtime}" if args.format == "onnx" and args.runtime == "openvino" else ""


def _spec(args: argparse.Namespace, run: Run) -> EvaluationSpec:
    """What the run evaluated, on this machine's processor.

    Raises:
        UserError: The run does not say, or is of a version that knew no recipes.
    """
    from bitfront.evaluators.context.spec import EvaluationSpec

    if "recipe" not in run.evaluation:
        raise UserError(
            f"run {run.name} was searched by an earlier version, which prepared models in another way: "
            "search again"
        )
    try:
        spec = EvaluationSpec.from_json(run.evaluation)
    except (KeyError, TypeError) as error:
        raise damaged_file(run.path / SPEC, error) from error
    if args.checkpoint is not None:
        spec = dataclasses.replace(spec, checkpoint=str(Path(args.checkpoint).resolve()), pretrained=False)
    if args.data is not None:
        spec = dataclasses.replace(spec, data=args.data)
    return dataclasses.replace(spec, device="cpu")


def _write(
    args: argparse.Namespace, context: EvaluationContext, chosen: Chosen, path: Path, runtime: str
) -> None:
    from bitfront.evaluators.deployment.documents import provenance_of
    from bitfront.evaluators.deployment.formats import Subject, write_file
    from bitfront.evaluators.preparation.recipes import recipe_named

    recipe = recipe_named(context.spec.recipe, context.spec.without)
    document = chosen.document(provenance_of(context.model))
    subject = Subject(context.prepared, chosen.config, recipe, document)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as folder:
        written = write_file(subject, args.format, Path(folder) / path.name, runtime)
        place_files(written, path, args.force)


def verified(
    context: EvaluationContext, chosen: Chosen, check: Any, second: bool, stage: Stage
) -> dict[str, Any]:
    """Verifies a file on the test split, records the figures beside it and returns them."""
    from bitfront.evaluators.deployment.expectation import Sidecar, content_digest, expected_of, sidecar_of

    images = len(context.images("test"))
    with stage(f"classifying {images} test images by the evaluator"):
        expected = expected_of(context, chosen.config, ["test"], second=second)
    with stage(f"classifying them by {check.runtime}") as share_done:
        report: dict[str, Any] = check.run([context.images("test")], expected, chosen.config, share_done)
    report["evaluator_size_bytes"] = context.size.size_bytes(chosen.config)
    Sidecar(content_digest(check.files()), ("test",), expected, report).write(sidecar_of(check.path))
    return report


def _told(
    args: argparse.Namespace, run: Run, chosen: Chosen, path: Path, report: dict[str, Any] | None
) -> int:
    """Prints what was written and what came of it."""
    from bitfront.search.export.verification import print_verification

    failed = report is not None and not report["passed"]
    if args.json:
        print_json(
            {
                "run": run.name,
                "trial": chosen.provenance.get("trial"),
                "digest": chosen.config.digest,
                "path": path,
                "format": args.format,
                "measured": chosen.measured,
                "verification": report,
            }
        )
        return FAILED if failed else 0
    console = stdout_console()
    console.print(str(path), soft_wrap=True)
    if report is None:
        hint(
            _evaluate_command(run, path) if args.format == JSON else "docs/toolchains.md tells how to load it"
        )
    else:
        print_verification(report, console)
        hint(shlex.join(["bitfront", "verify", str(path)]))
    return FAILED if failed else 0


def _evaluate_command(run: Run, path: Path) -> str:
    """The command that confirms an exported config on the data of its run."""
    from bitfront.evaluators.context.spec import EvaluationSpec

    words = ["bitfront", "evaluate", "--config", str(path)]
    for name in ("model", "checkpoint", "data"):
        value = run.evaluation.get(name)
        if value not in (None, EvaluationSpec.model, EvaluationSpec.data):
            words += [f"--{name}", str(value)]
    return shlex.join(words + (["--pretrained"] if run.evaluation.get("pretrained") else []))
