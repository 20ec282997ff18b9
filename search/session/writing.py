"""Writing one configuration of a prepared model as a file or a folder that is shipped, and verifying it."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.machine import available_cpus
from bitfront.evaluators.data.sample_depth import depth_of
from bitfront.evaluators.deployment.documents import provenance_of
from bitfront.evaluators.deployment.expectation import RECORD, SUFFIX, Sidecar, content_digest, expected_of
from bitfront.evaluators.deployment.facts import ServingFacts
from bitfront.evaluators.deployment.registry import MODEL, FileContent, ModelFormat, files_of, format_named
from bitfront.evaluators.deployment.tolerance import Expected, Tolerance
from bitfront.evaluators.files import write_atomically
from bitfront.search.export.export import Chosen, origin, place_files
from bitfront.search.export.folder import (
    README,
    RESULTS,
    ServedModel,
    check_content,
    describe_model,
    image_names,
    place_folder,
    write_results,
)
from bitfront.search.export.places import without_folders
from bitfront.search.export.readme import readme_text
from bitfront.search.export.verification import Check, Verified
from bitfront.search.problem.spec import RunSpec
from bitfront.search.session.reporter import Reporter
from bitfront.spaces import BitConfig, UserError
from bitfront.spaces.quantities import count_of


@dataclass(frozen=True)
class Place:
    """Where a model is written, and what for: its file, and its folder where it has one of its own."""

    model: Path
    folder: Path | None
    runtime: str


def carried_document(context: EvaluationContext, chosen: Chosen) -> dict[str, Any]:
    """The bit config document that a model carries: what its input needs, and no place of this machine."""
    known = provenance_of(context.model, context.source.class_names, _whole_number_bits(context))
    return without_folders(chosen.document(known))


def expected_documents(
    spec: RunSpec, name: str, context: EvaluationContext
) -> Callable[[BitConfig], dict[str, Any]]:
    """Makes what an exported point of a run will carry, as far as its length is concerned.

    Figures that are not known yet have the places that they will be written with.
    """
    task = context.task
    figures = dict.fromkeys((task.primary, f"test_{task.primary}"), 98.7654)
    costs = {"latency_ms": 1.23456, "latency_measured_ms": 1.23456, "size_bytes": 1_234_567}
    measured = {**figures, task.loss: 0.123456, **costs, "latency_source": context.spec.scheme}
    known = provenance_of(context.model, context.source.class_names, _whole_number_bits(context))
    provenance = {**origin(name, spec.to_json()), "trial": 10, **known}

    def document(config: BitConfig) -> dict[str, Any]:
        return without_folders(config.to_json(measured, {**provenance, "digest": config.digest}))

    return document


def _whole_number_bits(context: EvaluationContext) -> int | None:
    """The bits of the data's pixels that are whole numbers of more than 8, where it has such."""
    try:
        return depth_of(context.source).bits
    except UserError:  # of several ranges, in images that no split has
        return None


@dataclass(frozen=True)
class Writing:
    """What is written, where, and who is told of it."""

    form: ModelFormat
    context: EvaluationContext
    chosen: Chosen
    place: Place
    document: Mapping[str, Any]
    reporter: Reporter
    check: Callable[[Writing, list[Path]], None] | None = None

    def write(self, path: Path) -> list[Path]:
        """Writes the model; gives its files."""
        context = self.context
        subject = FileContent(context.prepared, self.chosen.config, context.spec.whole_recipe, self.document)
        files = self.form.write(subject, path, self.place.runtime)
        if self.check is not None:
            self.check(self, files)
        return files

    def sizes(self, names: Iterable[str]) -> dict[str, int]:
        """Bytes of the same model in other formats, by name; those that cannot be written here left out."""
        context, config = self.context, self.chosen.config
        subject = FileContent(context.prepared, config, context.spec.whole_recipe, self.document)
        found: dict[str, int] = {}
        for name in names:
            form = format_named(name)
            if not isinstance(form, ModelFormat) or config.scheme not in form.executed:
                continue
            runtimes = form.executed[config.scheme]
            runtime = self.place.runtime if self.place.runtime in runtimes else runtimes[0]
            with tempfile.TemporaryDirectory() as folder, contextlib.suppress(UserError):
                files = form.write(subject, Path(folder) / f"{MODEL}{form.suffix}", runtime)
                found[name] = sum(file.stat().st_size for file in files)
        return found

    def verified(self, path: Path, tolerance: Tolerance) -> tuple[Verified, Expected, Sidecar]:
        """Verifies the model on the test split: the figures, what the evaluator says, the record of both."""
        context, config, runtime = self.context, self.chosen.config, self.place.runtime
        images, threads = context.images("test"), min(context.spec.threads or 1, available_cpus())
        check = Check(path, runtime, "f32", threads, self.form.tolerance(config.scheme, tolerance))
        with self.reporter.stage(f"classifying {count_of(len(images), 'test image')} by the evaluator"):
            expected = expected_of(context, config, ["test"], second=check.asks_second)
        with self.reporter.stage(f"classifying them by {runtime}") as share_done:
            found = check.run([images], expected, config, context.task, share_done)
        found = dataclasses.replace(
            found, path=self.place.model, evaluator_size_bytes=context.size.size_bytes(config)
        )
        digest = content_digest(files_of(path))
        return found, expected, Sidecar(digest, ("test",), expected, found.to_json())


def write_file(
    writing: Writing, force: bool, tolerance: Tolerance | None
) -> tuple[list[Path], Verified | None]:
    """Writes the files in a scratch folder beside their place, moves them there and verifies them."""
    path = writing.place.model
    with (
        writing.reporter.stage(f"writing {path}"),
        tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as scratch,
    ):
        place_files(writing.write(Path(scratch) / path.name), path, force)
    files = files_of(path)
    if tolerance is None:
        return files, None
    found, _, record = writing.verified(path, tolerance)
    # This record stays on this machine: it knows where the data are.
    spec = writing.context.spec
    record = dataclasses.replace(record, places={"model": spec.model, **spec.places})
    record.write(path.with_name(f"{path.name}{SUFFIX}"))
    return files, found


def write_folder(
    writing: Writing, force: bool, tolerance: Tolerance | None
) -> tuple[list[Path], Verified | None]:
    """Writes and verifies everything in a scratch folder beside its place, and moves it there at once."""
    context, document, place = writing.context, writing.document, writing.place
    facts, folder, found = ServingFacts.of_document(document), place.model.parent, None
    assert facts is not None, "a loaded model says how its images are preprocessed"
    runtimes = writing.form.executed[writing.chosen.config.scheme]
    served = ServedModel(facts, context.model.classes, context.task.multiple, place.runtime, runtimes)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=folder.parent) as scratch:
        staging = Path(scratch) / folder.name
        staging.mkdir()
        model = staging / place.model.name
        with writing.reporter.stage(f"writing {folder}"):
            writing.write(model)
            describe_model(staging, model, served, document)
            check_content(staging, folder, force)
        if tolerance is not None:
            found, expected, record = writing.verified(model, tolerance)
            record.write(staging / RECORD)
            images = context.images("test")
            names = image_names(context.spec, context.source.describe, images.indices.tolist())
            write_results(staging / RESULTS, images, names, expected, found.figures, facts.class_names)
        report = None if found is None else found.to_json()
        write_atomically(staging / README, readme_text(served, model.name, document, report))
        return place_folder(staging, folder), found
