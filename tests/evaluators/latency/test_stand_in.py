"""Models prepared for timing alone: shapes and programs of the real ones, without weights or images."""

from __future__ import annotations

import pytest
import torch

from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.latency.measured import load_shapes, measure_models, stand_in
from bitfront.evaluators.latency.timed_runtime import Subject, TimingProtocol
from bitfront.evaluators.latency.torch_runtime import TorchRuntime, sample_images
from bitfront.evaluators.models.loading import load_model
from bitfront.spaces import Choices, UserError

QUICK = TimingProtocol(warmup=1, iterations=1, repeats=1, fewest=1)


def kernels_of(subject: Subject) -> list[str]:
    """Names of the operators that a model of 4 bits throughout runs."""
    model = subject.prepared.assemble(subject.uniform((4, 4, 4)))
    images = sample_images(subject.prepared, 2)
    model(images)
    with torch.profiler.profile() as profiler:
        model(images)
    return sorted(event.key for event in profiler.key_averages() for _ in range(event.count))


@pytest.mark.parametrize("scheme", ["fq-vit", "deploy"])
def test_it_runs_what_the_real_model_runs(scheme: str) -> None:
    context = EvaluationContext.from_spec(
        EvaluationSpec(model="digits_deit", scheme=scheme, batch_size=8, threads=1)
    )
    real = Subject(context.prepared, context.model.module)
    shares: list[float] = []
    found = stand_in(EvaluationSpec(model="digits_deit", scheme=scheme), False, shares.append)
    assert kernels_of(found) == kernels_of(real)
    assert found.prepared.choices == Choices.alike((4, 8))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_ingredients_that_change_what_runs_are_kept() -> None:
    spec = EvaluationSpec(model="digits_deit", scheme="fq-vit", without=("gelu-levels", "activation-levels"))
    levelled, plain = (
        stand_in(s, False, lambda _: None)
        for s in (EvaluationSpec(model="digits_deit", scheme="fq-vit"), spec)
    )
    assert levelled.prepared.calibration.codebooks
    assert not plain.prepared.calibration.codebooks


@pytest.mark.parametrize("name", ["digits_swin", "vit_tiny_patch16_224"])
def test_models_without_weights_can_be_timed(name: str) -> None:
    spec = EvaluationSpec(scheme="fq-vit", model=name, recipe="fq-vit", widths=(8,))
    subject = stand_in(spec, False, lambda _: None)
    whole, [entry] = measure_models(TorchRuntime(), subject, [subject.widest], 1, QUICK)
    assert whole.milliseconds > 0 < entry.milliseconds
    layers = subject.prepared.blueprint.encoder_layers()
    assert [layer.name for layer in layers] == [encoder.name for encoder in subject.widest.encoders]


def test_random_weights_are_the_same_every_time_and_leave_the_generator_alone() -> None:
    before = torch.get_rng_state()
    first, second = (load_shapes(EvaluationSpec(scheme="fq-vit", model="digits_vit"))[0] for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert first.weights == "random"
    states = first.module.state_dict(), second.module.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_elsewhere_weights_have_a_source() -> None:
    with pytest.raises(UserError, match="no weights without a source"):
        load_model("vit_tiny_patch16_224")
    with pytest.raises(UserError, match="has no embedded weights"):
        load_model("digits_vit")


def test_codes_are_kept_where_a_runtime_needs_them() -> None:
    subject = stand_in(
        EvaluationSpec(scheme="fq-vit", model="digits_vit", recipe="fq-vit"), True, lambda _: None
    )
    assert subject.prepared.fitted(0, "attn.qkv", 4, 8).weight.codes.dtype == torch.int8
