"""What trainings, studies, refinements, comparisons and caches keep."""

from __future__ import annotations

import json
from pathlib import Path

from mutations import BYTES, JSON, LINES, TENSORS
from subject import Subject

KEY = "0" * 64


def _make(folder: Path) -> None:
    import torch

    from bitfront.evaluators.context.spec import EvaluationSpec
    from bitfront.evaluators.preparation.store.store import PreparationStore
    from bitfront.evaluators.preparation.tensor_file import write_tensors
    from bitfront.evaluators.tasks.quality import Quality
    from bitfront.evaluators.training.folder import FORMAT, RECORD, VERSION, write_state
    from bitfront.evaluators.training.refinement.recipe import RefinementSpec
    from bitfront.search.problem.spec import RunSpec
    from bitfront.search.session.comparison.settings import ComparisonSettings
    from bitfront.search.session.comparison.shared_evaluations import SharedEvaluations
    from bitfront.search.session.refine_request import REQUEST, RefineRequest
    from bitfront.search.session.study_spec import StudySpec

    tensors = {"a": torch.arange(12.0).view(3, 4), "b": torch.ones(5, dtype=torch.int8)}
    document = {"layers": [1, 2], "name": "x"}
    PreparationStore(folder / "cache", 10**9).save(KEY, tensors, document)
    write_tensors(folder / "refined.safetensors", "bitfront/refinement", tensors, document)
    study = StudySpec()
    study.write(folder)
    spec = study.of_seed(0, study.teacher)
    training = {"format": FORMAT, "version": VERSION, "spec": spec.to_json()}
    (folder / RECORD).write_text(json.dumps(training))
    write_state(folder / "state.pt", json.dumps(spec.to_json()), {"weights": tensors, "epoch": 3})
    ComparisonSettings(RunSpec(), ("nsga2", "random"), 2, False).write(folder)
    shared = SharedEvaluations(folder / "evaluations.jsonl")
    values = {"top1": 90.0, "loss": 0.3, "kl": 0.1, "agreement": 95.0}
    for number in range(4):
        shared.add(f"{number:016x}", Quality(10, values, 1, 1, 0.5))
    request = RefineRequest(EvaluationSpec(), _config(), RefinementSpec(), 128, None, 3, "top1")
    (folder / REQUEST).write_text(json.dumps(request.to_json()))


def _config():
    from bitfront.spaces import BitConfig, EncoderLayers

    layers = [EncoderLayers(i, f"blocks.{i}", ("attn.qkv", "mlp.fc1")) for i in range(3)]
    return BitConfig.uniform("digits_deit", "fq-vit", layers, (4, 8, 8))


def _cache(folder: Path) -> object:
    """A damaged entry is absent: None, which is prepared once more, or what was kept."""
    from bitfront.evaluators.preparation.store.store import PreparationStore
    from bitfront.spaces import UserError

    found = PreparationStore(folder / "cache", 10**9).load(KEY)
    if found is None:
        raise UserError("absent")
    return {name: value.tolist() for name, value in found[0].items()}, found[1]


def _refined(folder: Path) -> object:
    from bitfront.evaluators.preparation.tensor_file import read_tensors

    tensors, document = read_tensors(folder / "refined.safetensors", "bitfront/refinement", "refine again")
    return {name: value.tolist() for name, value in tensors.items()}, document


def _training(folder: Path) -> object:
    from bitfront.evaluators.training.folder import read_record

    spec, _ = read_record(folder)
    spec.check()
    return json.dumps(spec.to_json())


def _state(folder: Path) -> object:
    from bitfront.evaluators.training.folder import read_state

    found = read_state(folder / "state.pt")
    return {**found, "weights": {name: value.tolist() for name, value in found["weights"].items()}}


def _study(folder: Path) -> object:
    from bitfront.search.session.study_spec import StudySpec

    spec = StudySpec.read(folder)
    spec.check()
    return json.dumps(spec.to_json())


def _comparison(folder: Path) -> object:
    from bitfront.search.session.comparison.settings import ComparisonSettings

    found = ComparisonSettings.read(folder)
    return [found.samplers, found.seeds, json.dumps(found.spec.to_json())]


def _shared(folder: Path) -> object:
    from bitfront.search.session.comparison.shared_evaluations import SharedEvaluations

    return len(SharedEvaluations(folder / "evaluations.jsonl"))


def _request(folder: Path) -> object:
    from bitfront.search.session.refine_request import RefinePlace

    return json.dumps(RefinePlace(folder / "x.safetensors", folder).request().to_json())


SUBJECTS = (
    Subject(
        "cache of prepared models", _make, [(f"cache/{KEY}.safetensors", TENSORS)], [_cache], sealed=True
    ),
    Subject("refined point", _make, [("refined.safetensors", TENSORS)], [_refined], sealed=True),
    Subject("record of a training", _make, [("training.json", JSON)], [_training]),
    Subject("state of a training", _make, [("state.pt", BYTES)], [_state], sealed=True),
    Subject("settings of a study", _make, [("study.json", JSON)], [_study]),
    Subject("settings of a comparison", _make, [("comparison.json", JSON)], [_comparison]),
    Subject("evaluations of a comparison", _make, [("evaluations.jsonl", LINES)], [_shared]),
    Subject("request of a refinement", _make, [("request.json", JSON)], [_request]),
)
