"""Sites of a traced model: names, order, genes, parameters and multiply-accumulates, by hand."""

from __future__ import annotations

import dataclasses

import pytest

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.families import blueprint_of
from bitfront.evaluators.models.sites import trace_sites
from bitfront.spaces import QuantSite, encoder_layers

# The small model: 16 patches of 4 x 4 x 3 values and a class token, 32 channels in 2 heads, 128 hidden.
TOKENS, CHANNELS, HIDDEN, HEADS = 17, 32, 128, 2
PRODUCT = TOKENS * TOKENS * CHANNELS
ENCODER = [
    # name, kind, layer, pinned, elements, channels, multiply-accumulates
    ("norm1", "activations", "attn.qkv", False, TOKENS * CHANNELS, 0, TOKENS * 32 * 96),
    ("attn.qkv.weight", "weights", "attn.qkv", False, 32 * 96, 96, TOKENS * 32 * 96),
    ("attn.qkv", "activations", "attn.qkv", False, TOKENS * 96, 0, 2 * PRODUCT),
    ("attn.scores", "activations", "scores", True, HEADS * TOKENS**2, 0, 0),
    ("attn.softmax", "attention", "attn", False, HEADS * TOKENS**2, 0, PRODUCT),
    ("attn.context", "activations", "attn.proj", False, TOKENS * CHANNELS, 0, TOKENS * 32 * 32),
    ("attn.proj.weight", "weights", "attn.proj", False, 32 * 32, 32, TOKENS * 32 * 32),
    ("attn.proj", "activations", "residual", True, TOKENS * CHANNELS, 0, 0),
    ("residual1", "activations", "residual", True, TOKENS * CHANNELS, CHANNELS, 0),
    ("norm2", "activations", "mlp.fc1", False, TOKENS * CHANNELS, 0, TOKENS * 32 * 128),
    ("mlp.fc1.weight", "weights", "mlp.fc1", False, 32 * 128, 128, TOKENS * 32 * 128),
    ("mlp.gelu", "activations", "mlp.fc2", False, TOKENS * HIDDEN, 0, TOKENS * 32 * 128),
    ("mlp.fc2.weight", "weights", "mlp.fc2", False, 32 * 128, 32, TOKENS * 32 * 128),
    ("mlp.fc2", "activations", "residual", True, TOKENS * CHANNELS, 0, 0),
    ("residual2", "activations", "residual", True, TOKENS * CHANNELS, CHANNELS, 0),
]
PATCHES = 16 * 48 * CHANNELS
BEFORE = [
    ("image", "activations", "embedding", True, 3 * 16 * 16, 0, PATCHES),
    ("patch_embed.weight", "weights", "embedding", True, 48 * CHANNELS, CHANNELS, PATCHES),
    ("patch_embed", "activations", "embedding", True, TOKENS * CHANNELS, 0, 0),
    ("pos_embed", "activations", "embedding", True, TOKENS * CHANNELS, 0, 0),
    ("embed", "activations", "residual", True, TOKENS * CHANNELS, CHANNELS, 0),
]
AFTER = [
    ("norm", "activations", "head", True, CHANNELS, 0, 0),
    ("head.0.weight", "weights", "head", True, 7 * CHANNELS, 7, 7 * CHANNELS),
    ("head", "activations", "head", True, 7, 0, 0),
]


def by_hand() -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = [(name, kind, None, *rest) for name, kind, *rest in BEFORE]
    for index in range(3):
        rows += [(f"blocks.{index}.{name}", kind, index, *rest) for name, kind, *rest in ENCODER]
    return rows + [(name, kind, None, *rest) for name, kind, *rest in AFTER]


def parameters(sites: tuple[QuantSite, ...]) -> int:
    return sum(site.elements for site in sites if site.kind == "weights")


def macs(sites: tuple[QuantSite, ...]) -> int:
    """Products of linear layers, and both of attention, whose common operand are queries, keys and values."""
    return sum(site.macs for site in sites if site.kind == "weights" or site.name.endswith("attn.qkv"))


def test_sites_by_hand(blueprint: Blueprint) -> None:
    assert [dataclasses.astuple(site) for site in trace_sites(blueprint, "fq-vit")] == by_hand()


