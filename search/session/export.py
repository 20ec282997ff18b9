"""Exporting a configuration of a run as a file, verified where it will be served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.deployment.registry import MODEL, ModelFormat, files_of, format_named, runtime_for
from bitfront.evaluators.deployment.tolerance import Tolerance
from bitfront.evaluators.files import check_writable
from bitfront.search.export.export import Chosen, chosen_point, chosen_uniform, refined_point, write_config
from bitfront.search.export.folder import check_folder
from bitfront.search.export.limited_front import broken_sizes, told_larger
from bitfront.search.export.places import without_folders
from bitfront.search.export.selection import KNEE, Choice, choice_text
from bitfront.search.problem.spec import PACKED, SIZED
from bitfront.search.runs.reader import evaluation_of
from bitfront.search.session.inputs import preparing
from bitfront.search.session.reporter import ProgressCallback, Reporter, reporter_of
from bitfront.spaces import BitConfig, UserError

if TYPE_CHECKING:
    from bitfront.search.export.verification import Verified
    from bitfront.search.runs.reader import RecordedRun
    from bitfront.search.session.writing import Place, Writing


@dataclass(frozen=True)
class Exported:
    """A configuration of a run as a file.

    Attributes:
        run: Name of the run.
        trial: Number of the trial; None where the configuration is no point of the front.
        path: The file: of a folder, the model in it.
        files: The file and those beside it that belong to it.
        format: Name of the format.
        config: The configuration.
        measured: What the run measured of it; empty where it is no point of the front.
        verification: The file beside the evaluator; None where it computes nothing or was not verified.
        folder: The folder that holds the model and all that belongs to it; None where it is a file alone.
        document: The bit config document that it holds or carries.
        pick: What it was chosen by, as ``--pick`` takes it; None where it is no point of the front.
        within: The limits among which it was chosen.
        notes: What its user must know of the file, a sentence each.
        refined: Whether it is a point as it was refined.
    """

    run: str
    trial: int | None
    path: Path
    files: tuple[Path, ...]
    format: str
    config: BitConfig
    measured: Mapping[str, Any]
    verification: Verified | None
    folder: Path | None = None
    document: Mapping[str, Any] = field(default_factory=dict)
    pick: str | None = None
    within: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    refined: bool = False

    @property
    def passed(self) -> bool:
        """Whether nothing was found that the file computes otherwise than the evaluator."""
        return self.verification is None or self.verification.passed

    def to_json(self) -> dict[str, Any]:
        """The document that ``--json`` prints."""
        return {
            "run": self.run,
            "trial": self.trial,
            "pick": self.pick,
            "refined": self.refined,
            "within": self.within,
            "digest": self.config.digest,
            "path": self.path,
            "folder": self.folder,
            "format": self.format,
            "measured": self.measured,
            "notes": self.notes,
            "verification": None if self.verification is None else self.verification.to_json(),
        }


def export_run(
    run: RecordedRun,
    pick: Choice = KNEE,
    *,
    uniform: str | None = None,
    refined: bool = False,
    format: str = "json",  # noqa: A002 - as the option is called
    path: str | Path | None = None,
    runtime: str | None = None,
    verify: bool = True,
    tolerance: Tolerance | None = None,
    force: bool = False,
    allow_larger: bool = False,
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
        pick: A point of its front: ``knee``, an objective such as ``top1``, weights by objective, or a trial
            number.
        uniform: The same widths in every encoder instead, such as ``W8A8T8``.
        refined: Whether the point is taken as it was refined.
        format: A name out of :data:`bitfront.evaluators.deployment.registry.FORMATS`.
        path: The file, or for ``onnx`` and ``openvino`` a folder, which has no ending; None for one in
            ``exports`` of the run folder.
        runtime: Whose fast paths the file is written for, and what verifies it; None for the format's first.
        verify: Whether a file that computes is verified on the test split; the figures are kept beside it.
        tolerance: How far the file may be from the evaluator; None for the defaults.
        force: Whether a file, or the files of an export in a folder, may be overwritten by others.
        allow_larger: Whether a file may be written that breaks a ``max_size`` of the run, or of its narrowed
            front, which was held by the size of files of another format.
        checkpoint: The weights of the run, where they have moved.
        data: The data of the run, where they have moved.
        calibration_data: Its calibration images, where they were apart and have moved.
        test_data: Its test images, where they were apart and have moved.
        class_map: Its class map, where that has moved.
        progress: Is told of the steps.

    Raises:
        UserError: There is no such configuration, it cannot be written in that format or place, or its file
            breaks a limit; formats that keep it are named.
        BitfrontError: Writing failed.
    """
    from bitfront.evaluators.context.context import EvaluationContext
    from bitfront.search.session.writing import Writing, carried_document, write_file, write_folder

    if uniform and refined:
        raise UserError(f"--refined is for a point of the front that was refined, and {uniform} is none")
    refinement: Path | None = None
    if refined:
        chosen, refinement = refined_point(run, pick)
    else:
        chosen = chosen_uniform(run, uniform) if uniform else chosen_point(run, pick)
    form, target = format_named(format), None if path is None else Path(path)
    known: dict[str, Any] = {"run": run.name, "trial": chosen.provenance.get("trial"), "format": format}
    known |= {"refined": refined}
    known |= {"config": chosen.config, "measured": chosen.measured}
    if not uniform:
        known |= {"pick": choice_text(pick), "within": tuple(limit.origin for limit in run.narrowed)}
    if not isinstance(form, ModelFormat):
        target = target or run.path / "exports" / f"{chosen.name}{form.suffix}"
        document = form.document(chosen.config, chosen.measured, chosen.provenance)
        if format != "json":  # which is for this machine: `evaluate` and `bench` take their data from it
            document = {**document, "bit_config": without_folders(document["bit_config"])}
        write_config(document, target, force, make_folder=path is None)
        return Exported(**known, path=target, files=(target,), verification=None, document=document)
    place = _place(run, chosen, format, form, target, runtime)
    form.check(chosen.config.scheme, place.runtime)
    if place.folder is None:
        check_writable(place.model, make_folder=path is None)
    else:
        check_folder(place.folder, force, make_parent=path is None)
    places: dict[str, str | Path | None] = {
        "data": data,
        "calibration_data": calibration_data,
        "test_data": test_data,
    }
    places |= {"class_map": class_map, "refinement": refinement}
    spec, reporter = evaluation_of(run).moved(checkpoint=checkpoint, **places), reporter_of(progress)
    with reporter.stage(preparing(spec)) as share_done:
        context = EvaluationContext.from_spec(spec, share_done, keep_codes=True)
    document = carried_document(context, chosen)
    check = None if allow_larger else partial(_check_size, run)
    writing = Writing(form, context, chosen, place, document, reporter, check)
    write = write_file if place.folder is None else write_folder
    files, verified = write(writing, force, (tolerance or Tolerance()) if verify else None)
    known |= {"path": place.model, "folder": place.folder, "files": tuple(files)}
    shipped = files_of(place.model)
    size, names = sum(path.stat().st_size for path in shipped), [path.name for path in shipped]
    broken = broken_sizes(run, size, chosen.measured.get("size_bytes"))
    notes = tuple(told_larger(run, limit, names, size) for limit in broken)
    for note in notes:
        reporter.note(f"warning: {note}")
    return Exported(**known, verification=verified, document=writing.document, notes=notes)


