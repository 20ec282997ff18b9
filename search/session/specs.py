"""Specs as a session needs them: completed, with a latency source, and as bit config files record them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.context.spec import DATA_PLACES, EvaluationSpec
from bitfront.evaluators.data.class_map import PLAIN
from bitfront.evaluators.deployment.registry import MODEL_SUFFIXES, file_document
from bitfront.evaluators.latency.registry import settled, settled_batch
from bitfront.search.export.folder import BIT_CONFIG
from bitfront.search.export.places import check_places, with_folders
from bitfront.search.problem.spec import RunSpec
from bitfront.search.samplers.registry import check_sampler, default_population
from bitfront.search.session.further_costs import settled_costs
from bitfront.spaces import KINDS, BitConfig, BitfrontError, Choices, Triple, UserError, parse_uniform
from bitfront.spaces.schemes import AUTO, DEPLOY, FQ_VIT

if TYPE_CHECKING:
    from bitfront.evaluators.latency.source import LatencySource

# Fields that say on what it runs: they belong to the machine at hand, not to a configuration.
MACHINE_FIELDS = ("device", "batch_size", "threads")
# Of a file with a bit config.
LARGEST_BYTES = 10_000_000
Document = dict[str, Any]


def completed_spec(spec: RunSpec) -> tuple[RunSpec, LatencySource]:
    """A run spec with what was left to choose; everything that can be checked without loading is.

    Returns:
        The spec, and its latency source, which was needed to choose the batch.

    Raises:
        UserError: The spec cannot be carried out as stated.
    """
    evaluation, latency = settled_spec(spec.evaluation, spec.latency)
    spec = checked_spec(dataclasses.replace(spec, evaluation=evaluation, latency=latency))
    asked = spec.latency_batch, spec.latency_threads
    source, batch = chosen_latency(spec.latency, spec.evaluation.scheme, *asked)
    # One thread is not written: specs of earlier versions have none.
    threads = source.timer.threads if source.timer.threads != 1 else None
    evaluation = with_test_folder(spec.evaluation).at_absolute_places()
    size_of = spec.size_of or (default_size_of(source, evaluation.scheme) if spec.max_size else "")
    spec = dataclasses.replace(spec, latency_batch=batch, latency_threads=threads, size_of=size_of)
    return dataclasses.replace(spec, evaluation=evaluation), source


def default_size_of(source: LatencySource, scheme: str) -> str:
    """The format of the files that the runtime of a latency source serves; a limit is worth nothing else."""
    runtime = source.timer.source.partition(":")[2]
    own = {"openvino": "openvino", "onnxruntime": "onnx"}
    return own.get(runtime, "") if scheme == DEPLOY else ""


def checked_spec(spec: RunSpec) -> RunSpec:
    """A run spec with the population that suits its sampler; its latency source is not looked at.

    Raises:
        UserError: The spec cannot be carried out as stated.
    """
    check_sampler(spec.sampler)
    spec.evaluation.check()
    spec.check()
    population = default_population(spec.sampler) if spec.population is None else spec.population
    costs: dict[str, Any] = settled_costs(spec)
    return dataclasses.replace(spec, population=population, **costs)


def settled_spec(spec: EvaluationSpec, latency: str = AUTO) -> tuple[EvaluationSpec, str]:
    """The spec and the latency source with what ``auto`` stands for; see :func:`settled`.

    Formats that are not plain integers take ``deploy``, and so does a model with parts that ``fq-vit`` does
    not know.
    """
    asked = DEPLOY if spec.scheme == AUTO and not spec.choices.plain else spec.scheme
    scheme, found = settled(asked, latency)
    if spec.scheme == AUTO and scheme == FQ_VIT and _has_peculiarities(spec):
        scheme, found = settled(DEPLOY, latency)
    return dataclasses.replace(spec, scheme=scheme), found


def _has_peculiarities(spec: EvaluationSpec) -> bool:
    """Whether a spec's model has more than plain encoders; False where loading will say what is wrong."""
    from bitfront.evaluators.files import split_entry
    from bitfront.evaluators.models.architecture import read_architecture
    from bitfront.evaluators.models.families import blueprint_outline
    from bitfront.evaluators.models.outlines import model_outline
    from bitfront.evaluators.models.weights_file import weights_in

    try:
        file = None if spec.checkpoint is None else weights_in(Path(split_entry(spec.checkpoint)[0]))
        outline = model_outline(spec.model, 1, None if file is None else read_architecture(file))
        return bool(blueprint_outline(spec.model, outline).peculiarities())
    except BitfrontError:
        return False


