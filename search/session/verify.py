"""Verifying an exported file against the evaluator, later or elsewhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bitfront.evaluators.context.machine import available_cpus
from bitfront.evaluators.context.spec import DATA_PLACES, PLACES, EvaluationSpec
from bitfront.evaluators.deployment.registry import file_document, files_of, format_of, model_in, runtime_for
from bitfront.evaluators.deployment.runtimes.registry import runtime_named
from bitfront.evaluators.deployment.tolerance import Expected, Tolerance
from bitfront.evaluators.tasks.registry import task_named
from bitfront.search.export.places import check_places, with_folders
from bitfront.search.runs.files import where_inputs_are
from bitfront.search.session.inputs import preparing
from bitfront.search.session.reporter import ProgressCallback, Reporter, reporter_of
from bitfront.spaces import BitConfig, UserError
from bitfront.spaces.quantities import count_of

if TYPE_CHECKING:
    from bitfront.evaluators.context.context import SplitName
    from bitfront.evaluators.data.images import PreprocessedImages
    from bitfront.evaluators.deployment.runtimes.runtime import FloatPrecision
    from bitfront.search.export.verification import Verified

SPLITS: tuple[SplitName, ...] = ("calibration", "search", "test")
REBUILT = "the evaluator, prepared again"
RECORDED = "what the evaluator predicted when the file was exported"


def verify(
    path: str | Path,
    *,
    split: SplitName | Literal["all"] = "test",
    rebuild: bool = False,
    runtime: str | None = None,
    precision: FloatPrecision = "f32",
    threads: int = 1,
    tolerance: Tolerance | None = None,
    checkpoint: str | Path | None = None,
    data: str | Path | None = None,
    calibration_data: str | Path | None = None,
    test_data: str | Path | None = None,
    class_map: str | Path | None = None,
    refinement: str | Path | None = None,
    progress: Reporter | ProgressCallback | None = None,
) -> Verified:
    """Runs an exported file in its runtime and compares its predictions with the evaluator's.

    Those that were recorded beside the file when it was exported need neither model nor weights; without
    them, or for other images, the model is prepared again.

    Args:
        path: An ``.onnx``, ``.xml`` or ``.safetensors`` file, or an exported folder.
        split: The images to classify.
        rebuild: Whether to prepare the model again, whatever is recorded.
        runtime: What runs the file; None for the format's own.
        precision: Of what is not quantized: ``f32`` or ``bf16``.
        threads: Of the runtime.
        tolerance: How far the file may be from the evaluator; None for 0.3 points and 99 % of equal
            predictions.
        checkpoint: The float weights, where they have moved.
        data: The data, where they have moved.
        calibration_data: The calibration images, where they were apart and have moved.
        test_data: The test images, where they were apart and have moved.
        class_map: The class map, where it has moved.
        refinement: What was learned of a refined configuration, where that has moved.
        progress: Is told of the steps.

    Returns:
        The figures; ``passed`` says whether the file computes what was evaluated.

    Raises:
        UserError: The file, its runtime, its data or the weights cannot be used.
        BitfrontError: The file yields no logits.
    """
    from bitfront.evaluators.deployment.documents import read_preprocessing
    from bitfront.search.export.verification import Check

    path, reporter = model_in(Path(path)), reporter_of(progress)
    form = format_of(path)
    chosen = runtime_for(path, runtime)
    known = runtime_named(chosen).precisions
    if precision not in known:
        raise UserError(f"--precision {precision}: {chosen} computes in {' or '.join(known)} only")
    if threads > available_cpus():
        raise UserError(f"--threads {threads}: there are {available_cpus()} processors here")
    document = with_folders(file_document(path), path)
    config = BitConfig.from_json(document)
    form.check(config.scheme, chosen)
    splits = SPLITS if split == "all" else (split,)
    spec = _spec(path, document)
    spec = spec.moved(
        checkpoint=checkpoint,
        data=data,
        calibration_data=calibration_data,
        test_data=test_data,
        class_map=class_map,
        refinement=refinement,
    )
    spec.check()
    check = Check(path, chosen, precision, threads, form.tolerance(config.scheme, tolerance or Tolerance()))
    expected = None if rebuild or checkpoint is not None else _recorded(path, splits)
    check_places(spec, path, PLACES if expected is None else (*DATA_PLACES, "class_map"))
    if expected is None:
        images, expected = _rebuilt(spec, config, splits, check.asks_second, reporter)
        against = REBUILT
    else:
        images = _images(spec, read_preprocessing(path, document), splits, reporter)
        if [label for part in images for label in part.labels.tolist()] != expected.labels.tolist():
            raise UserError(
                f"the images are not those that {path} was verified on: bring them back with --data, or give "
                "--rebuild"
            )
        against = RECORDED
    with reporter.stage(f"classifying {count_of(len(expected.labels), 'image')} by {chosen}") as share_done:
        found = check.run(images, expected, config, task_named(spec.task), share_done)
    return dataclasses.replace(found, against=against)


def _spec(path: Path, document: Mapping[str, Any]) -> EvaluationSpec:
    """What the file's configuration was evaluated under, on this machine's processor.

    Raises:
        UserError: The file does not say.
    """
    provenance = document.get("provenance")
    recorded = provenance.get("evaluation") if isinstance(provenance, dict) else None
    try:
        spec = EvaluationSpec.from_json(dict(recorded or {}))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} has a damaged provenance ({error}): export it again") from error
    known = spec.model, spec.scheme
    if recorded is None or known != (document["model"], document["scheme"]):
        raise UserError(f"{path} does not say what it was evaluated on: export it again from its run")
    # An export in a run folder that was moved has its inputs there.
    return dataclasses.replace(where_inputs_are(spec, path.absolute().parent.parent), device="cpu")


def _recorded(path: Path, splits: Sequence[str]) -> Expected | None:
    """The predictions beside the file, where they are of the same images.

    Raises:
        UserError: The record is damaged, or of another file.
    """
    from bitfront.evaluators.deployment.expectation import Sidecar, content_digest, sidecar_of

    record = sidecar_of(path)
    if not record.is_file():
        return None
    sidecar = Sidecar.read(record)
    if sidecar.splits != tuple(splits):
        return None
    if sidecar.digest != content_digest(files_of(path)):
        raise UserError(
            f"{path} has changed since it was verified: export it again, or give --rebuild to compare it "
            "with the evaluator all the same"
        )
    return sidecar.expected


def _rebuilt(
    spec: EvaluationSpec, config: BitConfig, splits: Sequence[SplitName], second: bool, reporter: Reporter
) -> tuple[list[PreprocessedImages], Expected]:
    """Images, and predictions of the model prepared again."""
    from bitfront.evaluators.context.context import EvaluationContext
    from bitfront.evaluators.deployment.expectation import expected_of

    with reporter.stage(preparing(spec)) as share_done:
        context = EvaluationContext.from_spec(spec, share_done, keep_codes=True)
    with reporter.stage("classifying by the evaluator"):
        expected = expected_of(context, config, splits, second=second)
    return [context.images(split) for split in splits], expected


def _images(
    spec: EvaluationSpec, data_config: Mapping[str, Any], splits: Sequence[SplitName], reporter: Reporter
) -> list[PreprocessedImages]:
    """The splits, preprocessed as the file says: neither the model nor its weights are needed."""
    from bitfront.evaluators.context.preparing import source_of, splits_of
    from bitfront.evaluators.data.images import load_images

    source = source_of(spec)
    found = splits_of(spec, source)
    with reporter.stage(f"reading {', '.join(splits)} images"):
        return [load_images(source, getattr(found, split), data_config) for split in splits]
