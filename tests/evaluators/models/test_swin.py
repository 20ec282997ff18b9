"""Which Swins are taken apart faithfully, how their windows lie, and why others are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peculiar_cases import swin_v2
from quantized_cases import moved
from torch import nn

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.families import blueprint_of, check_family
from bitfront.evaluators.models.float_forward import forward
from bitfront.evaluators.models.parts import WindowParts
from bitfront.spaces import UserError

# Small ones of each kind are tested every time.
BIG = (pytest.mark.slow, pytest.mark.thorough)

SmallSwin = Callable[..., Any]


@pytest.fixture(scope="module")
def small_swin(small_swin: SmallSwin) -> SmallSwin:
    """The room's small Swin on smaller images: a grid of 8x8 with shifted windows, one of 4x4 without."""
    return lambda seed, **options: small_swin(seed, **{"img_size": 16, **options})


def refused(match: str, module: nn.Module) -> None:
    with pytest.raises(UserError, match=match) as caught:
        blueprint_of("thing", module)
    message = str(caught.value)
    assert message.startswith("thing cannot be quantized: ")
    assert "; give a " in message
    assert "\n" not in message


@torch.inference_mode()
def deviation(blueprint: Blueprint, module: nn.Module) -> float:
    """Largest difference of the logits on fresh images, relative to the largest logit."""
    images = torch.randn(3, *blueprint.image_shape, generator=torch.Generator().manual_seed(9))
    expected = module(images)
    return float((forward(blueprint, images) - expected).abs().max() / expected.abs().max())


def windows_of(blueprint: Blueprint) -> list[WindowParts]:
    windows = [encoder.window for encoder in blueprint.encoders]
    assert all(window is not None for window in windows)
    return [window for window in windows if window is not None]


