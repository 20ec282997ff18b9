"""The suite of a benchmark: a model in every arithmetic and runtime, and baselines, each as a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from torch import nn

from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.deployment.graph.model import configuration_graph, float_graph
from bitfront.evaluators.deployment.graph.operands import dialect_of
from bitfront.evaluators.deployment.graph.parts import SCHEME, GraphParts
from bitfront.evaluators.deployment.runtimes.registry import runtime_named
from bitfront.evaluators.deployment.runtimes.runtime import FloatPrecision
from bitfront.evaluators.latency.bench.baselines import baseline_candidates
from bitfront.evaluators.latency.bench.entry import (
    BFLOAT16,
    DYNAMIC_INT8,
    FLOAT32,
    TORCH,
    Candidate,
    Label,
    graph_candidate,
)
from bitfront.evaluators.latency.bench.torch_entries import (
    Arithmetic,
    PackedEntry,
    TorchEntry,
    save_weights,
    saved_bytes,
)
from bitfront.evaluators.latency.measured import stand_in
from bitfront.evaluators.models.architecture import Architecture
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.digits_models import has_weights
from bitfront.evaluators.models.families import blueprint_of
from bitfront.evaluators.packed.file import write_packed
from bitfront.evaluators.preparation.layer_fit import FITTING
from bitfront.evaluators.preparation.recipes import TOKEN_WEIGHTS, Recipe
from bitfront.evaluators.progress import ShareDone
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.spaces import BitConfig, BitfrontError, Triple

_VARIANTS: dict[Arithmetic, str] = {"float32": FLOAT32, "bfloat16": BFLOAT16, "dynamic": DYNAMIC_INT8}


@dataclass(frozen=True)
class NamedConfig:
    """A configuration that takes part.

    Attributes:
        name: What it is called.
        config: Its bits.
        bits: Those of every encoder where they are the same by request.
    """

    name: str
    config: BitConfig
    bits: Triple | None = None


@dataclass(frozen=True, eq=False)
class BenchedModel:
    """A float model and its quantized parts.

    Attributes:
        name: The model's name.
        module: The float model.
        blueprint: The same in parts.
        prepared: The quantized model, with its codes.
        recipe: What it was prepared with.
        weights: Where the weights come from.
        architecture: What rebuilds the module where its name does not.
        context: Has the images that it may be tested on; None where it was prepared on noise.
    """

    name: str
    module: nn.Module
    blueprint: Blueprint
    prepared: PreparedModel
    recipe: Recipe
    weights: str
    architecture: Architecture | None = None
    context: EvaluationContext | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image."""
        return self.blueprint.image_shape


def load_benched(spec: EvaluationSpec, progress: ShareDone) -> BenchedModel:
    """Prepares a model as it would be exported; with random weights, on noise, where it has none of its own.

    Raises:
        UserError: The model, its weights or the data cannot be used.
    """
    recipe, context = spec.whole_recipe, None
    if spec.checkpoint is not None or spec.pretrained or has_weights(spec.model):
        context = EvaluationContext.from_spec(spec, progress, keep_codes=True)
        module, prepared, weights = context.model.module, context.prepared, context.model.weights
        architecture = context.model.architecture
    else:
        subject = stand_in(spec, keep_codes=True, progress=progress)
        module, prepared, weights, architecture = subject.module, subject.prepared, "random", None
        recipe = recipe.without(FITTING | {TOKEN_WEIGHTS})
    blueprint = blueprint_of(spec.model, module)
    return BenchedModel(spec.model, module, blueprint, prepared, recipe, weights, architecture, context)


@dataclass(frozen=True)
class Suite:
    """Candidates, and why others are missing.

    Attributes:
        candidates: Those that take part.
        notes: A sentence for each reason.
    """

    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...]


