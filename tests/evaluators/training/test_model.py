"""The model that is trained: its head, what is frozen, learning rates of its layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.models.digits_models import build_digits
from bitfront.evaluators.models.loading import load_model
from bitfront.evaluators.training.model import (
    check_batches,
    encoders_of,
    freeze_prefix,
    parameter_groups,
    starting_model,
)
from bitfront.evaluators.training.recipe import TrainingRecipe
from bitfront.spaces import UserError

BUILT_IN = EvaluationSpec(model="digits_deit", pretrained=True)


def trained_names(module: torch.nn.Module) -> set[str]:
    return {name for name, parameter in module.named_parameters() if parameter.requires_grad}


class TestStartingModel:
    def test_a_head_that_fits_is_kept(self) -> None:
        found = starting_model(BUILT_IN, 10, seed=0)
        expected = load_model("digits_deit").module.state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in found.module.state_dict().items())
        assert found.trained
        assert found.notes == ("weights: begins with embedded",)
        assert trained_names(found.module) == set(expected)

    def test_another_one_is_replaced_the_same_for_a_seed(self) -> None:
        first, again, other = (starting_model(BUILT_IN, 4, seed=seed) for seed in (0, 0, 1))
        heads: list[Any] = [found.module.get_submodule("head") for found in (first, again, other)]
        assert heads[0].weight.shape == (4, 32)
        assert torch.equal(heads[0].weight, heads[1].weight)
        assert not torch.equal(heads[0].weight, heads[2].weight)
        assert first.notes[-1] == "head: a new one for 4 classes, in place of one for 10"
        assert first.module(torch.zeros(2, 1, 16, 16)).shape == (2, 4)
        body = load_model("digits_deit").module.state_dict()
        kept = {name: value for name, value in first.module.state_dict().items() if "head" not in name}
        assert all(torch.equal(value, body[name]) for name, value in kept.items())

    def test_a_class_map_says_which_outputs_of_the_models_own_there_are(self) -> None:
        assert starting_model(BUILT_IN, 4, seed=0, mapped=True).module.num_classes == 10

    @pytest.mark.parametrize("name", ["digits_swin", "test_vit"])
    def test_without_weights_it_begins_with_random_ones(self, name: str) -> None:
        spec = EvaluationSpec(model=name)
        before = torch.get_rng_state()
        first, again, other = (starting_model(spec, 5, seed=seed).module for seed in (0, 0, 1))
        state, same, others = (module.state_dict() for module in (first, again, other))
        assert all(torch.equal(state[key], same[key]) for key in state)
        assert not all(torch.equal(state[key], others[key]) for key in state)
        assert torch.equal(torch.get_rng_state(), before)
        found = starting_model(spec, 5, seed=0)
        assert not found.trained
        assert "begins with random ones" in found.notes[0]
        assert found.module.num_classes == 5

    def test_of_another_image_size(self) -> None:
        found = starting_model(dataclasses.replace(BUILT_IN, image_size=(24, 24)), 10, seed=0)
        assert found.data_config["input_size"] == (1, 24, 24)
        assert found.module(torch.zeros(1, 1, 24, 24)).shape == (1, 10)

    def test_files_that_describe_their_model_still_do(self, tmp_path: Path) -> None:
        from bitfront.evaluators.models.checkpoint import write_weights
        from bitfront.evaluators.models.given_model import write_model

        module = build_digits("digits_deit", classes=10, depth=3)
        name = write_model(tmp_path / "w.safetensors", module).name
        spec = EvaluationSpec(model=name, checkpoint=str(tmp_path / "w.safetensors"))
        found = starting_model(spec, 4, seed=0)
        state = found.module.state_dict()
        write_weights(state, tmp_path / "again.safetensors", found.metadata(name, state))
        again = load_model(name, checkpoint=tmp_path / "again.safetensors")
        assert again.classes == 4
        assert len(again.module.blocks) == 3  # type: ignore[arg-type]

    def test_networks_that_bitfront_does_not_quantize(self) -> None:
        spec = EvaluationSpec(model="test_resnet", image_size=(24, 24))
        first, again, other = (starting_model(spec, 4, seed=seed) for seed in (0, 0, 1))
        weights = [found.module.state_dict()["conv1.0.weight"] for found in (first, again, other)]
        assert torch.equal(weights[0], weights[1])
        assert not torch.equal(weights[0], weights[2])
        assert first.data_config["input_size"] == (3, 24, 24)
        assert first.module(torch.zeros(2, 3, 24, 24)).shape == (2, 4)
        assert not first.quantized
        first.freeze(0)
        with pytest.raises(UserError, match="--freeze 1: a ResNet has no encoders"):
            first.freeze(1)

    def test_networks_of_one_image_size(self) -> None:
        with pytest.raises(UserError, match="takes images of 224x224 alone: leave --image-size out"):
            starting_model(EvaluationSpec(model="cait_xxs24_224", image_size=(32, 32)), 4, seed=0)

    def test_a_single_image_in_the_last_step(self) -> None:
        module = starting_model(EvaluationSpec(model="test_resnet"), 4, seed=0).module
        check_batches(module, 64, 32)
        with pytest.raises(UserError, match=r"--batch 32 leaves a single image of 65 .* give --batch 33"):
            check_batches(module, 65, 32)
        check_batches(build_digits("digits_deit"), 65, 32)  # which normalises each image by itself


class TestFrozenPrefix:
    def test_embedding_and_first_encoders(self) -> None:
        module = build_digits("digits_deit")
        freeze_prefix(module, 2)
        still = trained_names(module)
        assert not [name for name in still if name.startswith(("blocks.0.", "blocks.1.", "patch_embed"))]
        assert not still & {"cls_token", "pos_embed"}
        assert {"blocks.2.attn.qkv.weight", "norm.weight", "head.weight"} <= still

    def test_windows_with_the_mergings_between_them(self) -> None:
        module = build_digits("digits_swin")
        assert len(encoders_of(module)) == 6
        freeze_prefix(module, 3)
        still = trained_names(module)
        assert not [name for name in still if name.startswith(("layers.0.", "layers.1.blocks.0."))]
        assert not [name for name in still if name.startswith("layers.1.downsample")]
        assert "layers.1.blocks.1.attn.qkv.weight" in still

    def test_none_leaves_all_to_be_trained(self) -> None:
        module = build_digits("digits_deit")
        freeze_prefix(module, 0)
        assert len(trained_names(module)) == len(list(module.parameters()))

    @pytest.mark.parametrize(("name", "count"), [("digits_deit", 12), ("digits_swin", 6)])
    def test_more_than_there_are(self, name: str, count: int) -> None:
        freeze_prefix(build_digits(name), count)
        with pytest.raises(
            UserError, match=f"--freeze 99: the model has {count} encoders: give at most {count}"
        ):
            freeze_prefix(build_digits(name), 99)


class TestParameterGroups:
    @pytest.fixture
    def rates(self) -> Callable[..., dict[str, tuple[float, float]]]:
        """Share of the learning rate and weight decay of every parameter."""

        def of(name: str, layer_decay: float) -> dict[str, tuple[float, float]]:
            module = build_digits(name)
            names = {id(parameter): key for key, parameter in module.named_parameters()}
            groups = parameter_groups(module, TrainingRecipe(layer_decay=layer_decay, weight_decay=0.1))
            return {
                names[id(parameter)]: (group.get("lr_scale", 1.0), group["weight_decay"])
                for group in groups
                for parameter in group["params"]
            }

        return of

    def test_later_layers_learn_quicker(self, rates: Callable[..., dict[str, tuple[float, float]]]) -> None:
        found = rates("digits_deit", 0.5)
        assert found["head.weight"] == (1.0, 0.1)
        for block in range(12):  # the last encoder is one layer before the norm and the head
            assert found[f"blocks.{block}.attn.qkv.weight"][0] == pytest.approx(0.5 ** (12 - block))
        assert found["patch_embed.proj.weight"][0] == pytest.approx(0.5**13)
        assert set(found) == {name for name, _ in build_digits("digits_deit").named_parameters()}

    def test_biases_norms_and_positions_do_not_decay(
        self, rates: Callable[..., dict[str, tuple[float, float]]]
    ) -> None:
        for layer_decay in (0.5, 1.0):
            found = rates("digits_deit", layer_decay)
            for name in ("blocks.0.attn.qkv.bias", "norm.weight", "pos_embed", "cls_token"):
                assert found[name][1] == 0.0, name
            assert found["blocks.0.mlp.fc1.weight"][1] == 0.1
        assert found["patch_embed.proj.weight"][0] == 1.0

    def test_frozen_parameters_are_in_none(self) -> None:
        module = build_digits("digits_deit")
        freeze_prefix(module, 12)
        groups = parameter_groups(module, TrainingRecipe(layer_decay=0.75))
        assert sum(len(group["params"]) for group in groups) == 4  # norm and head
