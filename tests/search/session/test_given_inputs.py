"""A search of a model and images given as Python objects: every process finds the same in the run folder."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bitfront.evaluators.context.bundle import bundle_of, context_of_bundle, fingerprint_of
from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.deployment.documents import provenance_of
from bitfront.evaluators.packed.file import read_packed, write_packed
from bitfront.evaluators.preparation.recipes import recipe_named
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.search.session.evaluate import evaluate
from bitfront.search.session.given_inputs import write_given
from bitfront.search.session.profile import profile
from bitfront.spaces import BitConfig, EncoderBits, UserError

CLASSES = 3
SPEC = EvaluationSpec(model="digits_deit",
    data="elsewhere", pretrained=True, scheme="deploy", recipe="fq-vit", calibration_images=4,
    search_images=6, test_images=6, batch_size=6, threads=1, first_images=6,
)  # fmt: skip


class Scenes:
    """A map-style data set of PIL images, larger than the model's."""

    classes = ("a", "b", "c")

    def __len__(self) -> int:
        return 18

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        if index >= len(self):
            raise IndexError(index)
        pixels = np.random.default_rng(index).integers(0, 256, (24, 20, 3), dtype=np.uint8)
        return Image.fromarray(pixels), index % CLASSES


@pytest.fixture(scope="module")
def model() -> Any:
    ensure_torchvision()
    from timm.models.vision_transformer import VisionTransformer

    with torch.random.fork_rng():
        torch.manual_seed(3)
        module: Any = VisionTransformer(
            img_size=16, patch_size=4, embed_dim=32, depth=2, num_heads=2, num_classes=CLASSES, reg_tokens=1
        )
    module.pretrained_cfg = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.2), "crop_pct": 1.0}
    return module.eval()


@pytest.fixture(scope="module")
def spec(model: Any, tmp_path_factory: pytest.TempPathFactory) -> EvaluationSpec:
    return write_given(tmp_path_factory.mktemp("run"), SPEC, model, Scenes())


@pytest.fixture(scope="module")
def context(spec: EvaluationSpec) -> EvaluationContext:
    return EvaluationContext.from_spec(spec, keep_codes=True)


def test_the_spec_names_the_files_and_nothing_else_changes(spec: EvaluationSpec) -> None:
    assert spec.checkpoint is not None
    inputs = Path(spec.checkpoint).parent
    assert inputs.is_absolute()
    assert inputs.name == "inputs"
    assert sorted(path.name for path in inputs.iterdir()) == ["images", "model.safetensors"]
    assert spec.data == str(inputs / "images" / "labels.csv")
    assert (spec.model, spec.pretrained) == ("VisionTransformer", False)
    assert EvaluationSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    given = {"model": SPEC.model, "checkpoint": SPEC.checkpoint, "data": SPEC.data, "pretrained": True}
    assert EvaluationSpec.from_json({**spec.to_json(), **given}) == SPEC


def test_logits_are_those_of_the_module(model: Any, context: EvaluationContext) -> None:
    images = context.images("search")
    (batch,) = (pixels for pixels, _ in images.batches(len(images)))
    with torch.inference_mode():
        assert torch.equal(context.model.module(batch), model(batch))
    for index, label in zip(images.indices, images.labels, strict=True):
        image, expected = Scenes()[int(Path(context.source.describe(int(index))).stem)]
        assert np.array_equal(np.asarray(context.source.load(int(index))), np.asarray(image))
        assert label == expected


WORKER = """
import json, sys
from bitfront.evaluators.context.bundle import fingerprint_of
from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.spec import EvaluationSpec
found = fingerprint_of(EvaluationContext.from_spec(EvaluationSpec.from_json(json.loads(sys.argv[1]))))
print(found.weights, found.images, found.calibration)
"""


