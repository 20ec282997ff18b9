"""Which models the ViT family takes apart faithfully, and why it refuses the others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.families import FAMILIES, blueprint_of, check_family
from bitfront.evaluators.models.float_forward import forward
from bitfront.evaluators.preparation.calibration import calibrate
from bitfront.evaluators.quantizers.registry import observer_named
from bitfront.spaces import BitfrontError, UserError

# Small ones of each kind are tested every time.
BIG = (pytest.mark.slow, pytest.mark.thorough)

SmallVit = Callable[..., Any]


@pytest.fixture(scope="module")
def vision_transformer(timm: Any) -> Any:
    """The module with timm's variants of blocks."""
    return timm.models.vision_transformer


def refused(match: str, module: nn.Module) -> None:
    with pytest.raises(UserError, match=match) as caught:
        blueprint_of("thing", module)
    message = str(caught.value)
    assert message.startswith("thing cannot be quantized: ")
    assert "; give a " in message
    assert "\n" not in message


@torch.inference_mode()
def follows(blueprint: Blueprint, module: nn.Module, tolerance: float = 2e-5) -> bool:
    """Whether the blueprint's logits are the module's on fresh images."""
    images = torch.randn(3, *blueprint.image_shape, generator=torch.Generator().manual_seed(9))
    expected = module(images)
    return bool((forward(blueprint, images) - expected).abs().max() <= tolerance * expected.abs().max())


class TestOtherFamilies:
    @pytest.mark.parametrize(
        ("name", "kind"), [("resnet18", "ResNet"), ("swinv2_cr_tiny_ns_224", "SwinTransformerV2Cr")]
    )
    def test_they_are_refused_by_class(self, timm: Any, name: str, kind: str) -> None:
        with torch.device("meta"):
            module = timm.create_model(name)
        refused(f"it is a {kind}, of none of the families {', '.join(FAMILIES)}", module)