def with_test_folder(spec: EvaluationSpec) -> EvaluationSpec:
    """A new spec whose test images are those of a ``test`` folder beside ``train`` and ``val`` of its data.

    One that was recorded stays as it is: earlier versions reported on some of the ``val`` images.
    """
    from bitfront.evaluators.data.arrow_layouts import holds_tables
    from bitfront.evaluators.data.parts import find_test_folder
    from bitfront.evaluators.data.registry import path_of

    if spec.test_data is not None or path_of(spec.data) != spec.data or holds_tables(Path(spec.data)):
        return spec  # built-in data and tables know their own parts
    folder = find_test_folder(spec.data)
    return spec if folder is None else dataclasses.replace(spec, test_data=folder)


def recorded_spec(recorded: Mapping[str, Any], changes: Mapping[str, Any]) -> EvaluationSpec:
    """The spec under which a bit config was found, without the settings of that machine.

    Args:
        recorded: The ``evaluation`` entry of the config's provenance.
        changes: Fields that take other values, those of this machine among them.

    Raises:
        UserError: The record is damaged, or of a version that knew no recipes.
    """
    if "recipe" not in recorded:
        raise UserError(
            "the bit config was found by an earlier version, which prepared models in another way: search "
            'again, or remove its "evaluation" entry and give --model, --data and --recipe'
        )
    try:
        # Where both orders of class folders give the same labels, and of earlier versions, it names none.
        same = all(recorded.get(name) == changes.get(name, recorded.get(name)) for name in DATA_PLACES)
        spec = EvaluationSpec.from_json({"class_order": PLAIN if same else None, **recorded})
    except (KeyError, TypeError) as error:
        raise UserError(
            f'the bit config\'s provenance is damaged ({error}): remove its "evaluation" entry and give '
            "--model and --data"
        ) from error
    written = {name: getattr(EvaluationSpec, name) for name in MACHINE_FIELDS} | dict(changes)
    if "checkpoint" in written:
        written["pretrained"] = False
    elif "pretrained" in written:
        written["checkpoint"] = None
    if "recipe" in written:
        # What was left out of, or set beside, another recipe says nothing about this one.
        written = {"without": (), "observer": None, **written}
    found = dataclasses.replace(spec, **written)
    check_places(found, "the bit config")
    return found


def chosen_latency(
    name: str, scheme: str, batch: int | None = None, threads: int | None = None
) -> tuple[LatencySource, int]:
    """The latency source of a name and the images of a batch.

    Args:
        name: Such as ``measured:torch``, ``table:FILE`` or ``model:bops``.
        scheme: The quantization scheme.
        batch: Images of a batch as asked for; None for the table's, or 1.
        threads: Threads of an inference as asked for; None for the table's, or 1.

    Raises:
        UserError: The source is unknown, cannot be used for the scheme, or is for another batch or other
            threads.
    """
    from bitfront.evaluators.latency.source import latency_source

    source = latency_source(name, scheme, threads)
    return source, settled_batch(name, source.batch, batch)


