"""A study of a student on CPUs: distilled, averaged, in INT8 and refined, beside networks trained alike."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.files import finite, write_atomically
from bitfront.search.reports.study import formatted
from bitfront.search.runs.locks import run_lock
from bitfront.search.runs.names import command_line, plain_name
from bitfront.search.session.reporter import ProgressCallback, Reporter, reporter_of
from bitfront.search.session.specs import with_test_folder
from bitfront.search.session.study_folder import FIGURES, TABLES, StudyFolder
from bitfront.search.session.study_spec import StudySpec


@dataclass(frozen=True)
class Study:
    """What a study found.

    Attributes:
        folder: Where its trainings, records and tables are.
        figures: What ``figures.json`` holds: every variant's metrics, the ablation, sizes and times.
    """

    folder: Path
    figures: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The document that ``--json`` prints."""
        return {**self.figures, "files": [self.folder / name for name in (FIGURES, *TABLES.values())]}

    def next_words(self) -> list[str]:
        """The words of the command that goes on: a search of the distilled student."""
        from bitfront.search.reports.training import data_words

        spec = EvaluationSpec.from_json(self.figures["evaluation"])
        words = ["search", "--model", spec.model, "--checkpoint", str(spec.checkpoint), *data_words(spec)]
        return words + (["--seed", str(spec.seed)] if spec.seed else [])

    def table(self, form: str = "markdown") -> str:
        """The tables as ``csv``, ``markdown`` or ``latex``."""
        return formatted(self.figures, form)


def study(
    spec: StudySpec | None = None,
    output: str | Path | None = None,
    *,
    overwrite: bool = False,
    progress: Reporter | ProgressCallback | None = None,
) -> Study:
    """Trains, quantizes, refines and times a student and networks beside it, and writes the tables.

    It repeats the CPU-centric study of compact vision transformers (Nigmatullin, Lukmanov, Taha 2025) on any
    data: a student alone and from a teacher, with averaged weights, in INT8 before and after refining.

    Args:
        spec: What is studied; None for the embedded default.
        output: The folder; None for ``study-MODEL``. One that holds the same study goes on.
        overwrite: Whether it may hold another study, which is removed, or other files.
        progress: Is told of the steps.

    Returns:
        The figures, which are those of ``figures.json`` in the folder.

    Raises:
        UserError: It cannot be carried out as stated.
        BitfrontError: A training failed.
        KeyboardInterrupt: Ctrl-C came; :func:`resume_study` goes on.
    """
    spec = _placed(spec or StudySpec())
    spec.check()
    folder = StudyFolder(default_folder(spec) if output is None else Path(output))
    _check_names(spec)
    folder.check_new(spec, resume_command(folder.path), overwrite)
    with run_lock(folder.path):
        spec.write(folder.path)
        return _carried_out(spec, folder, reporter_of(progress))


def resume_study(
    folder: str | Path, *, time_again: bool = False, progress: Reporter | ProgressCallback | None = None
) -> Study:
    """Goes on with a study that was interrupted or killed; of one that has ended it reads the figures again.

    Args:
        folder: Of the study.
        time_again: Whether times and memory are measured again, such as where other work ran meanwhile.
        progress: Is told of the steps.

    Raises:
        UserError: The folder is none of a study, or something in it is damaged.
        BitfrontError: A training failed.
        KeyboardInterrupt: Ctrl-C came once more.
    """
    found = StudyFolder(Path(folder))
    spec = StudySpec.read(found.path)
    found.make()
    with run_lock(found.path):
        if time_again:
            from bitfront.search.session.study_timing import Timing

            Timing(found, None, reporter_of(progress)).forget(spec.batches)
        return _carried_out(spec, found, reporter_of(progress))


def resume_command(folder: Path) -> str:
    """The command that goes on with a study."""
    return command_line("study", "--resume", folder)


def default_folder(spec: StudySpec) -> Path:
    """The folder of a study that none was named for."""
    return Path(f"study-{plain_name(spec.student.evaluation.model.rpartition('/')[2])}")


def _placed(spec: StudySpec) -> StudySpec:
    """The same with files by absolute paths and with the runtimes that are installed."""
    from bitfront.evaluators.context.spec import absolute_place
    from bitfront.evaluators.deployment.runtimes.registry import runtime_is_installed
    from bitfront.evaluators.latency.registry import PREFERRED

    student = spec.student.at_absolute_places()
    student = dataclasses.replace(student, evaluation=with_test_folder(student.evaluation))
    weights = {name: absolute_place("checkpoint", place) for name, place in spec.baseline_weights.items()}
    runtimes = spec.runtimes
    if runtimes is None:
        runtimes = tuple(name for name in PREFERRED if runtime_is_installed(name))[:1]
    return dataclasses.replace(spec, student=student, baseline_weights=weights, runtimes=runtimes)


def _check_names(spec: StudySpec) -> None:
    """Refuses models that timm does not have, before hours go into the others; raises UserError."""
    from bitfront.evaluators.models.classifiers import is_quantized
    from bitfront.evaluators.models.families import check_family
    from bitfront.evaluators.models.outlines import model_outline

    evaluation = spec.student.evaluation
    if not is_quantized(evaluation.model, evaluation.checkpoint):
        check_family(evaluation.model, model_outline(evaluation.model))  # which says so
    for name in (spec.teacher.model, *spec.baselines):
        model_outline(name)


@contextmanager
def _going_on(folder: StudyFolder, reporter: Reporter) -> Iterator[None]:
    """Says how to go on where a study is cut short."""
    try:
        yield
    except KeyboardInterrupt:
        reporter.note(f"next: {resume_command(folder.path)}")
        raise


def _carried_out(spec: StudySpec, folder: StudyFolder, reporter: Reporter) -> Study:
    from bitfront.search.session.study_work import StudyWork

    with _going_on(folder, reporter):
        figures = finite(StudyWork(spec, folder, reporter).run())
    write_atomically(folder.path / FIGURES, json.dumps(figures, indent=1, default=str) + "\n")
    for form, name in TABLES.items():
        write_atomically(folder.path / name, formatted(figures, form))
    return Study(folder.path, figures)