class TestAccepted:
    @pytest.mark.parametrize(
        ("options", "tokens"),
        [
            ({}, [64, 64, 16, 16]),
            ({"depths": (1, 3)}, [64, 16, 16, 16]),
            ({"depths": (2, 1, 2), "num_heads": (1, 2, 4)}, [64, 64, 16, 4, 4]),
            ({"img_size": (32, 16), "in_chans": 1}, [128, 128, 32, 32]),
            ({"img_size": (16, 32), "patch_size": (2, 4), "window_size": (4, 2)}, [64, 64, 16, 16]),
            ({"window_size": ((2, 4), (4, 2))}, [64, 64, 16, 16]),
            ({"window_size": 8}, [64, 64, 16, 16]),
            ({"window_size": 16}, [64, 64, 16, 16]),
            ({"always_partition": True}, [64, 64, 16, 16]),
            ({"strict_img_size": False}, [64, 64, 16, 16]),
            ({"qkv_bias": False, "mlp_ratio": 2.5}, [64, 64, 16, 16]),
            ({"head_dim": 5}, [64, 64, 16, 16]),
            ({"window_size": 3}, [64, 64, 16, 16]),
            ({"window_size": (4, 3)}, [64, 64, 16, 16]),
            ({"window_size": 16, "always_partition": True}, [64, 64, 16, 16]),
            ({"img_size": (23, 18), "qkv_bias": False}, [99, 99, 30, 30]),
        ],
        ids=lambda value: ",".join(value) or "plain" if isinstance(value, dict) else "",
    )
    def test_the_blueprint_computes_what_the_module_computes(
        self, small_swin: SmallSwin, options: dict[str, object], tokens: list[int]
    ) -> None:
        module = small_swin(3, **options)
        blueprint = blueprint_of("small", module)
        assert deviation(blueprint, module) < 2e-5
        assert [encoder.tokens for encoder in blueprint.encoders] == tokens
        assert blueprint.tokens == tokens[0]
        assert blueprint.positions is None
        assert blueprint.prefix.shape == (0, blueprint.channels)

    def test_patches_that_are_not_normalised(self, small_swin: SmallSwin) -> None:
        module = small_swin(3)
        module.patch_embed.norm = nn.Identity()
        blueprint = blueprint_of("bare", module)
        assert blueprint.embed_norm is None
        assert deviation(blueprint, module) < 2e-5

    def test_other_norms_and_activations(self, timm: Any, small_swin: SmallSwin) -> None:
        module = small_swin(3, norm_layer=timm.layers.RmsNorm)
        module.layers[0].blocks[1].mlp.act = nn.SiLU()
        assert deviation(blueprint_of("small", module), module) < 2e-5

    @pytest.mark.parametrize(
        ("options", "tokens"),
        [
            ({}, [64, 64, 16, 16]),
            ({"depths": (2, 1, 2), "num_heads": (1, 2, 4)}, [64, 64, 16, 4, 4]),
            ({"img_size": (32, 16), "in_chans": 1, "window_size": (4, 2)}, [128, 128, 32, 32]),
            ({"qkv_bias": False, "act_layer": "gelu_tanh"}, [64, 64, 16, 16]),
            ({"pretrained_window_sizes": (2, 4)}, [64, 64, 16, 16]),
            ({"always_partition": True, "window_size": 2}, [64, 64, 16, 16]),
            ({"img_size": (22, 18)}, [99, 99, 30, 30]),
            (
                {"window_size": 3, "depths": (2, 2, 2), "num_heads": (1, 2, 4), "img_size": 20},
                [100, 100, 25, 25, 9, 9],
            ),
        ],
        ids=lambda value: ",".join(value) or "plain" if isinstance(value, dict) else "",
    )
    def test_the_second_version(self, options: dict[str, object], tokens: list[int]) -> None:
        torch.manual_seed(3)
        module: Any = moved(swin_v2(**options), 4, 0.1)
        # of a head, and larger than any cosine may be multiplied with
        module.layers[0].blocks[0].attn.logit_scale.data[-1] = 9.0
        blueprint = blueprint_of("second", module)
        assert deviation(blueprint, module) < 2e-5
        assert [encoder.tokens for encoder in blueprint.encoders] == tokens
        assert float(blueprint.encoders[0].score_scales[-1]) == 100.0
        shifted = windows_of(blueprint)[1].mask is not None
        assert shifted == (module.layers[0].blocks[1].shift_size != (0, 0))

    def test_a_query_of_no_length(self) -> None:
        """timm's division by a length is bounded, and so must be that by a root of mean squares."""
        module: Any = moved(swin_v2(qkv_bias=False), 4, 0.1)
        module.layers[0].blocks[0].attn.qkv.weight.data[:8] = 0.0
        blueprint = blueprint_of("second", module)
        assert deviation(blueprint, module) < 2e-5

    def test_parts_share_memory_with_the_module(self, small_swin: SmallSwin) -> None:
        module = small_swin(0)
        blueprint = blueprint_of("small", module)
        merge, merging = blueprint.merges[2], module.layers[1].downsample
        encoder, block = blueprint.encoders[3], module.layers[1].blocks[1]
        for mine, its in (
            (blueprint.patch.weight, module.patch_embed.proj.weight),
            (merge.reduction.weight, merging.reduction.weight),
            (merge.norm.weight, merging.norm.weight),
            (encoder.qkv.weight, block.attn.qkv.weight),
            (encoder.fc2.bias, block.mlp.fc2.bias),
            (blueprint.readout.heads[0].weight, module.head.fc.weight),
        ):
            assert mine.data_ptr() == its.data_ptr()
            assert not mine.requires_grad
        assert bool((merge.reduction.bias == 0).all())

    @pytest.mark.parametrize(
        "name",
        [
            "swin_tiny_patch4_window7_224",
            pytest.param("swin_small_patch4_window7_224", marks=BIG),
            pytest.param("swin_base_patch4_window7_224", marks=BIG),
        ],
    )
    def test_published_models(self, timm: Any, name: str) -> None:
        torch.manual_seed(0)
        module = timm.create_model(name).eval()
        blueprint = blueprint_of(name, module)
        assert deviation(blueprint, module) < 2e-5
        assert sorted(blueprint.merges) == [2, 4, len(blueprint.encoders) - 2]
        assert {window.rows.shape[1] for window in windows_of(blueprint)} == {49}

    @pytest.mark.parametrize(
        "name", ["swin_base_patch4_window12_384", "swin_large_patch4_window7_224", "swin_s3_tiny_224"]
    )
    def test_structures_that_are_accepted_unseen(self, timm: Any, name: str) -> None:
        with torch.device("meta"):
            check_family(name, timm.create_model(name))