def _check_size(run: RecordedRun, writing: Writing, files: list[Path]) -> None:
    """Refuses files that break a limit of the run before they are in their place.

    Raises:
        UserError: They do; formats that keep the limit are named.
    """
    size = sum(path.stat().st_size for path in files)
    broken = broken_sizes(run, size, writing.chosen.measured.get("size_bytes"))
    own = next((name for name in SIZED if format_named(name) is writing.form), PACKED)
    # What a packed file says of itself is no part of the size that is searched: that is told, not refused.
    if not broken or own == PACKED:
        return
    limit = min(broken, key=lambda found: found.threshold)
    sizes = writing.sizes(name for name in SIZED if name != own)
    within = {name: found for name, found in sizes.items() if found <= limit.threshold}
    keeping = [f"--format {name} ({found / 1e6:.4g} MB)" for name, found in within.items()]
    kept = f"{' or '.join(keeping)} keeps it" if keeping else "no other format keeps it"
    told = told_larger(run, limit, [path.name for path in files], size)
    raise UserError(
        f"{told}: {kept}; search with --size-of {own} to bound these files, or write it all the same with "
        "--allow-larger"
    )


def _place(
    run: RecordedRun, chosen: Chosen, name: str, form: ModelFormat, target: Path | None, runtime: str | None
) -> Place:
    """Where a format is written: a folder, or a file where one is named or the format has no folders.

    Raises:
        UserError: The name is neither, or the runtime does not read the format.
    """
    from bitfront.search.session.writing import Place

    other = runtime if runtime not in (None, form.runtimes[0]) else None
    in_folder = form.in_folder
    if target is not None:
        if target.suffix != form.suffix and not (in_folder and (not target.suffix or target.is_dir())):
            or_none = ", or none for a folder" if in_folder else ""
            raise UserError(f"--output {target} needs the ending {form.suffix} for --format {name}{or_none}")
        in_folder = target.suffix != form.suffix
    elif in_folder:
        target = run.path / "exports" / "-".join(filter(None, (chosen.name, name, other)))
    else:
        target = run.path / "exports" / f"{chosen.name}{form.suffix}"
    model = target / f"{MODEL}{form.suffix}" if in_folder else target
    return Place(model, target if in_folder else None, runtime_for(model, runtime))
