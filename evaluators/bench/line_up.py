"""Who takes part in a benchmark: a model in every arithmetic and runtime, and baselines, each as a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch

from bitfront.evaluators.bench.baselines import baseline_contestants
from bitfront.evaluators.bench.benched import BenchedModel, Entry
from bitfront.evaluators.bench.entrant import BFLOAT16, DYNAMIC_INT8, FLOAT32, TORCH, Contestant, Label
from bitfront.evaluators.bench.graph_entrant import graph_contestant
from bitfront.evaluators.bench.packed_entrant import PackedEntrant
from bitfront.evaluators.bench.torch_entrant import Arithmetic, TorchEntrant, converted, save_weights
from bitfront.evaluators.deployment.graph.dialect import DIALECTS
from bitfront.evaluators.deployment.graph.model import configuration_graph, float_graph
from bitfront.evaluators.deployment.graph.parts import SCHEME, GraphParts
from bitfront.evaluators.deployment.packed import write_packed
from bitfront.evaluators.models.loading import load_model
from bitfront.evaluators.runtimes.runtime import FloatPrecision, runtime_named
from bitfront.spaces import BitfrontError

Progress = Callable[[float], None]
_VARIANTS: dict[Arithmetic, str] = {"float32": FLOAT32, "bfloat16": BFLOAT16, "dynamic": DYNAMIC_INT8}


@dataclass(frozen=True)
class LineUp:
    """Contestants, and why others are missing.

    Attributes:
        contestants: Those that take part.
        notes: A sentence for each reason.
    """

    contestants: tuple[Contestant, ...]
    notes: tuple[str, ...]


def line_up(
    model: BenchedModel,
    entries: Sequence[Entry],
    runtimes: Sequence[str],
    baselines: Sequence[str],
    bfloat16: bool,
    folder: Path,
    progress: Progress,
) -> LineUp:
    """Writes everyone's file into a folder.

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
    contestants: list[Contestant] = []
    notes: list[str] = []
    steps = len(runtimes) + len(baselines)
    contestants.append(_torch_float(model, "float32", folder))
    for done, runtime in enumerate(runtimes):
        progress(done / steps)
        if runtime == TORCH:
            contestants += _in_torch(model, entries, bfloat16, folder)
            continue
        contestants += _floats(model, runtime, bfloat16, folder)
        if model.prepared.scheme == SCHEME:
            contestants += _in_runtime(model, entries, runtime, bfloat16, folder)
        elif entries:
            notes.append(_refused(runtime, model.prepared.scheme))
    for done, name in enumerate(baselines, start=len(runtimes)):
        progress(done / steps)
        try:
            contestants += baseline_contestants(name, model.shape, runtimes, folder, notes)
        except BitfrontError as error:
            notes.append(f"baseline {name} is left out: {error}")
    progress(1.0)
    return LineUp(tuple(contestants), tuple(notes))


def _refused(runtime: str, scheme: str) -> str:
    return f"{runtime} runs scheme {SCHEME} only: configurations of {scheme} are left out there"


def _torch_float(model: BenchedModel, arithmetic: Arithmetic, folder: Path) -> Contestant:
    path = folder / "float.safetensors"
    if not path.exists():
        save_weights(model.module, path)
    entrant = TorchEntrant(path, model.name, arithmetic, model.shape)
    label = Label(model.name, _VARIANTS[arithmetic], TORCH, arithmetic)
    return Contestant(label, entrant, _saved_bytes(entrant, folder))


def _in_torch(
    model: BenchedModel, entries: Sequence[Entry], bfloat16: bool, folder: Path
) -> Iterator[Contestant]:
    yield _torch_float(model, "dynamic", folder)
    if bfloat16:
        yield _torch_float(model, "bfloat16", folder)
    for entry in entries:
        path = folder / f"{entry.config.digest}.safetensors"
        document = entry.config.to_json()
        size = write_packed(path, model.prepared, entry.config, model.recipe, document)
        label = Label(model.name, entry.name, TORCH, "quantized", bits=entry.bits)
        yield Contestant(label, PackedEntrant(path), size)


def _floats(model: BenchedModel, runtime: str, bfloat16: bool, folder: Path) -> Iterator[Contestant]:
    path = folder / "float.onnx"
    if not path.exists():
        onnx.save(float_graph(model.blueprint), path)
    for precision in _precisions(runtime, bfloat16):
        kind: Arithmetic = "float32" if precision == "f32" else "bfloat16"
        label = Label(model.name, _VARIANTS[kind], runtime, kind, precision)
        yield graph_contestant(label, path, model.shape)


def _in_runtime(
    model: BenchedModel, entries: Sequence[Entry], runtime: str, bfloat16: bool, folder: Path
) -> Iterator[Contestant]:
    parts = GraphParts.of(model.prepared)
    for entry in entries:
        path = folder / f"{entry.config.digest}-{runtime}.onnx"
        onnx.save(configuration_graph(parts, entry.config, DIALECTS[runtime]), path)
        for precision in _precisions(runtime, bfloat16):
            label = Label(model.name, entry.name, runtime, "quantized", precision, bits=entry.bits)
            yield graph_contestant(label, path, model.shape)


def _precisions(runtime: str, bfloat16: bool) -> list[FloatPrecision]:
    return [found for found in runtime_named(runtime).precisions if found == "f32" or bfloat16]


def _saved_bytes(entrant: TorchEntrant, folder: Path) -> int:
    """What a torch model takes when its state is saved in its own arithmetic."""
    if entrant.arithmetic == "float32":
        return entrant.path.stat().st_size
    module = converted(load_model(entrant.model, checkpoint=entrant.path).module, entrant.arithmetic)
    path = folder / entrant.arithmetic
    if entrant.arithmetic == "bfloat16":
        save_weights(module, path)
    else:  # codes in torch's own packing, which no other format holds
        torch.save(module.state_dict(), path)
    return path.stat().st_size