class TestWindows:
    def test_rows_of_a_small_grid(self, small_swin: SmallSwin) -> None:
        whole, shifted = windows_of(
            blueprint_of("small", small_swin(0, img_size=4, patch_size=1, window_size=2, depths=(2,)))
        )
        assert whole.rows.dtype == torch.int32
        assert whole.rows.tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
        assert shifted.rows.tolist() == [[5, 6, 9, 10], [7, 4, 11, 8], [13, 14, 1, 2], [15, 12, 3, 0]]

    def test_places_that_no_token_fills_are_one_past_the_last(self, small_swin: SmallSwin) -> None:
        module = small_swin(0, img_size=3, patch_size=1, window_size=2, depths=(2,))
        blueprint = blueprint_of("small", module)
        whole, shifted = windows_of(blueprint)
        assert whole.rows.tolist() == [[0, 1, 3, 4], [2, 9, 5, 9], [6, 7, 9, 9], [8, 9, 9, 9]]
        assert shifted.rows.tolist() == [[4, 5, 7, 8], [3, 9, 6, 9], [1, 2, 9, 9], [0, 9, 9, 9]]
        for window, block in zip((whole, shifted), module.layers[0].blocks, strict=True):
            assert torch.equal(window.padding, block.attn.qkv.bias)
            assert torch.equal(window.rows.flatten()[window.places[:9]], torch.arange(9).int())

    def test_every_token_has_one_place(self, small_swin: SmallSwin) -> None:
        for window in windows_of(blueprint_of("small", small_swin(0))):
            assert torch.equal(window.rows.flatten()[window.places], torch.arange(len(window.places)).int())

    def test_a_query_sees_what_is_near_it_in_the_image(self, small_swin: SmallSwin) -> None:
        whole, shifted, reduced, also = windows_of(blueprint_of("small", small_swin(0)))
        assert whole.mask is None
        # The second grid is as large as a window, and nothing is shifted there.
        assert (reduced.mask, also.mask) == (None, None)
        assert torch.equal(also.rows, reduced.rows)
        assert shifted.mask is not None
        assert shifted.mask.dtype == torch.bool
        side, window = 8, 4
        rows = shifted.rows.long()
        down = (rows // side)[:, :, None] - (rows // side)[:, None, :]
        across = (rows % side)[:, :, None] - (rows % side)[:, None, :]
        assert torch.equal(shifted.mask, (down.abs() >= window) | (across.abs() >= window))

    def test_the_bias_depends_on_the_offset(self, small_swin: SmallSwin) -> None:
        module = small_swin(0, window_size=(2, 4))
        table = module.layers[0].blocks[1].attn.relative_position_bias_table
        bias = windows_of(blueprint_of("small", module))[1].bias
        assert bias.shape == (2, 8, 8)
        for query in range(8):
            for key in range(8):
                down, across = query // 4 - key // 4, query % 4 - key % 4
                assert torch.equal(bias[:, query, key], table[(down + 1) * 7 + across + 3])

    def test_the_table_comes_back(self, small_swin: SmallSwin) -> None:
        module = small_swin(0, window_size=((2, 4), 4))
        for number, window in enumerate(windows_of(blueprint_of("small", module))):
            attention = module.layers[number // 2].blocks[number % 2].attn
            assert torch.equal(window.table, attention.relative_position_bias_table)
            assert window.table_entries == len(window.table)
            assert torch.equal(window.index, attention.relative_position_index)
            assert window.index.dtype == torch.int64
            assert torch.equal(window.table[window.index].permute(2, 0, 1), window.bias)

    def test_merged_neighbours(self, small_swin: SmallSwin) -> None:
        blueprint = blueprint_of("small", small_swin(0, img_size=(4, 8), patch_size=1, window_size=2))
        assert list(blueprint.merges) == [2]
        merge = blueprint.merges[2]
        assert merge.name == "layers.1.downsample"
        # the left column from top to bottom, then the right one
        assert merge.rows.dtype == torch.int32
        assert merge.rows[:2].tolist() == [[0, 8, 1, 9], [2, 10, 3, 11]]
        assert merge.rows[-1].tolist() == [22, 30, 23, 31]


@pytest.fixture(scope="module")
def seen(small_swin: SmallSwin) -> dict[str, torch.Tensor]:
    """The values at all sites of the small Swin, in the order in which they are seen."""
    blueprint = blueprint_of("small", small_swin(0))
    values: dict[str, torch.Tensor] = {}
    images = torch.randn(2, *blueprint.image_shape, generator=torch.Generator().manual_seed(1))
    forward(blueprint, images, lambda site, value: values.update({site: value.clone()}))
    return values


class TestTaps:
    def test_sites_in_the_order_of_execution(self, seen: dict[str, torch.Tensor]) -> None:
        inside = [
            "norm1",
            "attn.qkv",
            "attn.bias",
            "attn.scores",
            "attn.softmax",
            "attn.context",
            "attn.proj",
        ]
        inside += ["residual1", "norm2", "mlp.gelu", "mlp.fc2", "residual2"]
        first = [f"layers.0.blocks.{index}.{site}" for index in range(2) for site in inside]
        merge = ["layers.1.downsample.norm", "layers.1.downsample.reduction"]
        second = [f"layers.1.blocks.{index}.{site}" for index in range(2) for site in inside]
        last = ["norm_tokens", "norm", "head"]
        assert list(seen) == ["image", "embed_sum", "embed", *first, *merge, *second, *last]

    def test_shapes(self, seen: dict[str, torch.Tensor]) -> None:
        shifted = "layers.0.blocks.1"
        assert seen[f"{shifted}.attn.qkv"].shape == (2, 64, 48)
        assert seen[f"{shifted}.attn.bias"].shape == (2, 16, 16)
        assert seen[f"{shifted}.attn.scores"].shape == (2 * 4, 2, 16, 16)
        assert seen[f"{shifted}.attn.context"].shape == (2, 64, 16)
        assert seen["layers.1.downsample.norm"].shape == (2, 16, 64)
        assert seen["layers.1.downsample.reduction"].shape == (2, 16, 32)

    def test_scores_are_seen_before_the_mask(
        self, small_swin: SmallSwin, seen: dict[str, torch.Tensor]
    ) -> None:
        mask = windows_of(blueprint_of("small", small_swin(0)))[1].mask
        assert mask is not None
        scores = seen["layers.0.blocks.1.attn.scores"].reshape(2, 4, 2, 16, 16)
        attention = seen["layers.0.blocks.1.attn.softmax"].reshape(2, 4, 2, 16, 16)
        blocked = mask[None, :, None].expand_as(scores)
        assert bool(scores.isfinite().all())
        assert bool((attention[blocked] == 0).all())
        assert bool((attention[~blocked] > 0).all())

    def test_the_stream_that_enters_an_encoder(
        self, small_swin: SmallSwin, seen: dict[str, torch.Tensor]
    ) -> None:
        blueprint = blueprint_of("small", small_swin(0))
        assert [blueprint.entering(index) for index in range(4)] == [
            "embed",
            "layers.0.blocks.0.residual2",
            "layers.1.downsample.reduction",
            "layers.1.blocks.0.residual2",
        ]
        for index, encoder in enumerate(blueprint.encoders):
            entered = seen[blueprint.entering(index)] + seen[f"{encoder.name}.attn.proj"]
            assert torch.equal(entered, seen[f"{encoder.name}.residual1"])


class TestRefused:
    def test_other_versions(self, timm: Any) -> None:
        with torch.device("meta"):
            module = timm.create_model("swinv2_cr_tiny_224")
        refused("it is a SwinTransformerV2Cr, of none of the families", module)

    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({"global_pool": "max"}, "it pools tokens by 'max', and only averages"),
            ({"global_pool": "catavgmax"}, "it pools tokens by 'catavgmax'"),
            ({"global_pool": ""}, "it pools tokens by ''"),
            ({"num_classes": 0}, "it has no classifier; give a fine-tuned model"),
            ({"depths": (2, 0)}, "stage 1 has no encoders"),
            ({"depths": (0, 2)}, "stage 0 has no encoders"),
        ],
    )
    def test_options(self, small_swin: SmallSwin, options: dict[str, object], match: str) -> None:
        refused(match, small_swin(0, **options))

    def test_other_layers(self, timm: Any, small_swin: SmallSwin) -> None:
        module = small_swin(0)
        module.layers[1].blocks[1].mlp.act = nn.Tanh()
        refused("stage 1 encoder 1 has activation Tanh where gelu, gelu_tanh", module)
        module = small_swin(0)
        module.layers[0].blocks[0].attn = nn.Identity()
        refused("stage 0 encoder 0 has Identity where plain multi-head attention is supported", module)
        module = small_swin(0)
        module.layers[0].blocks[1] = nn.Identity()
        refused("stage 0 encoder 1 is a Identity, not one attention and then one MLP", module)
        module = small_swin(0)
        module.layers[1].downsample = nn.Conv2d(16, 32, 2)
        refused("stage 1 merges patches by a Conv2d", module)
        module = small_swin(0)
        module.head = nn.Linear(32, 7)
        refused("its classifier is a Linear, not an average and one linear layer", module)

    def test_other_norms(self, timm: Any, small_swin: SmallSwin) -> None:
        norm = timm.layers.SimpleNorm
        expected = "has SimpleNorm where LayerNorm or RMSNorm is supported"
        refused(f"it {expected}", small_swin(0, norm_layer=norm))
        module = small_swin(0)
        module.layers[1].downsample.norm = norm(64)
        refused(f"stage 1 {expected}", module)
        module = small_swin(0)
        module.layers[1].blocks[0].norm2 = norm(32)
        refused(f"stage 1 encoder 0 {expected}", module)
        module = small_swin(0)
        module.norm = nn.LayerNorm(32, elementwise_affine=False)
        refused("it has LayerNorm without weights", module)

    def test_what_no_rule_knows_shows_in_the_forward_pass(self, small_swin: SmallSwin) -> None:
        module = small_swin(0)
        module.layers[0].blocks[1].drop_path1 = nn.Hardtanh(-0.01, 0.01)
        refused("its forward pass is not that of a plain model of its family", module)
