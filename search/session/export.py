"""Exporting a configuration of a run as a file, verified where it will be served."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.context.machine import available_cpus
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.deployment.registry import (
    FileContent,
    ModelFormat,
    files_of,
    format_named,
    runtime_for,
)
from bitfront.evaluators.deployment.runtimes.registry import BITFRONT
from bitfront.evaluators.deployment.tolerance import Tolerance
from bitfront.evaluators.files import check_writable
from bitfront.search.export.export import Chosen, chosen_point, chosen_uniform, place_files, write_config
from bitfront.search.export.selection import KNEE
from bitfront.search.runs.files import SPEC, damaged_file
from bitfront.search.session.inputs import preparing
from bitfront.search.session.reporter import ProgressCallback, Reporter, reporter_of
from bitfront.spaces import BitConfig, UserError
from bitfront.spaces.quantities import count_of

if TYPE_CHECKING:
    from bitfront.evaluators.context.context import EvaluationContext
    from bitfront.search.export.verification import Check, Verified
    from bitfront.search.runs.reader import RecordedRun


@dataclass(frozen=True)
class Exported:
    """A configuration of a run as a file.

    Attributes:
        run: Name of the run.
        trial: Number of the trial; None where the configuration is no point of the front.
        path: The file.
        files: The file and those beside it that belong to it.
        format: Name of the format.
        config: The configuration.
        measured: What the run measured of it; empty where it is no point of the front.
        verification: The file beside the evaluator; None where it computes nothing or was not verified.
    """

    run: str
    trial: int | None
    path: Path
    files: tuple[Path, ...]
    format: str
    config: BitConfig
    measured: Mapping[str, Any]
    verification: Verified | None

    @property
    def passed(self) -> bool:
        """Whether nothing was found that the file computes otherwise than the evaluator."""
        return self.verification is None or self.verification.passed

    def to_json(self) -> dict[str, Any]:
        """The document that ``--json`` prints."""
        return {
            "run": self.run,
            "trial": self.trial,
            "digest": self.config.digest,
            "path": self.path,
            "format": self.format,
            "measured": self.measured,
            "verification": None if self.verification is None else self.verification.to_json(),
        }


def export_run(
    run: RecordedRun,
    choice: str | int = KNEE,
    *,
    uniform: str | None = None,
    format: str = "json",  # noqa: A002 - as the option is called
    path: str | Path | None = None,
    runtime: str | None = None,
    verify: bool = True,
    tolerance: Tolerance | None = None,
    force: bool = False,
    checkpoint: str | Path | None = None,
    data: str | Path | None = None,
    calibration_data: str | Path | None = None,
    test_data: str | Path | None = None,
    class_map: str | Path | None = None,
    progress: Reporter | ProgressCallback | None = None,
) -> Exported:
    """Writes one configuration of a run, and verifies a file that computes in its runtime.

    Args:
        run: The run.
        choice: A point of its front: ``knee``, an objective such as ``top1``, or a trial number.
        uniform: The same widths in every encoder instead, such as ``W8A8T8``.
        format: A name out of :data:`bitfront.evaluators.deployment.registry.FORMATS`.
        path: The file; None for one in ``exports`` of the run folder.
        runtime: Whose fast paths the file is written for, and what verifies it; None for the format's first.
        verify: Whether a file that computes is verified on the test split; the figures are kept beside it.
        tolerance: How far the file may be from the evaluator; None for the defaults.
        force: Whether a file that holds something else may be overwritten.
        checkpoint: The weights of the run, where they have moved.
        data: The data of the run, where they have moved.
        calibration_data: Its calibration images, where they were apart and have moved.
        test_data: Its test images, where they were apart and have moved.
        class_map: Its class map, where that has moved.
        progress: Is told of the steps.

    Raises:
        UserError: There is no such configuration, or it cannot be written in that format or place.
        BitfrontError: Writing failed.
    """
    from bitfront.evaluators.context.context import EvaluationContext
    from bitfront.search.export.verification import Check

    chosen = chosen_uniform(run, uniform) if uniform else chosen_point(run, str(choice))
    form, target = format_named(format), None if path is None else Path(path)
    verified: Verified | None = None
    if isinstance(form, ModelFormat):
        other = f".{runtime}" if runtime not in (None, form.runtimes[0]) else ""
        target = target or run.path / "exports" / f"{chosen.name}{other}{form.suffix}"
        if target.suffix != form.suffix:
            raise UserError(f"--output {target} needs the ending {form.suffix} for --format {format}")
        runs_it = runtime_for(target, runtime)
        form.check(chosen.config.scheme, runs_it)
        check_writable(target, make_folder=path is None)
        places = {"data": data, "calibration_data": calibration_data, "test_data": test_data}
        places["class_map"] = class_map
        spec, reporter = _spec(run).moved(checkpoint=checkpoint, **places), reporter_of(progress)
        with reporter.stage(preparing(spec)) as share_done:
            context = EvaluationContext.from_spec(spec, share_done, keep_codes=True)
        with reporter.stage(f"writing {target}"):
            _write(form, context, chosen, target, runs_it, force)
        if verify:
            threads = min(spec.threads or 1, available_cpus())
            check = Check(target, runs_it, "f32", threads, tolerance or Tolerance())
            verified = _verified(context, chosen, check, reporter)
        files = files_of(target)
    else:
        target = target or run.path / "exports" / f"{chosen.name}{form.suffix}"
        document = form.document(chosen.config, chosen.measured, chosen.provenance)
        write_config(document, target, force, make_folder=path is None)
        files = [target]
    trial = chosen.provenance.get("trial")
    return Exported(run.name, trial, target, tuple(files), format, chosen.config, chosen.measured, verified)


def _spec(run: RecordedRun) -> EvaluationSpec:
    """What the run evaluated, on this machine's processor.

    Raises:
        UserError: The run does not say, or is of a version that knew no recipes.
    """
    if "recipe" not in run.evaluation:
        raise UserError(
            f"run {run.name} was searched by an earlier version, which prepared models in another way: "
            "search again"
        )
    try:
        return dataclasses.replace(EvaluationSpec.from_json(run.evaluation), device="cpu")
    except (KeyError, TypeError) as error:
        raise damaged_file(run.path / SPEC, error) from error


def _write(
    form: ModelFormat, context: EvaluationContext, chosen: Chosen, path: Path, runtime: str, force: bool
) -> None:
    """Writes the files in a scratch folder beside their place and moves them there."""
    from bitfront.evaluators.deployment.documents import provenance_of

    document = chosen.document(provenance_of(context.model, context.source.class_names))
    subject = FileContent(context.prepared, chosen.config, context.spec.whole_recipe, document)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as folder:
        written = form.write(subject, Path(folder) / path.name, runtime)
        place_files(written, path, force)


def _verified(context: EvaluationContext, chosen: Chosen, check: Check, reporter: Reporter) -> Verified:
    """Verifies a file on the test split and records the figures beside it."""
    from bitfront.evaluators.deployment.expectation import Sidecar, content_digest, expected_of, sidecar_of

    images = context.images("test")
    with reporter.stage(f"classifying {count_of(len(images), 'test image')} by the evaluator"):
        expected = expected_of(context, chosen.config, ["test"], second=check.runtime != BITFRONT)
    with reporter.stage(f"classifying them by {check.runtime}") as share_done:
        found = check.run([images], expected, chosen.config, context.task, share_done)
    found = dataclasses.replace(found, evaluator_size_bytes=context.size.size_bytes(chosen.config))
    digest = content_digest(files_of(check.path))
    Sidecar(digest, ("test",), expected, found.to_json()).write(sidecar_of(check.path))
    return found