class TestExtrasInside:
    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({"global_pool": "prr"}, "it pools tokens by 'prr', and class tokens, averages and attention"),
            ({"global_pool": "max"}, "it pools tokens by 'max'"),
            ({"global_pool": "avgmax"}, "it pools tokens by 'avgmax'"),
            ({"global_pool": ""}, "it pools tokens by ''"),
            ({"global_pool": "map", "final_norm": False}, "it pools tokens that are not normalised"),
            ({"global_pool": "map", "fc_norm": True}, "it pools tokens that are not normalised"),
            ({"final_norm": False}, "it does not have exactly one final norm"),
            ({"num_classes": 0}, "it has no classifier; give a fine-tuned model"),
            ({"img_size": 3}, "its images of 3x3 pixels are smaller than a patch of 4x4"),
            (
                {"img_size": 18, "dynamic_img_size": True, "dynamic_img_pad": True},
                "it pads images of 18x18 pixels to whole patches of 4x4",
            ),
            ({"act_layer": nn.Sigmoid}, "encoder 0 has activation Sigmoid where gelu, gelu_tanh, quick_gelu"),
            ({"act_layer": nn.LeakyReLU}, "encoder 0 has activation LeakyReLU where gelu"),
            ({"depth": 0}, "it has no encoders"),
        ],
    )
    def test_options(self, small_vit: SmallVit, options: dict[str, object], match: str) -> None:
        refused(match, small_vit(0, **options))

    def test_two_final_norms(self, small_vit: SmallVit) -> None:
        module = small_vit(0)
        module.fc_norm = nn.LayerNorm(32)
        refused("it does not have exactly one final norm", module)

    def test_attention_pooling_of_other_kinds(self, timm: Any, small_vit: SmallVit) -> None:
        pool = timm.layers.AttentionPoolLatent
        for options, match in (
            (
                {"latent_len": 2},
                "it pools tokens by a AttentionPoolLatent with more than one query of its own",
            ),
            ({"pos_embed": "abs", "feat_size": 17}, "with more than one query of its own"),
            ({"out_features": 0}, "its attention pooling has no plain MLP"),
            ({"act_layer": nn.Sigmoid}, "its attention pooling has no plain MLP"),
            ({"norm_layer": timm.layers.SimpleNorm}, "its attention pooling has SimpleNorm where"),
        ):
            module = small_vit(0, global_pool="map")
            module.attn_pool = pool(32, num_heads=2, **options)
            refused(match, module)
        module = small_vit(0, global_pool="map")
        module.attn_pool = None
        refused("it pools tokens by 'map' and lacks attention pooling", module)
        module = small_vit(0)
        module.attn_pool = pool(32, num_heads=2)
        refused("it pools tokens by 'token' and has attention pooling", module)

    def test_other_mlps(self, timm: Any, small_vit: SmallVit) -> None:
        module = small_vit(0)
        module.blocks[1].mlp = timm.layers.ConvMlp(32)
        refused("encoder 1 has ConvMlp where an MLP of two layers, gated or not, is supported", module)
        module = small_vit(0)
        module.blocks[1].mlp = timm.layers.GluMlp(32, 64, act_layer=nn.SiLU, use_conv=True)
        refused("encoder 1 has GluMlp of other layers than linear ones", module)

    @pytest.mark.parametrize(
        "block", ["ParallelScalingBlock", "ParallelThingsBlock", "DiffParallelScalingBlock"]
    )
    def test_other_blocks(self, small_vit: SmallVit, vision_transformer: Any, block: str) -> None:
        module = small_vit(0, block_fn=getattr(vision_transformer, block))
        refused(f"encoder 0 is a {block}, not one attention and then one MLP with a norm each", module)

    def test_other_norms(self, timm: Any, small_vit: SmallVit) -> None:
        simple = timm.layers.SimpleNorm
        refused("it has SimpleNorm where LayerNorm or RMSNorm is supported", small_vit(0, norm_layer=simple))
        module = small_vit(0)
        module.blocks[1].norm2 = simple(32)
        refused("encoder 1 has SimpleNorm where LayerNorm or RMSNorm is supported", module)
        module = small_vit(0, pre_norm=True)
        module.norm_pre = simple(32)
        refused("it has SimpleNorm where LayerNorm or RMSNorm is supported", module)
        module = small_vit(0, qk_norm=True)
        module.blocks[2].attn.k_norm = nn.LayerNorm(16, elementwise_affine=False)
        refused("encoder 2 has LayerNorm without weights", module)
        module = small_vit(0)
        module.blocks[0].norm1 = timm.layers.RmsNorm(32, affine=False)
        refused("encoder 0 has RmsNorm without weights", module)

    def test_attention_of_other_kinds(self, timm: Any, small_vit: SmallVit) -> None:
        module = small_vit(0, attn_layer="diff")
        refused("encoder 0 has DiffAttention where plain multi-head attention is supported", module)
        module = small_vit(0)
        module.blocks[1].attn = timm.layers.Attention(32, 2, gated=True)
        refused("encoder 1 gates its attention output", module)
        module = small_vit(0)
        module.blocks[1].attn = timm.layers.AttentionRope(32, 2, qkv_fused=False, num_kv_heads=1)
        refused("encoder 1 shares keys and values among heads", module)

    def test_classifiers_of_several_layers(self, small_vit: SmallVit) -> None:
        module = small_vit(0)
        module.head = nn.Sequential(nn.Linear(32, 32), nn.Linear(32, 7))
        refused("its classifier is a Sequential, not one linear layer", module)

    def test_a_later_encoder_is_named(self, small_vit: SmallVit) -> None:
        module = small_vit(0)
        module.blocks[2].mlp.act = nn.Tanh()
        refused("encoder 2 has activation Tanh", module)

    def test_what_no_rule_knows_shows_in_the_forward_pass(self, small_vit: SmallVit) -> None:
        module = small_vit(0)
        module.blocks[1].drop_path1 = nn.Hardtanh(-0.01, 0.01)
        refused("its forward pass is not that of a plain model of its family", module)

    def test_hybrids_are_refused(self, timm: Any) -> None:
        with torch.device("meta"):
            module = timm.create_model("vit_tiny_r_s16_p8_224")
        refused("it embeds patches by a HybridEmbed, not by one linear projection", module)

    def test_weights_that_are_not_finite_are_left_to_the_calibration(self, small_vit: SmallVit) -> None:
        module = small_vit(0)
        with torch.no_grad():
            module.blocks[1].mlp.fc1.weight[0, 0] = torch.nan
        blueprint = blueprint_of("broken", module)
        with pytest.raises(BitfrontError, match=r"NaN or infinity at blocks\.1\.mlp\.gelu"):
            calibrate(blueprint, lambda: [torch.randn(2, 3, 16, 16)], (4, 8), observer_named("auto"))


