"""Which models the ViT family takes apart faithfully, and why it refuses the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.families import blueprint_of, check_family
from bitfront.evaluators.models.float_forward import forward
from bitfront.evaluators.preparation.calibration import calibrate
from bitfront.evaluators.quantizers.registry import observer_named
from bitfront.spaces import BitfrontError, UserError

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
    @pytest.mark.parametrize(("name", "kind"), [("resnet18", "ResNet"), ("eva02_tiny_patch14_224", "Eva")])
    def test_they_are_refused_by_class(self, timm: Any, name: str, kind: str) -> None:
        with torch.device("meta"):
            module = timm.create_model(name)
        refused(f"it is a {kind}, neither a timm VisionTransformer nor a SwinTransformer", module)


class TestExtrasInside:
    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({"qk_norm": True}, "encoder 0 normalises queries and keys"),
            ({"scale_attn_norm": True}, "encoder 0 normalises or gates its attention output"),
            ({"embed_norm_layer": nn.LayerNorm}, "it normalises its patches before positions are added"),
            ({"global_pool": "map"}, "it pools tokens by 'map', and only class tokens and averages"),
            ({"global_pool": "prr"}, "it pools tokens by 'prr'"),
            ({"global_pool": "max"}, "it pools tokens by 'max'"),
            ({"global_pool": "avgmax"}, "it pools tokens by 'avgmax'"),
            ({"global_pool": ""}, "it pools tokens by ''"),
            ({"final_norm": False}, "it does not have exactly one final LayerNorm"),
            ({"num_classes": 0}, "it has no classifier; give a fine-tuned model"),
            ({"scale_mlp_norm": True}, "encoder 0 has Mlp where a plain two-layer MLP is supported"),
            ({"img_size": 18}, "its images of 18x18 pixels are no whole number of 4x4 patches"),
            (
                {"img_size": 18, "dynamic_img_size": True, "dynamic_img_pad": True},
                "its images of 18x18 pixels are no whole number of 4x4 patches",
            ),
            ({"act_layer": "quick_gelu"}, "encoder 0 has activation QuickGELU where exact GELU"),
            ({"act_layer": "gelu_tanh"}, "encoder 0 has activation GELUTanh where exact GELU"),
            ({"act_layer": nn.ReLU}, "encoder 0 has activation ReLU where exact GELU"),
            ({"depth": 0}, "it has no encoders"),
        ],
    )
    def test_options(self, small_vit: SmallVit, options: dict[str, object], match: str) -> None:
        refused(match, small_vit(0, **options))

    @pytest.mark.parametrize("mlp", ["GluMlp", "SwiGLU"])
    def test_gated_mlps(self, timm: Any, small_vit: SmallVit, mlp: str) -> None:
        module = small_vit(0, mlp_layer=getattr(timm.layers, mlp))
        refused(f"encoder 0 has {mlp} where a plain two-layer MLP is supported", module)

    @pytest.mark.parametrize("block", ["ParallelScalingBlock", "ParallelThingsBlock", "ResPostBlock"])
    def test_other_blocks(self, small_vit: SmallVit, vision_transformer: Any, block: str) -> None:
        module = small_vit(0, block_fn=getattr(vision_transformer, block))
        refused(f"its encoders are {block}, not pre-norm blocks", module)

    def test_other_norms(self, timm: Any, small_vit: SmallVit) -> None:
        refused("it has RmsNorm where LayerNorm is supported", small_vit(0, norm_layer=timm.layers.RmsNorm))
        module = small_vit(0)
        module.blocks[1].norm2 = timm.layers.RmsNorm(32)
        refused("encoder 1 has RmsNorm where LayerNorm is supported", module)
        module = small_vit(0, pre_norm=True)
        module.norm_pre = timm.layers.RmsNorm(32)
        refused("it has RmsNorm where LayerNorm is supported", module)

    def test_attention_of_other_kinds(self, small_vit: SmallVit) -> None:
        module = small_vit(0, attn_layer="diff")
        refused("encoder 0 has DiffAttention where plain multi-head attention is supported", module)

    def test_classifiers_of_several_layers(self, small_vit: SmallVit) -> None:
        module = small_vit(0)
        module.head = nn.Sequential(nn.Linear(32, 32), nn.Linear(32, 7))
        refused("its classifier is a Sequential, not one linear layer", module)

    def test_a_later_encoder_is_named(self, timm: Any, small_vit: SmallVit) -> None:
        module = small_vit(0)
        module.blocks[2].mlp.act = nn.SiLU()
        refused("encoder 2 has activation SiLU", module)

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
            pytest.param("deit_base_patch16_224", {}, marks=pytest.mark.slow),
            pytest.param("vit_base_patch16_224", {}, marks=pytest.mark.slow),
            pytest.param("vit_large_patch16_224", {"depth": 4}, marks=pytest.mark.slow),
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
            ("vit_base_patch16_siglip_224", "it pools tokens by 'map'"),
            ("vit_so400m_patch14_siglip_gap_384", "images of 384x384 pixels are no whole number of 14x14"),
            ("vit_giant_patch14_dinov2", "encoder 0 has GluMlp"),
            ("vit_base_patch16_rpn_224", "its encoders are ResPostBlock"),
            ("aimv2_large_patch14_224", "it normalises its patches before positions are added"),
            ("beit3_base_patch16_224", "encoder 0 normalises or gates its attention output"),
            ("vit_base_patch32_clip_quickgelu_224", "encoder 0 has activation QuickGELU"),
        ],
    )
    def test_structures_are_refused_unseen(self, timm: Any, name: str, reason: str) -> None:
        with torch.device("meta"):
            module = timm.create_model(name)
        with pytest.raises(UserError, match=f"^{name} cannot be quantized: .*{reason}"):
            check_family(name, module)