def test_genes_follow_from_the_sites(blueprint: Blueprint) -> None:
    sites = trace_sites(blueprint, "fq-vit")
    layers = encoder_layers(sites, [encoder.name for encoder in blueprint.encoders])
    assert [layer.name for layer in layers] == ["blocks.0", "blocks.1", "blocks.2"]
    assert {layer.linear for layer in layers} == {("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")}


@pytest.mark.parametrize(
    ("options", "outer"),
    [
        ({"global_pool": "avg"}, {"pool": "residual", "norm": "head"}),
        ({"global_pool": "avg", "fc_norm": False}, {"norm_tokens": "residual", "norm": "head"}),
    ],
)
def test_average_pools_have_their_own_sites(
    small_vit, options: dict[str, object], outer: dict[str, str]
) -> None:
    blueprint = blueprint_of("pooled", small_vit(0, **options))
    sites = {site.name: site for site in trace_sites(blueprint, "fq-vit")}
    assert len(sites) == len(by_hand()) + 1
    for name, group in outer.items():
        assert (sites[name].layer, sites[name].pinned, sites[name].encoder) == (group, True, None)
    assert sites["head.0.weight"].elements == 7 * CHANNELS


def test_registers_are_tokens_but_not_patches(small_vit) -> None:
    blueprint = blueprint_of("registers", small_vit(0, reg_tokens=3))
    sites = {site.name: site for site in trace_sites(blueprint, "fq-vit")}
    assert sites["patch_embed.weight"].macs == PATCHES
    assert sites["patch_embed"].elements == 20 * CHANNELS
    assert sites["blocks.0.attn.softmax"].elements == HEADS * 20**2


def test_totals_of_deit_tiny(deit_tiny: Blueprint) -> None:
    sites = trace_sites(deit_tiny, "fq-vit")
    assert len(sites) == 5 + 12 * 15 + 3
    encoder = 4 * 192 * 192 + 2 * 192 * 768
    assert parameters(sites) == 12 * encoder + 768 * 192 + 1000 * 192
    # Published: 5.7 M parameters with biases, norms and tokens; 1.25 GMAC (often called GFLOPs).
    assert parameters(sites) == pytest.approx(5.7e6, rel=0.02)
    products = 12 * 2 * 197 * 197 * 192
    assert macs(sites) == 12 * 197 * encoder + products + 196 * 768 * 192 + 1000 * 192
    assert macs(sites) == pytest.approx(1.25e9, rel=0.01)


def test_scheme_deploy_keeps_the_residual_stream_in_float(blueprint: Blueprint) -> None:
    whole = {site.name: site for site in trace_sites(blueprint, "fq-vit")}
    found = {site.name: site for site in trace_sites(blueprint, "deploy")}
    assert all(whole[name] == site for name, site in found.items())
    floats = {"attn.scores", "attn.proj", "residual1", "mlp.fc2", "residual2"}
    inner = {f"blocks.{index}.{name}" for index in range(3) for name in floats}
    assert set(whole) - set(found) == {*inner, "patch_embed", "pos_embed", "embed", "head"}
    assert {site.layer for site in found.values() if site.pinned} == {"embedding", "head"}


def test_a_windowed_model_by_hand(small_swin) -> None:
    sites = {site.name: site for site in trace_sites(blueprint_of("swin", small_swin(0)), "fq-vit")}
    # 16 x 16 patches in 16 windows of 4 x 4, then 8 x 8 in 4; 2 and 4 heads of 8 channels.
    scores, bias = sites["layers.0.blocks.1.attn.scores"], sites["layers.0.blocks.1.attn.bias"]
    assert (scores.elements, bias.elements) == (16 * 2 * 16 * 16, 2 * 16 * 16)
    assert {scores.layer, bias.layer} == {"scores"}
    assert sites["layers.1.blocks.0.attn.softmax"].macs == 64 * 16 * 32
    norm, reduction = sites["layers.1.downsample.norm"], sites["layers.1.downsample.reduction"]
    assert (norm.layer, norm.elements, norm.macs) == ("embedding", 64 * 64, 64 * 64 * 32)
    assert (reduction.layer, reduction.elements, reduction.channels) == ("residual", 64 * 32, 32)
    weight = sites["layers.1.downsample.reduction.weight"]
    assert (weight.pinned, weight.encoder, weight.elements, weight.channels) == (True, None, 32 * 64, 32)
