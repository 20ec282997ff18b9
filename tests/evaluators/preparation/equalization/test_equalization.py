"""Equalization leaves every family of models what it computes, and its tensors easier to quantize."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from peculiar_cases import PECULIAR, peculiar_case
from quantized_cases import SMALL, Case, small_case

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.digits_models import load_embedded
from bitfront.evaluators.models.families import blueprint_of
from bitfront.evaluators.models.float_forward import forward
from bitfront.evaluators.preparation.calibrated_model import equalize
from bitfront.evaluators.preparation.equalization.channels import fitted_ranges, head_rotation, observe
from bitfront.evaluators.preparation.equalization.stream_rotation import rotate_stream, stream_rotation
from bitfront.evaluators.preparation.recipes import HEAD_CHANNELS, NORM_CHANNELS, ROTATED_STREAM, Recipe

TRANSFORMATIONS = (ROTATED_STREAM, NORM_CHANNELS, HEAD_CHANNELS)
SUBSETS = [s for size in (1, 2, 3) for s in itertools.combinations(TRANSFORMATIONS, size)]


def equalized(blueprint: Blueprint, images: torch.Tensor, *ingredients: str) -> Blueprint:
    return equalize(blueprint, Recipe("some", ingredients), lambda: images.split(16), "deploy")


def in_float64(part: Any) -> Any:
    """A blueprint or a part of it with float64 tensors."""
    if isinstance(part, torch.Tensor):
        return part.double() if part.is_floating_point() else part
    if isinstance(part, tuple):
        return tuple(map(in_float64, part))
    if isinstance(part, dict):
        return {key: in_float64(value) for key, value in part.items()}
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        return dataclasses.replace(
            part, **{f.name: in_float64(getattr(part, f.name)) for f in dataclasses.fields(part)}
        )
    return part


def tensors_of(part: Any) -> Iterator[torch.Tensor]:
    """Every tensor of a blueprint, in a fixed order."""
    if isinstance(part, torch.Tensor):
        yield part
    elif isinstance(part, tuple):
        for item in part:
            yield from tensors_of(item)
    elif isinstance(part, dict):
        yield from tensors_of(tuple(part.values()))
    elif dataclasses.is_dataclass(part):
        yield from tensors_of(tuple(getattr(part, f.name) for f in dataclasses.fields(part)))


@torch.inference_mode()
def deviation(changed: Blueprint, blueprint: Blueprint, images: torch.Tensor) -> float:
    """Largest difference of logits in float64, relative to the largest logit."""
    expected = forward(in_float64(blueprint), images.double())
    found = forward(in_float64(changed), images.double())
    assert bool(found.isfinite().all())
    return float((found - expected).abs().max() / expected.abs().max())


@torch.inference_mode()
def tensors_at(blueprint: Blueprint, images: torch.Tensor, site: str) -> torch.Tensor:
    """Values of a site, ``[tokens of all images, channels]``."""
    found: dict[str, torch.Tensor] = {}
    forward(blueprint, images, lambda name, value: found.update({name: value}))
    return found[site].double().flatten(0, -2)


class TestEquivalence:
    @pytest.mark.parametrize("ingredients", SUBSETS, ids="+".join)
    @pytest.mark.parametrize("name", SMALL)
    def test_every_family_and_subset(self, name: str, ingredients: tuple[str, ...]) -> None:
        case = small_case(name, 24)
        changed = equalized(case.blueprint, case.images[:16], *ingredients)
        # Weights are rounded to float32 once.
        assert deviation(changed, case.blueprint, case.images) < 2e-6

    @pytest.mark.parametrize("name", PECULIAR)
    def test_every_peculiarity(self, name: str) -> None:
        case = peculiar_case(name, 24)
        for ingredients in (*TRANSFORMATIONS, "all"):
            chosen = TRANSFORMATIONS if ingredients == "all" else (ingredients,)
            changed = equalized(case.blueprint, case.images[:16], *chosen)
            assert deviation(changed, case.blueprint, case.images) < 2e-6, chosen

    def test_what_would_not_be_taken_back_is_left_alone(self) -> None:
        """Norms behind branches read the stream's channels, and those of queries and keys a head's."""
        turned = peculiar_case("dinov3", 16)
        changed = equalized(turned.blueprint, turned.images, HEAD_CHANNELS).encoders[0]
        width = changed.heads * changed.head_dim
        was = turned.blueprint.encoders[0].qkv.weight
        assert torch.equal(changed.qkv.weight[: 2 * width], was[: 2 * width])
        assert not torch.equal(changed.qkv.weight[2 * width :], was[2 * width :])
        behind = peculiar_case("res-post-norm", 16)
        found = equalized(behind.blueprint, behind.images, ROTATED_STREAM, NORM_CHANNELS)
        assert torch.equal(found.encoders[0].qkv.weight, behind.blueprint.encoders[0].qkv.weight)
        normed = peculiar_case("inner norms", 16)
        left = equalized(normed.blueprint, normed.images, HEAD_CHANNELS).encoders[0]
        assert torch.equal(left.proj.weight, normed.blueprint.encoders[0].proj.weight)

    @pytest.mark.parametrize("name", ["narrow heads", "eva clip", "swin v2"])
    def test_scales_of_scores_can_be_stored(self, name: str) -> None:
        case = peculiar_case(name, 16)
        changed = equalized(case.blueprint, case.images, HEAD_CHANNELS)
        assert all(torch.equal(e.score_scales, e.score_scales.float().double()) for e in changed.encoders)

    def test_a_trained_model(self) -> None:
        blueprint = blueprint_of("digits_deit", load_embedded("digits_deit"))
        images = torch.rand(24, *blueprint.image_shape, generator=torch.Generator().manual_seed(0)) * 3 - 1
        assert deviation(equalized(blueprint, images, *TRANSFORMATIONS), blueprint, images) < 1e-5

    @pytest.mark.parametrize("name", ["vit", "swin"])
    def test_the_model_that_is_given_stays_as_it_is(self, name: str) -> None:
        case = small_case(name, 8)
        before = [tensor.clone() for tensor in tensors_of(case.blueprint)]
        changed = equalized(case.blueprint, case.images, *TRANSFORMATIONS)
        assert all(map(torch.equal, tensors_of(case.blueprint), before))
        assert not torch.equal(changed.encoders[0].qkv.weight, case.blueprint.encoders[0].qkv.weight)

    def test_no_ingredient_returns_the_model_itself(self) -> None:
        case = small_case("vit", 2)
        assert equalized(case.blueprint, case.images) is case.blueprint

    def test_windows_were_masked_and_merged(self) -> None:
        blueprint = small_case("swin", 1).blueprint
        masks = [encoder.window.mask for encoder in blueprint.encoders if encoder.window is not None]
        assert any(mask is not None and bool(mask.any()) for mask in masks)
        assert blueprint.merges


class TestDeadChannels:
    @pytest.fixture(params=["vit", "swin"])
    def case(self, request: pytest.FixtureRequest) -> Case:
        case = small_case(request.param, 16)
        block = next(m for name, m in case.module.named_modules() if name.endswith("blocks.1"))
        width = block.attn.qkv.weight.shape[1]
        with torch.no_grad():
            block.norm1.weight[:5] = 0.0  # constant outputs, zero or not
            block.norm1.bias[:3] = 0.0
            block.norm2.weight.zero_()
            block.norm2.bias.zero_()
            block.attn.qkv.weight[[0, width, 2 * width]] = 0.0  # a query, a key and a value
            block.attn.qkv.bias[[width, 2 * width]] = 1e3
        return dataclasses.replace(case, blueprint=blueprint_of("dead", case.module))

    @pytest.mark.parametrize("ingredients", SUBSETS, ids="+".join)
    def test_they_neither_divide_by_zero_nor_change_the_outcome(
        self, case: Case, ingredients: tuple[str, ...]
    ) -> None:
        changed = equalized(case.blueprint, case.images, *ingredients)
        assert all(bool(tensor.isfinite().all()) for tensor in tensors_of(changed))
        assert deviation(changed, case.blueprint, case.images) < 1e-5

    def test_a_dead_head_stays_finite(self) -> None:
        case = small_case("vit", 16)
        with torch.no_grad():
            case.module.blocks[0].attn.qkv.weight.zero_()
            case.module.blocks[0].attn.qkv.bias.zero_()
        blueprint = blueprint_of("dead", case.module)
        assert deviation(equalized(blueprint, case.images, *TRANSFORMATIONS), blueprint, case.images) < 1e-5


class TestRotations:
    @pytest.mark.parametrize("channels", [2, 32, 48, 192])
    def test_the_streams_is_orthogonal_and_keeps_ones(self, channels: int) -> None:
        found = stream_rotation(channels)
        eye, ones = torch.eye(channels, dtype=torch.float64), torch.ones(channels, dtype=torch.float64)
        torch.testing.assert_close(found @ found.T, eye, rtol=0, atol=1e-12)
        torch.testing.assert_close(found @ ones, ones, rtol=0, atol=1e-12)
        assert channels == 2 or float((found - eye).abs().max()) > 0.5

    def test_the_streams_is_the_same_in_each_process(self) -> None:
        command = (
            "from bitfront.evaluators.preparation.equalization.stream_rotation import stream_rotation\n"
            "print(stream_rotation(32).flatten().tolist())"
        )
        done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
        theirs = torch.tensor([float(v) for v in done.stdout.strip("[]\n").split(",")], dtype=torch.float64)
        torch.manual_seed(7)
        torch.testing.assert_close(theirs, stream_rotation(32).flatten(), rtol=0, atol=1e-13)

    @pytest.mark.parametrize("width", [1, 6, 16, 48, 64])
    def test_those_of_heads_are_orthogonal(self, width: int) -> None:
        found = head_rotation(width)
        torch.testing.assert_close(found @ found.T, torch.eye(width, dtype=torch.float64), rtol=0, atol=1e-12)
        assert torch.equal(found, head_rotation(width))

    def test_no_channel_of_a_rotated_stream_sticks_out(self) -> None:
        case = small_case("vit", 24)
        with torch.no_grad():
            case.module.blocks[0].mlp.fc2.weight[3] *= 100.0
        blueprint = blueprint_of("tall", case.module)

        def tallest(found: Blueprint) -> float:
            energy = tensors_at(found, case.images, "blocks.1.residual2").square().mean(0)
            return float(energy.max() / energy.mean())

        assert tallest(blueprint) > 15
        assert tallest(rotate_stream(blueprint)) < 8

    def test_a_stage_behind_a_norm_within_the_stream_stays(self) -> None:
        clip, swin = (small_case(name, 1).blueprint for name in ("norm before", "swin"))
        assert rotate_stream(clip).encoders == clip.encoders
        first = min(swin.merges)
        if swin.embed_norm is not None:
            assert rotate_stream(swin).encoders[:first] == swin.encoders[:first]
        turned = rotate_stream(swin).encoders[first]
        assert not torch.equal(turned.proj.weight, swin.encoders[first].proj.weight)


class TestTensors:
    @pytest.mark.parametrize("name", ["vit", "swin"])
    @pytest.mark.parametrize("rotated", [(), (ROTATED_STREAM,)], ids=["plain", "rotated"])
    def test_norm_outputs_fill_alike_ranges(self, name: str, rotated: tuple[str, ...]) -> None:
        case = small_case(name, 32)
        before = observe(equalized(case.blueprint, case.images, *rotated), lambda: case.images.split(16))
        changed = equalized(case.blueprint, case.images, *rotated, NORM_CHANNELS)
        after = observe(changed, lambda: case.images.split(16))
        assert len(after.norms) == 2 * len(changed.encoders)
        for site, sample in after.norms.items():
            was, found = fitted_ranges(before.norms[site]), fitted_ranges(sample)
            assert float(was.reach.max() / was.reach.min()) > 1.2
            assert float((found.reach - 1.0).abs().max()) < 0.05
            assert float(found.centre.abs().max()) < 0.05

    @pytest.mark.parametrize("name", ["vit", "swin"])
    def test_heads_have_equal_energy(self, name: str) -> None:
        case = small_case(name, 32)
        changed = equalized(case.blueprint, case.images, HEAD_CHANNELS)
        for encoder in changed.encoders:
            qkv = tensors_at(changed, case.images, f"{encoder.name}.attn.qkv")
            q, k, v = qkv.view(len(qkv), 3, encoder.heads, encoder.head_dim).unbind(1)
            for queries_or_keys in (q, k):
                energy = queries_or_keys.square().mean((0, 2))
                torch.testing.assert_close(energy, torch.ones_like(energy), rtol=1e-3, atol=0)
            torch.testing.assert_close(v.std(0), torch.ones_like(v[0]), rtol=1e-2, atol=0)
            assert float(v.mean(0).abs().max()) < 1e-4
            assert float(k.mean(0).abs().max()) < 1e-4

    def test_a_tall_channel_of_a_head_is_spread(self) -> None:
        case = small_case("vit", 32)
        with torch.no_grad():
            case.module.blocks[0].attn.qkv.weight[[4, 36]] *= 20.0  # channel 4 of the queries and of the keys
        blueprint = blueprint_of("tall", case.module)

        def tallest(found: Blueprint) -> float:
            q = tensors_at(found, case.images, "blocks.0.attn.qkv")[:, :16]
            return float(q.abs().max() / q.square().mean().sqrt())

        before, after = tallest(blueprint), tallest(equalized(blueprint, case.images, HEAD_CHANNELS))
        assert after < 0.6 * before