class TestPlainOnes:
    @pytest.mark.parametrize(
        ("options", "tokens", "prefix"),
        [
            ({}, 17, 1),
            ({"init_values": 0.3}, 17, 1),
            ({"init_values": 0.3, "no_embed_class": True, "reg_tokens": 4}, 21, 5),
            ({"reg_tokens": 2}, 19, 3),
            ({"global_pool": "avg"}, 17, 1),
            ({"global_pool": "avg", "fc_norm": False}, 17, 1),
            ({"global_pool": "avg", "class_token": False}, 16, 0),
            ({"global_pool": "avg", "pool_include_prefix": True}, 17, 1),
            ({"qkv_bias": False, "proj_bias": False}, 17, 1),
            ({"pos_embed": "none"}, 17, 1),
            ({"pos_embed": "none", "class_token": False, "global_pool": "avg"}, 16, 0),
            ({"pre_norm": True}, 17, 1),
            ({"pre_norm": True, "pos_embed": "none", "reg_tokens": 1}, 18, 2),
            ({"dynamic_img_size": True}, 17, 1),
            ({"dynamic_img_size": True, "dynamic_img_pad": True, "no_embed_class": True}, 17, 1),
            ({"drop_path_rate": 0.5, "proj_drop_rate": 0.5, "patch_drop_rate": 0.5}, 17, 1),
            ({"patch_size": (8, 4), "img_size": (16, 24), "in_chans": 1}, 13, 1),
            ({"mlp_ratio": 2.5, "num_heads": 4}, 17, 1),
            ({"qk_norm": True}, 17, 1),
            ({"scale_attn_norm": True, "qk_norm": True, "qkv_bias": False}, 17, 1),
            ({"scale_mlp_norm": True}, 17, 1),
            ({"embed_norm_layer": nn.LayerNorm, "pre_norm": True}, 17, 1),
            ({"global_pool": "map"}, 17, 1),
            ({"global_pool": "map", "pool_include_prefix": True, "reg_tokens": 1}, 18, 2),
            ({"global_pool": "map", "class_token": False, "img_size": (16, 24)}, 24, 0),
            ({"global_pool": "token", "final_norm": True, "fc_norm": False}, 17, 1),
            ({"global_pool": "token", "fc_norm": True}, 17, 1),
            ({"act_layer": "quick_gelu"}, 17, 1),
            ({"act_layer": "gelu_tanh"}, 17, 1),
            ({"act_layer": partial(nn.GELU, approximate="tanh")}, 17, 1),
            ({"act_layer": nn.ReLU, "init_values": 0.2}, 17, 1),
            ({"act_layer": nn.SiLU, "dynamic_img_size": True, "img_size": (24, 16)}, 25, 1),
        ],
        ids=lambda options: ",".join(options) or "plain" if isinstance(options, dict) else None,
    )
    def test_the_blueprint_computes_what_the_module_computes(
        self, small_vit: SmallVit, options: dict[str, object], tokens: int, prefix: int
    ) -> None:
        module = small_vit(3, **options)
        blueprint = blueprint_of("plain", module)
        assert follows(blueprint, module)
        assert (blueprint.tokens, len(blueprint.prefix)) == (tokens, prefix)

    @pytest.mark.parametrize("mlp", ["GluMlp", "SwiGLU", "SwiGLUPacked"])
    @pytest.mark.parametrize("norm", [False, True])
    def test_gated_mlps(self, timm: Any, small_vit: SmallVit, mlp: str, norm: bool) -> None:
        module = small_vit(3, mlp_layer=getattr(timm.layers, mlp), scale_mlp_norm=norm)
        blueprint = blueprint_of("gated", module)
        assert follows(blueprint, module)
        assert blueprint.encoders[0].gated
        assert (blueprint.encoders[0].hidden_norm is not None) == norm

    def test_hidden_channels_that_are_aligned(self, timm: Any, small_vit: SmallVit) -> None:
        module = small_vit(3, mlp_layer=partial(timm.layers.SwiGLU, align_to=24), mlp_ratio=2.1)
        blueprint = blueprint_of("aligned", module)
        assert blueprint.encoders[0].hidden % 24 == 0
        assert follows(blueprint, module)

    def test_heads_that_are_narrower_or_wider_than_the_stream(self, timm: Any, small_vit: SmallVit) -> None:
        module = small_vit(3)
        for width, block in zip((4, 8, 24), module.blocks, strict=True):
            block.attn = timm.layers.Attention(32, 2, attn_head_dim=width, qkv_bias=True)
        blueprint = blueprint_of("narrow", module)
        assert follows(blueprint, module)
        assert [encoder.head_dim for encoder in blueprint.encoders] == [4, 8, 24]

    def test_layer_scale_of_one_branch(self, small_vit: SmallVit) -> None:
        module = small_vit(3, init_values=0.3)
        module.blocks[0].ls2 = nn.Identity()
        module.blocks[1].ls1 = nn.Identity()
        assert follows(blueprint_of("scaled", module), module)

    @pytest.mark.parametrize("norm", ["RmsNorm", "RmsNormFp32", "LayerNormFp32"])
    def test_other_norms(self, timm: Any, small_vit: SmallVit, norm: str) -> None:
        module = small_vit(3, norm_layer=getattr(timm.layers, norm), qk_norm=True, pre_norm=True)
        blueprint = blueprint_of("normed", module)
        assert follows(blueprint, module)
        assert all(parts.centred == norm.startswith("Layer") for parts in blueprint.norms().values())

    def test_norms_of_two_kinds(self, timm: Any, small_vit: SmallVit) -> None:
        module = small_vit(3)
        module.blocks[1].norm2 = timm.layers.RmsNorm(32)
        assert follows(blueprint_of("mixed", module), module)

    def test_distilled_deit(self, timm: Any) -> None:
        torch.manual_seed(0)
        module = timm.create_model("deit_tiny_distilled_patch16_224").eval()
        blueprint = blueprint_of("distilled", module)
        assert follows(blueprint, module)
        assert blueprint.readout.tokens == (0, 1)
        assert len(blueprint.readout.heads) == 2

    def test_deit3(self, timm: Any) -> None:
        torch.manual_seed(0)
        module = timm.create_model("deit3_small_patch16_224", depth=2).eval()
        for block in module.blocks:
            nn.init.uniform_(block.ls1.gamma, -1, 1)
            nn.init.uniform_(block.ls2.gamma, -1, 1)
        blueprint = blueprint_of("deit3", module)
        assert follows(blueprint, module)
        # Positions are added to patches only: the class token has none.
        assert blueprint.positions is not None
        assert bool((blueprint.positions[0] == 0).all())
        assert bool((blueprint.positions[1:] != 0).any())

    def test_layer_scales_are_folded_into_the_weights(self, small_vit: SmallVit) -> None:
        module = small_vit(1, init_values=0.3)
        encoder, block = blueprint_of("scaled", module).encoders[0], module.blocks[0]
        for parts, layer, scale in (
            (encoder.proj, block.attn.proj, block.ls1),
            (encoder.fc2, block.mlp.fc2, block.ls2),
        ):
            torch.testing.assert_close(parts.weight, torch.diag(scale.gamma) @ layer.weight)
            torch.testing.assert_close(parts.bias, scale.gamma * layer.bias)

    def test_parts_share_memory_with_the_module(self, small_vit: SmallVit) -> None:
        module = small_vit(1, pre_norm=True)
        blueprint = blueprint_of("shared", module)
        encoder, block = blueprint.encoders[1], module.blocks[1]
        assert blueprint.positions is not None
        assert blueprint.embed_norm is not None
        for mine, its in (
            (blueprint.patch.weight, module.patch_embed.proj.weight),
            (blueprint.positions, module.pos_embed),
            (blueprint.embed_norm.weight, module.norm_pre.weight),
            (encoder.qkv.weight, block.attn.qkv.weight),
            (encoder.proj.bias, block.attn.proj.bias),
            (encoder.norm2.weight, block.norm2.weight),
            (blueprint.readout.heads[0].weight, module.head.weight),
        ):
            assert mine.data_ptr() == its.data_ptr()
        images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        assert not forward(blueprint, images).requires_grad

    def test_half_precision_weights_are_read_in_float32(self, small_vit: SmallVit) -> None:
        module = small_vit(1).half().float()
        assert {
            parts.weight.dtype for parts in blueprint_of("half", module).encoders[0].linear().values()
        } == {torch.float32}


