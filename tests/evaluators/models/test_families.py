"""Models of every kind of encoder: taken apart faithfully, for real and unseen, or refused by name."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from peculiar_cases import PECULIAR, eva, layers, other, peculiar_case, relative, vit
from quantized_cases import moved
from torch import nn

from bitfront.evaluators.models.blueprint import Blueprint, map_tensors
from bitfront.evaluators.models.families import blueprint_of, blueprint_outline
from bitfront.evaluators.models.float_forward import forward
from bitfront.spaces import UserError

# timm's files whose models are of the supported families.
FILES = (
    "vision_transformer",
    "deit",
    "beit",
    "eva",
    "swin_transformer",
    "swin_transformer_v2",
    "vision_transformer_relpos",
)
SHARE_SUPPORTED = 0.95
# Options that leave little of a model but its kind.
THIN = {"depth": 2, "embed_dim": 192, "num_heads": 3, "num_classes": 10}
PUBLISHED: dict[str, dict[str, Any]] = {
    "vit_base_patch16_clip_quickgelu_224": THIN,
    "vit_base_patch16_siglip_224": THIN,
    "vit_giant_patch14_dinov2": {**THIN, "img_size": 224},
    "aimv2_large_patch14_224": THIN,
    "vit_base_patch16_rpn_224": THIN,
    "beit_base_patch16_224": THIN,
    "beit3_base_patch16_224": THIN,
    "eva02_tiny_patch14_224": {"depth": 2, "num_classes": 10},
    "eva02_enormous_patch14_clip_224": {**THIN, "mlp_ratio": 4},
    "eva_giant_patch14_clip_224": {**THIN, "mlp_ratio": 4},
    "vit_small_patch16_dinov3": {"depth": 2, "num_classes": 10},
    "vit_small_patch16_rope_mixed_224": {"depth": 2},
    "vit_small_patch16_rope_ape_224": {"depth": 2},
    "vit_pe_core_tiny_patch16_384": {"depth": 2, "num_classes": 10},
    "swinv2_tiny_window8_256": {"depths": (2, 1, 1, 1), "embed_dim": 48},
    "vit_relpos_small_patch16_224": {"depth": 2},
    "vit_relpos_base_patch32_plus_rpn_256": {**THIN},
    "vit_srelpos_small_patch16_224": {"depth": 2},
    "vit_relpos_base_patch16_cls_224": {**THIN},
}


QUICK = ("eva02_tiny_patch14_224", "vit_small_patch16_dinov3", "swinv2_tiny_window8_256")


@torch.inference_mode()
def follows(blueprint: Blueprint, module: nn.Module, count: int = 2) -> bool:
    """Whether the blueprint's logits are the module's on fresh images."""
    images = torch.randn(count, *blueprint.image_shape, generator=torch.Generator().manual_seed(9))
    expected = module(images)
    return bool((forward(blueprint, images) - expected).abs().max() <= 2e-5 * expected.abs().max())


def tensors_of(blueprint: Blueprint) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    map_tensors(blueprint, found.setdefault, "model")
    return found


def published(timm: Any, name: str) -> nn.Module:
    torch.manual_seed(0)
    module: nn.Module = timm.create_model(name, **PUBLISHED[name])
    return moved(module, 1, 0.03)


@pytest.mark.parametrize("name", PECULIAR)
def test_small_models_of_every_peculiarity(name: str) -> None:
    case = peculiar_case(name, 3)
    assert follows(case.blueprint, case.module)


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.thorough) for n in PUBLISHED]
)
def test_published_models(timm: Any, name: str) -> None:
    module = published(timm, name)
    blueprint = blueprint_of(name, module)
    assert follows(blueprint, module)
    with torch.device("meta"):
        bare = timm.create_model(name, **PUBLISHED[name])
    outline, real = tensors_of(blueprint_outline(name, bare)), tensors_of(blueprint)
    assert {way: tensor.shape for way, tensor in outline.items()} == {
        way: tensor.shape for way, tensor in real.items()
    }
    for way, tensor in outline.items():
        learned = way.endswith("score_scales") and blueprint.encoders[0].learned_scales
        assert tensor.is_meta or learned or torch.equal(tensor, real[way]), way


@pytest.mark.slow
@pytest.mark.thorough
def test_nearly_every_published_classifier_is_supported(timm: Any) -> None:
    supported, refusals = 0, {}
    for file in FILES:
        for name in timm.list_models(module=file):
            with torch.device("meta"):
                module = timm.create_model(name)
            if module.num_classes == 0:
                continue
            try:
                blueprint_outline(name, module)
            except UserError as error:
                refusals[name] = str(error)
            else:
                supported += 1
    assert supported > 150
    assert supported >= SHARE_SUPPORTED * (supported + len(refusals))
    for name, message in refusals.items():
        assert message.startswith(f"{name} cannot be quantized: ")
        assert message.isprintable()


class TestOptions:
    """Each of them once, where a mistake could be silent: on grids that are no squares, with prefixes."""

    @pytest.mark.parametrize(
        "options",
        [
            {"global_pool": "avg"},
            {"global_pool": "avg", "use_fc_norm": False},
            {"global_pool": "token", "use_fc_norm": True},
            {"global_pool": "map", "num_reg_tokens": 2},
            {"global_pool": "avg", "class_token": False},
            {"num_reg_tokens": 3, "no_embed_class": True},
            {"num_reg_tokens": 1, "use_abs_pos_emb": False, "global_pool": "token"},
            {"dynamic_img_size": True, "ref_feat_shape": 3},
            {"rope_grid_offset": 0.5, "ref_feat_shape": (2, 5), "rope_grid_indexing": "xy"},
            {"rope_rotate_half": True, "rope_temperature": 50.0},
            {"rope_type": "mixed", "dynamic_img_size": True, "attn_type": "rope"},
            {"rope_type": "mixed", "num_heads": 4, "class_token": False},
            {"rope_type": "dinov3", "rope_grid_indexing": "xy", "num_reg_tokens": 2},
            {"rope_type": "dinov3", "rope_rotate_half": True, "rope_shift_coords": 0.5},
            {"rope_type": "mrope", "rope_mrope_section": (2, 3, 3), "rope_jitter_coords": 1.5},
            {"qkv_bias": False, "qkv_fused": False},
            {"qkv_fused": False, "attn_type": "rope"},
            {"qk_norm": True, "scale_attn_inner": True},
            {"swiglu_mlp": True, "scale_mlp": True, "swiglu_align_to": 24, "mlp_ratio": 2.1},
            {"swiglu_mlp": True, "mlp_ratio": 2.3},
            {"init_values": 0.3, "attn_only_layer_scale": True},
            {"use_post_norm": True, "scale_mlp": True},
            {"use_pre_transformer_norm": True, "use_rot_pos_emb": False},
        ],
        ids=lambda options: ",".join(options),
    )
    def test_of_eva(self, options: dict[str, Any]) -> None:
        torch.manual_seed(3)
        module: Any = eva(**{"use_rot_pos_emb": True, "img_size": (16, 24), **options}).train()
        moved(module, 4, 0.1).train()
        outline = tensors_of(blueprint_outline("eva", copy.deepcopy(module).to("meta")))
        blueprint = blueprint_of("eva", module)
        assert follows(blueprint, module)
        for way, tensor in tensors_of(blueprint).items():
            assert outline[way].is_meta or torch.equal(outline[way], tensor), way

    @pytest.mark.parametrize(
        "options",
        [
            {"use_rel_pos_bias": True, "use_shared_rel_pos_bias": True},
            {"use_rel_pos_bias": True, "global_pool": "token", "qkv_bias": False},
            {"use_fc_norm": False, "swiglu_mlp": True, "init_values": 0.3},
        ],
        ids=lambda options: ",".join(options),
    )
    def test_of_beit(self, options: dict[str, Any]) -> None:
        torch.manual_seed(3)
        module = moved(other("beit", "Beit", img_size=(16, 24), **options), 4, 0.1)
        blueprint = blueprint_of("beit", module)
        assert follows(blueprint, module)
        check_tables(blueprint)

    @pytest.mark.parametrize(
        "options",
        [
            {"rel_pos_type": "bias"},
            {"rel_pos_type": "bias", "class_token": True, "global_pool": "token", "shared_rel_pos": True},
            {"rel_pos_type": "mlp", "class_token": True, "init_values": None},
            {"rel_pos_type": "mlp.swin", "rel_pos_dim": 8},
            {"qk_norm": True, "qkv_bias": False, "fc_norm": True},
        ],
        ids=lambda options: ",".join(options),
    )
    def test_of_relative_positions(self, options: dict[str, Any]) -> None:
        torch.manual_seed(3)
        module = moved(relative(img_size=(16, 24), **options), 4, 0.1)
        blueprint = blueprint_of("relative", module)
        assert follows(blueprint, module)
        check_tables(blueprint)

    def test_biases_of_queries_alone(self) -> None:
        """timm's EVA has no bias of keys, or one that is 0, added in one of two ways."""
        torch.manual_seed(3)
        module: Any = moved(eva(use_rot_pos_emb=True, num_heads=2), 4, 0.1)
        for block in module.blocks:
            block.attn.qkv_bias_separate = True
        encoder = blueprint_of("eva", module).encoders[0]
        assert follows(blueprint_of("eva", module), module)
        assert not encoder.qkv.bias[32:64].any()
        assert bool(encoder.qkv.bias[:32].all())

    def test_a_gate_that_comes_last(self) -> None:
        module: Any = moved(vit(mlp_layer=layers().GluMlp), 4, 0.1)
        assert module.blocks[0].mlp.gate_last
        module.blocks[1].mlp.gate_last = False
        assert follows(blueprint_of("gated", module), module)


def check_tables(blueprint: Blueprint) -> None:
    """The table that files store makes every bias."""
    for encoder in blueprint.encoders:
        if encoder.window is not None:
            assert torch.equal(
                encoder.window.table[encoder.window.index].permute(2, 0, 1), encoder.window.bias
            )
            assert encoder.window.bias.shape == (encoder.heads, encoder.tokens, encoder.tokens)