def make_suite(
    model: BenchedModel,
    entries: Sequence[NamedConfig],
    runtimes: Sequence[str],
    baselines: Sequence[str],
    bfloat16: bool,
    folder: Path,
    progress: ShareDone,
) -> Suite:
    """Writes the file of every candidate into a folder.

    Args:
        model: The model.
        entries: Its configurations.
        runtimes: Those that take part, all of them installed; torch's float32, to which all is compared,
            takes part in any case.
        baselines: Other models of timm.
        bfloat16: Whether this processor computes in bfloat16.
        folder: Where the files go.
        progress: Is told the share that is done.
    """
    candidates: list[Candidate] = []
    notes: list[str] = []
    steps = len(runtimes) + len(baselines)
    candidates.append(_torch_float(model, "float32", folder))
    for done, runtime in enumerate(runtimes):
        progress(done / steps)
        if runtime == TORCH:
            candidates += _in_torch(model, entries, bfloat16, folder)
            continue
        candidates += _floats(model, runtime, bfloat16, folder)
        if model.prepared.scheme == SCHEME:
            candidates += _in_runtime(model, entries, runtime, bfloat16, folder)
        elif entries:
            other = model.prepared.scheme
            notes.append(f"{runtime} runs scheme {SCHEME} only: configurations of {other} are left out there")
    for done, name in enumerate(baselines, start=len(runtimes)):
        progress(done / steps)
        try:
            candidates += baseline_candidates(name, model.shape, runtimes, folder, notes)
        except BitfrontError as error:
            notes.append(f"baseline {name} is left out: {error}")
    progress(1.0)
    return Suite(tuple(candidates), tuple(notes))


def _torch_float(model: BenchedModel, arithmetic: Arithmetic, folder: Path) -> Candidate:
    path = folder / "float.safetensors"
    if not path.exists():
        save_weights(model.module, path, model.architecture)
    entry = TorchEntry(path, model.name, arithmetic, model.shape)
    label = Label(model.name, _VARIANTS[arithmetic], TORCH, arithmetic)
    return Candidate(label, entry, saved_bytes(entry, folder))


def _in_torch(
    model: BenchedModel, entries: Sequence[NamedConfig], bfloat16: bool, folder: Path
) -> Iterator[Candidate]:
    yield _torch_float(model, "dynamic", folder)
    if bfloat16:
        yield _torch_float(model, "bfloat16", folder)
    described = {} if model.architecture is None else {"architecture": model.architecture.to_json()}
    for entry in entries:
        path = folder / f"{entry.config.digest}.safetensors"
        document = entry.config.to_json(provenance=described)
        size = write_packed(path, model.prepared, entry.config, model.recipe, document)
        label = Label(model.name, entry.name, TORCH, "quantized", bits=entry.bits)
        yield Candidate(label, PackedEntry(path), size)


def _floats(model: BenchedModel, runtime: str, bfloat16: bool, folder: Path) -> Iterator[Candidate]:
    path = folder / "float.onnx"
    if not path.exists():
        onnx.save(float_graph(model.blueprint), path)
    for precision in _precisions(runtime, bfloat16):
        kind: Arithmetic = "float32" if precision == "f32" else "bfloat16"
        label = Label(model.name, _VARIANTS[kind], runtime, kind, precision)
        yield graph_candidate(label, path, model.shape)


def _in_runtime(
    model: BenchedModel, entries: Sequence[NamedConfig], runtime: str, bfloat16: bool, folder: Path
) -> Iterator[Candidate]:
    parts = GraphParts.of(model.prepared)
    for entry in entries:
        path = folder / f"{entry.config.digest}-{runtime}.onnx"
        onnx.save(configuration_graph(parts, entry.config, dialect_of(runtime)), path)
        for precision in _precisions(runtime, bfloat16):
            label = Label(model.name, entry.name, runtime, "quantized", precision, bits=entry.bits)
            yield graph_candidate(label, path, model.shape)


def _precisions(runtime: str, bfloat16: bool) -> list[FloatPrecision]:
    return [found for found in runtime_named(runtime).precisions if found == "f32" or bfloat16]
