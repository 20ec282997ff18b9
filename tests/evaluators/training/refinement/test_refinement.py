"""Refinement from end to end: it helps or changes nothing, and goes on after a kill to the same result."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from refinement_cases import QUICK, Case, Digits, prepared_of, refined_case

from bitfront.evaluators.packed.file import read_packed, write_packed
from bitfront.evaluators.preparation.calibrated_model import CalibratedModel
from bitfront.evaluators.preparation.calibrated_model_file import calibrated_digest
from bitfront.evaluators.training.refinement import learning
from bitfront.evaluators.training.refinement.refinement import Refined, refine
from bitfront.evaluators.training.refinement.state import STATE
from bitfront.spaces import BitConfig, UserError


@pytest.fixture(scope="module")
def low() -> Case:
    return refined_case("vit")


@pytest.fixture(scope="module")
def refined(low: Case) -> Refined:
    """Two bits of weights, refined."""
    return refine(low.calibrated, low.blueprint, low.config, low.images, QUICK)


def test_it_comes_nearer_to_the_float_model(low: Case, refined: Refined) -> None:
    assert refined.helped
    assert refined.after.kl < refined.before.kl
    assert (refined.images, refined.held_out) == (112, 16)
    assert refined.started_from == calibrated_digest(low.calibrated, low.blueprint)
    assert len(refined.losses) == QUICK.passes
    assert refined.losses[-1] < refined.losses[0]
    assert refined.figures()["after"]["kl"] == refined.after.kl
    assert "nothing is changed" not in refined.summary()
    assert refined.config.digest in refined.summary()


def test_so_it_is_on_images_that_it_never_saw(low: Case, refined: Refined) -> None:
    target = low.float_logits(low.others)

    def divergence(model: CalibratedModel) -> float:
        logits = prepared_of(model, low.config).assemble(low.config)(low.others)
        p = target.log_softmax(-1)
        return float((p.exp() * (p - logits.log_softmax(-1))).sum(-1).mean())

    assert divergence(refined.calibrated) < divergence(low.calibrated)


def test_the_layers_are_those_of_the_configuration_alone(low: Case, refined: Refined) -> None:
    layers = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    encoders = range(len(low.blueprint.encoders))
    assert set(refined.calibrated.layers) == {(i, layer, 2, 8) for i in encoders for layer in layers}
    for key, layer in refined.calibrated.layers.items():
        narrow = layer.weight.narrow_codes
        assert (layer.weight.bits, int(narrow.min()) >= -2, int(narrow.max()) <= 1) == (2, True, True)
        assert not torch.equal(layer.bias, low.calibrated.layers[key].bias)
    before, after = low.calibrated.calibration, refined.calibrated.calibration
    changed = {key for key, grid in before.affine.items() if after.affine[key] != grid}
    assert {bits for _, bits in changed} == {8}
    assert {site.rpartition(".")[2] for site, _ in changed} == {"norm1", "qkv", "context", "norm2", "gelu"}


@pytest.mark.thorough
def test_it_is_packed_as_any_other_model(digits: Digits, tmp_path: Path) -> None:
    config, images = digits.config(4, 4, 4), digits.context.images("test")
    found = refine(digits.calibrated, digits.blueprint, config, digits.images, QUICK).calibrated
    prepared, path = prepared_of(found, config), tmp_path / "packed.safetensors"
    write_packed(path, prepared, config, digits.context.spec.whole_recipe, config.to_json())
    batch = images.normalised(images.pixels)
    assert torch.equal(read_packed(path).assemble()(batch), prepared.assemble(config)(batch))


def test_what_does_not_help_changes_nothing(low: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "RATES", dict.fromkeys(learning.RATES, 1.0))
    wild = dataclasses.replace(QUICK, encoder_passes=0, passes=1)
    found = refine(low.calibrated, low.blueprint, low.config, low.images, wild)
    assert not found.helped
    assert found.calibrated is low.calibrated
    assert "did not help" in found.summary()
    assert found.after.kl > found.before.kl


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize(("when", "again_from"), [(0.35, 0.15), (0.9, 0.7)], ids=["encoders", "passes"])
def test_a_kill_is_gone_on_from_to_the_same_result(
    low: Case, refined: Refined, tmp_path: Path, when: float, again_from: float
) -> None:
    def kill(share: float) -> None:
        if share > when:
            raise KilledError

    arguments = (low.calibrated, low.blueprint, low.config, low.images)
    folder = tmp_path / "state"
    with pytest.raises(KilledError):
        refine(*arguments, QUICK, folder=folder, progress=kill)
    assert (folder / STATE).exists()
    other = dataclasses.replace(QUICK, seed=1)
    with pytest.raises(UserError, match="state of another refinement"):
        refine(*arguments, other, folder=folder)
    shares: list[float] = []
    again = refine(*arguments, QUICK, folder=folder, progress=shares.append)
    assert min(shares) > again_from
    assert again.losses == refined.losses
    digests = [calibrated_digest(found.calibrated, low.blueprint) for found in (again, refined)]
    assert digests[0] == digests[1]
    assert not (folder / STATE).exists()


def test_damaged_states_are_named(low: Case, tmp_path: Path) -> None:
    (tmp_path / STATE).write_bytes(b"nonsense")
    with pytest.raises(UserError, match="cannot be used"):
        refine(low.calibrated, low.blueprint, low.config, low.images, QUICK, folder=tmp_path)


def test_other_schemes_models_and_too_few_images_are_refused(low: Case) -> None:
    other = BitConfig(low.config.model, "fq-vit", low.config.encoders)
    with pytest.raises(UserError, match="scheme 'deploy' alone"):
        refine(low.calibrated, low.blueprint, other, low.images, QUICK)
    fewer = dataclasses.replace(low.config, encoders=low.config.encoders[:-1])
    with pytest.raises(UserError, match="encoders"):
        refine(low.calibrated, low.blueprint, fewer, low.images, QUICK)
    with pytest.raises(UserError, match="too few"):
        refine(low.calibrated, low.blueprint, low.config, low.images.part(0, 20), QUICK)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["swin", "distilled", "norm then average"])
def test_windows_merges_several_heads_and_averages_are_refined(name: str) -> None:
    small = refined_case(name)
    found = refine(small.calibrated, small.blueprint, small.config, small.images, QUICK)
    assert len(found.losses) == QUICK.passes
    assert found.after.kl < found.before.kl


def test_every_logit_may_have_a_probability_of_its_own(low: Case) -> None:
    several = dataclasses.replace(low.blueprint, independent=True)
    calibrated = dataclasses.replace(
        low.calibrated, blueprint=dataclasses.replace(low.calibrated.blueprint, independent=True)
    )
    found = refine(calibrated, several, low.config, low.images, QUICK)
    assert len(found.losses) == QUICK.passes
    assert found.after.kl < found.before.kl