class TestPublishedModels:
    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("deit_small_patch16_224", {}),
            pytest.param("deit_base_patch16_224", {}, marks=BIG),
            pytest.param("vit_base_patch16_224", {}, marks=BIG),
            pytest.param("vit_large_patch16_224", {"depth": 4}, marks=BIG),
            ("vit_base_patch32_clip_224", {"depth": 2}),
            ("vit_small_patch14_reg4_dinov2", {"depth": 2, "num_classes": 10}),
            ("vit_little_patch16_reg4_gap_256", {"depth": 2}),
        ],
    )
    def test_they_are_taken_apart(self, timm: Any, name: str, options: dict[str, int]) -> None:
        torch.manual_seed(0)
        module = timm.create_model(name, **options).eval()
        assert follows(blueprint_of(name, module), module)

    @pytest.mark.parametrize("name", ["vit_large_patch16_224", "vit_gigantic_patch14_224"])
    def test_structures_are_accepted_unseen(self, timm: Any, name: str) -> None:
        with torch.device("meta"):
            check_family(name, timm.create_model(name))

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("vit_small_patch16_18x2_224", "encoder 0 is a ParallelThingsBlock"),
            ("vit_pwee_patch16_reg1_gap_256", "encoder 0 is a ParallelScalingBlock"),
            ("vit_dwee_patch16_reg1_gap_256", "encoder 0 has DiffAttention"),
            ("vit_pe_spatial_tiny_patch16_512", "it does not have exactly one final norm"),
        ],
    )
    def test_structures_are_refused_unseen(self, timm: Any, name: str, reason: str) -> None:
        with torch.device("meta"):
            module = timm.create_model(name)
        with pytest.raises(UserError, match=f"^{name} cannot be quantized: .*{reason}"):
            check_family(name, module)