def test_a_worker_builds_the_same_context(spec: EvaluationSpec, context: EvaluationContext) -> None:
    here = fingerprint_of(context)
    words = [sys.executable, "-c", WORKER, spec.canonical()]
    done = subprocess.run(words, capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    found = done.stdout.split()
    assert found == [here.weights, here.images, here.calibration]


def test_a_bundle_for_other_machines_carries_the_architecture(
    context: EvaluationContext, tmp_path: Path
) -> None:
    path = tmp_path / "bundle.safetensors"
    path.write_bytes(bundle_of(context))
    sent = context_of_bundle(path, context.spec)
    assert sent.model.architecture == context.model.architecture
    assert fingerprint_of(sent).difference(fingerprint_of(context)) is None
    assert sent.float_temperature() == context.float_temperature()
    other = dataclasses.replace(context)
    other.take_temperature(50.0)
    path.write_bytes(bundle_of(other))
    assert context_of_bundle(path, context.spec).float_temperature() == 50.0, "sent, not fitted again"


def test_a_packed_export_is_read_without_the_run(context: EvaluationContext, tmp_path: Path) -> None:
    blueprint = context.prepared.blueprint
    encoders = tuple(EncoderBits(i, encoder.name, 4, 8, 8) for i, encoder in enumerate(blueprint.encoders))
    config = BitConfig(context.spec.model, context.spec.scheme, encoders)
    document = config.to_json(provenance=provenance_of(context.model))
    path = tmp_path / "m.safetensors"
    write_packed(path, context.prepared, config, recipe_named(context.spec.recipe), document)
    packed = read_packed(path)
    (batch,) = (pixels for pixels, _ in context.images("test").batches(6))
    assert torch.equal(packed.assemble()(batch), context.prepared.assemble(config)(batch))
    assert packed.data_config == context.model.data_config


def test_a_changed_model_is_refused(model: Any, tmp_path: Path) -> None:
    spec = write_given(tmp_path, SPEC, model, Scenes())
    assert spec.checkpoint is not None
    path = Path(spec.checkpoint)
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    with pytest.raises(UserError, match="has changed since it was written"):
        EvaluationContext.from_spec(spec)


def test_one_of_both_alone(model: Any, tmp_path: Path) -> None:
    shares: list[float] = []
    images = write_given(tmp_path, SPEC, data=Scenes(), share_done=shares.append)
    assert (images.model, images.checkpoint) == (SPEC.model, SPEC.checkpoint)
    assert images.data.endswith("labels.csv")
    assert shares[-1] == 1.0
    weights = write_given(tmp_path, SPEC, model)
    assert weights.data == SPEC.data
    assert weights.checkpoint is not None


def test_as_many_images_are_written_as_the_splits_take(tmp_path: Path) -> None:
    shares: list[float] = []
    few = dataclasses.replace(SPEC, calibration_images=2, search_images=3, test_images=4, seed=5)
    spec = write_given(tmp_path, few, data=Scenes(), share_done=shares.append)
    assert len(shares) == 9
    assert len(Path(spec.data).read_text().splitlines()) == 10


def test_labels_are_those_of_the_model(model: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="item 0 of the data set has the label 3; expected 0 to 2"):
        write_given(tmp_path, SPEC, model, [(Image.new("RGB", (8, 8)), 3)])


def test_a_folder_that_cannot_be_made(model: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        write_given(tmp_path / "file", SPEC, model)


def test_models_and_data_in_memory_are_evaluated_and_profiled_silently(
    model: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []
    found = evaluate(
        SPEC,
        "W4A8T8",
        latency="model:bops",
        model=model,
        data=Scenes(),
        progress=lambda text, _: told.append(text),
    )
    assert (found.images, found.encoders, found.latency_source) == (6, 2, "model:bops")
    assert 0 < found.size_bytes < found.fp32_size_bytes
    assert 0 < found.latency_ms < found.fp32_latency_ms
    assert found.to_json()["top1"] == found["top1"]
    assert any(text.startswith("classifying 6 test images") for text in told)
    profiled = profile(SPEC, sensitivities="gradient", model=model, data=Scenes())
    assert profiled.figures["widths"] == [4, 8]
    assert profiled.sensitivities is not None
    assert len(profiled.sensitivities["genes"]) == 6
    other = BitConfig("deit_tiny_patch16_224", "deploy", (EncoderBits(0, "blocks.0", 8, 8, 8),))
    with pytest.raises(UserError, match="the bit config is for model deit_tiny_patch16_224, not"):
        evaluate(SPEC, other, model=model, data=Scenes())
    assert capfd.readouterr().out == ""
