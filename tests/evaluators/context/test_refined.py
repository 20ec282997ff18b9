"""A refinement on top of a context: through the same door as a calibration, of its configuration alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.preparation.layer_fit import FittedLayer
from bitfront.evaluators.preparation.refinement_file import save_refinement
from bitfront.spaces import BitConfig, Triple, UserError

SPEC = EvaluationSpec(
    model="digits_deit",
    scheme="deploy",
    calibration_images=32,
    search_images=40,
    test_images=24,
    batch_size=40,
    threads=1,
)


@pytest.fixture(scope="module")
def context() -> EvaluationContext:
    return EvaluationContext.from_spec(SPEC)


def uniform(context: EvaluationContext, bits: Triple) -> BitConfig:
    return BitConfig.uniform("digits_deit", "deploy", context.encoders, bits)


@pytest.fixture(scope="module")
def file(context: EvaluationContext, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A refinement that moved the biases of one configuration."""
    calibrated, blueprint = context.calibrated_again()
    layers = {
        key: FittedLayer(layer.weight, layer.bias + 0.05)
        for key, layer in calibrated.layers.items()
        if key[2:] == (4, 8)
    }
    path = tmp_path_factory.mktemp("refined") / "refined.safetensors"
    found = dataclasses.replace(calibrated, layers=layers)
    save_refinement(path, found, blueprint, uniform(context, (4, 8, 8)), context.calibration, {}, {})
    return path


def test_both_ways_lead_to_the_same_model(context: EvaluationContext, file: Path) -> None:
    config = uniform(context, (4, 8, 8))
    before = context.logits(config, "search")
    here = context.refined_by(file).logits(config, "search")
    again = EvaluationContext.from_spec(dataclasses.replace(SPEC, refinement=str(file)))
    assert torch.equal(again.logits(config, "search"), here)
    assert not torch.equal(before, here)
    assert torch.equal(context.logits(config, "search"), before)  # which stays as it was
    assert again.calibration == context.calibration
    quality, outputs = context.quality_with_outputs(config, "search")
    assert torch.equal(outputs.values, before)
    assert quality.values == context.quality(config).values


def test_it_can_be_written_to_files(context: EvaluationContext, file: Path) -> None:
    spec = dataclasses.replace(SPEC, refinement=str(file))
    refined = EvaluationContext.from_spec(spec, keep_codes=True)
    plain = EvaluationContext.from_spec(SPEC, keep_codes=True)
    moved = refined.prepared.fitted(0, "mlp.fc1", 4, 8).bias - plain.prepared.fitted(0, "mlp.fc1", 4, 8).bias
    torch.testing.assert_close(moved, torch.full_like(moved, 0.05))


def test_what_is_quickest_is_found_with_its_configuration(context: EvaluationContext, file: Path) -> None:
    spec = dataclasses.replace(SPEC, refinement=str(file), batch_size=None)
    assert EvaluationContext.from_spec(spec).spec.batch_size is not None


def test_another_configuration_or_calibration_is_refused(context: EvaluationContext, file: Path) -> None:
    refined = context.refined_by(file)
    with pytest.raises(UserError, match="the model was refined for configuration"):
        refined.quality(uniform(context, (8, 8, 8)))
    other = EvaluationContext.from_spec(dataclasses.replace(SPEC, calibration_images=24))
    with pytest.raises(UserError, match="refines another calibration than this one"):
        other.refined_by(file)
    integers = EvaluationContext.from_spec(dataclasses.replace(SPEC, scheme="fq-vit"))
    with pytest.raises(UserError, match="the bit config is for scheme 'deploy'"):
        integers.refined_by(file)
    with pytest.raises(UserError, match="there is no file"):
        context.refined_by(file.with_name("none"))