def read_config_document(path: Path) -> Document:
    """The bit config document of a file: of a bit config itself, or of an exported model or folder.

    Raises:
        UserError: The file is missing, too large, of another kind, or carries none.
    """
    if (path / BIT_CONFIG).is_file():
        path = path / BIT_CONFIG
    if path.suffix in MODEL_SUFFIXES:
        return with_folders(file_document(path), path)
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise UserError(f"{path} is too large for a bit config: give a file written by bitfront export")
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path} cannot be read as a bit config ({error}): give a file written by bitfront export"
        ) from error
    if not isinstance(document, dict):
        raise UserError(f"{path} holds no JSON object: give a file written by bitfront export")
    return with_folders(document, path)


def recorded_evaluation(document: Mapping[str, Any]) -> Document | None:
    """What a bit config document says of the evaluation spec that the config was found under."""
    provenance = document.get("provenance")
    recorded = provenance.get("evaluation") if isinstance(provenance, dict) else None
    return recorded if isinstance(recorded, dict) else None


def config_spec(
    document: Mapping[str, Any],
    otherwise: EvaluationSpec | None = None,
    changes: Mapping[str, Any] | None = None,
) -> EvaluationSpec:
    """The spec that a bit config is evaluated under: that which it was found under, on this machine.

    Args:
        document: The bit config document.
        otherwise: The spec for a document that does not say what it was found under; None for the defaults.
        changes: Fields that take other values than when it was found.

    Raises:
        UserError: The document is damaged, or for another scheme than was asked for.
    """
    config, changes = BitConfig.from_json(dict(document)), changes or {}
    asked = EvaluationSpec(model=config.model, scheme=changes.get("scheme", config.scheme))
    check_same("the bit config", config, asked)
    recorded = recorded_evaluation(document)
    if recorded is not None:
        spec = recorded_spec(recorded, changes)
    else:
        spec = otherwise or EvaluationSpec(model=config.model)
    return dataclasses.replace(at_widths_of(config, spec), scheme=config.scheme)


def at_widths_of(config: BitConfig, spec: EvaluationSpec) -> EvaluationSpec:
    """The spec with the formats that a configuration has.

    One with a refinement keeps its own: it holds for what calibration decided at all of these alone.
    """
    return spec if spec.refinement is not None else at_formats(spec, [config.formats()])


def at_formats(spec: EvaluationSpec, found: Sequence[Choices]) -> EvaluationSpec:
    """The spec with formats that occur; widths are prepared for all kinds where they are plain integers."""
    from bitfront.evaluators.context.preparing import with_choices  # loads torch

    choices = Choices((), (), ())
    for each in found:
        choices = choices.including({kind: each.of(kind) for kind in KINDS})
    return with_choices(spec, Choices.alike(choices.every) if choices.plain else choices)


def check_same(what: str, config: BitConfig, spec: EvaluationSpec) -> None:
    """Raises :class:`UserError` where a configuration is for another model or scheme than the spec."""
    for name, theirs, ours in (("scheme", config.scheme, spec.scheme), ("model", config.model, spec.model)):
        if theirs != ours:
            raise UserError(f"{what} is for {name} {theirs}, not {ours}: give --{name} {theirs}")


def spec_and_config(
    spec: EvaluationSpec | None, config: BitConfig | str | Path
) -> tuple[EvaluationSpec, BitConfig | Triple]:
    """The spec with the formats of a configuration, and that configuration or those of every encoder.

    Args:
        spec: None for what the file of the configuration was found under, or else the defaults.
        config: The configuration, its file, or the same formats in every encoder such as ``W8A8T4``.

    Raises:
        UserError: The configuration cannot be read.
    """
    if isinstance(config, str) and not Path(config).suffix:
        bits = parse_uniform(config)
        spec = with_test_folder(spec or EvaluationSpec())
        return at_formats(spec, [Choices(*((value,) for value in bits))]), bits
    if isinstance(config, BitConfig):
        found = config
        spec = spec or EvaluationSpec(model=found.model, scheme=found.scheme)
    else:
        document = read_config_document(Path(config))
        found = BitConfig.from_json(document)
        spec = spec or config_spec(document)
    return at_widths_of(found, spec), found
