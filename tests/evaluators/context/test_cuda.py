"""The same arithmetic on a GPU: skipped, with the reason, where there is none."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest
import torch

from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.machine import device_named
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.models.families import blueprint_of
from bitfront.evaluators.packed.file import read_packed, write_packed
from bitfront.evaluators.preparation.calibration import calibrate
from bitfront.evaluators.preparation.recipes import recipe_named
from bitfront.evaluators.quantized.kernels.backend import kernels_for
from bitfront.evaluators.quantized.kernels.portable import PortableKernels
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.quantizers.registry import observer_named
from bitfront.spaces import SCHEMES, BitConfig, UserError


def _absent() -> str:
    try:
        device_named("cuda")
    except UserError as error:
        return str(error)
    return ""


pytestmark = [pytest.mark.cuda, pytest.mark.skipif(bool(_absent()), reason=_absent() or "there is a GPU")]
WIDTHS = (4, 8)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("family", ["small_vit", "small_swin"])
@pytest.mark.parametrize("bits", [(8, 8, 8), (8, 8, 4), (4, 4, 4)])
def test_a_gpu_computes_the_same_codes(
    request: pytest.FixtureRequest, uniform, scheme: str, family: str, bits
) -> None:
    module = request.getfixturevalue(family)(3)
    here, there = blueprint_of("small", module), blueprint_of("small", copy.deepcopy(module).to("cuda"))
    images = torch.randn(9, *here.image_shape, generator=torch.Generator().manual_seed(1))
    calibration = calibrate(here, lambda: [images], WIDTHS, observer_named("auto"), scheme)
    config = uniform(here, bits, scheme)
    cpu = PreparedModel(here, calibration, scheme, WIDTHS, kernels=PortableKernels(torch.device("cpu")))
    gpu = PreparedModel(there, calibration, scheme, WIDTHS)
    assert gpu.kernels.device.type == "cuda"
    expected: dict[str, torch.Tensor] = {}
    cpu.assemble(config)(images, lambda site, value: expected.update({site: value}))
    found: dict[str, torch.Tensor] = {}
    model = gpu.assemble(config)
    model(images.to("cuda"), lambda site, value: found.update({site: value.cpu()}))
    assert list(found) == list(expected)
    # Near the input, before roundings that differ have spread; then the logits as a whole.
    first = f"{here.encoders[0].name}.norm1"
    assert float((found[first] != expected[first]).double().mean()) < 1e-3
    logits, wanted = found["head"], expected["head"]
    assert float((logits - wanted).norm() / (wanted - wanted.mean()).norm()) < 0.05
    # Where nothing is looked at, attention never leaves its kernel: its integer softmax is the same.
    unseen = model(images.to("cuda")).cpu()
    assert float((unseen - logits).norm() / (logits - logits.mean()).norm()) < (
        0.05 if scheme == "deploy" else 1e-6
    )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_evaluation_on_a_gpu_agrees_with_the_cpu(scheme: str) -> None:
    spec = EvaluationSpec(
        model="digits_deit", scheme=scheme, calibration_images=64, search_images=200, batch_size=64, threads=1
    )
    contexts = [EvaluationContext.from_spec(dataclasses.replace(spec, device=d)) for d in ("cpu", "cuda")]
    config = BitConfig.uniform(spec.model, scheme, contexts[0].encoders, (8, 8, 8))
    cpu, gpu = (context.quality(config) for context in contexts)
    assert abs(cpu["top1"] - gpu["top1"]) <= 1.0
    assert gpu["agreement"] > 97.0


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_packed_file_on_a_gpu_is_the_model_that_was_written_there(tmp_path: Path, scheme: str) -> None:
    spec = EvaluationSpec(
        model="digits_deit", scheme=scheme, device="cuda", calibration_images=64, batch_size=8, threads=1
    )
    context = EvaluationContext.from_spec(spec, keep_codes=True)
    config = BitConfig.uniform(spec.model, scheme, context.encoders, (4, 4, 4))
    recipe = recipe_named(spec.recipe, spec.without)
    write_packed(tmp_path / "m.safetensors", context.prepared, config, recipe, config.to_json())
    kernels = kernels_for(torch.device("cuda"))
    found = read_packed(tmp_path / "m.safetensors").assemble(kernels)
    images = next(context.images("search").batches(8))[0].to("cuda")
    assert torch.equal(found(images), context.prepared.assemble(config)(images))
