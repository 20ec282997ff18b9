"""Sizes against the tensors that a packed file holds and against files written by safetensors."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.families import blueprint_of
from bitfront.evaluators.models.sites import trace_sites
from bitfront.evaluators.packed.layout import SizeModel
from bitfront.evaluators.packed.tensors import StoredTensor, packed_bytes, safetensors_bytes
from bitfront.evaluators.preparation.recipes import RECIPES
from bitfront.spaces import BitConfig, EncoderBits

Uniform = Callable[..., BitConfig]
TYPES = {"U8": torch.uint8, "I8": torch.int8, "F32": torch.float32}


def size_model(blueprint: Blueprint) -> SizeModel:
    return SizeModel(blueprint, trace_sites(blueprint, "fq-vit"), "fq-vit")


@pytest.mark.parametrize(
    ("values", "bits", "expected"),
    [(8, 8, 8), (8, 4, 4), (9, 4, 5), (8, 3, 3), (9, 3, 4), (0, 4, 0), (5, 2, 2)],
)
def test_packed_values(values: int, bits: int, expected: int) -> None:
    assert packed_bytes(values, bits) == expected


@pytest.mark.parametrize(
    "tensors",
    [
        [StoredTensor("a", "F32", (3, 5))],
        [StoredTensor("weight", "U8", (1, 17))],
        [StoredTensor("a.weight", "F32", (64, 48)), StoredTensor("b.weight", "U8", (999,))],
        [StoredTensor(f"blocks.{i:02d}.weight", "I8", (7 * i + 1,)) for i in range(30)],
    ],
)
def test_safetensors_files(tmp_path: Path, tensors: list[StoredTensor]) -> None:
    path = tmp_path / "t.safetensors"
    save_file({t.name: torch.zeros(t.shape, dtype=TYPES[t.dtype]) for t in tensors}, path)
    assert safetensors_bytes(tensors) == path.stat().st_size


def payload_by_hand(blueprint: Blueprint, bits: int) -> int:
    """Bytes of a packed small model without the file's header."""
    channels, tokens, prefix = blueprint.channels, blueprint.tokens, len(blueprint.prefix)
    outer = [blueprint.patch, *blueprint.readout.heads]
    inner = [parts for encoder in blueprint.encoders for parts in encoder.linear().values()]
    weights = sum(parts.weight.numel() for parts in outer)
    weights += sum(math.ceil(parts.weight.numel() * bits / 8) for parts in inner)
    scales_and_biases = sum(8 * len(parts.bias) for parts in [*outer, *inner])
    depth = len(blueprint.encoders)
    grids = 5 * (4 + 11 * depth + 2) + channels * (1 + 2 * depth)  # and exponents of the residual stream
    norms = 8 * channels * (2 * depth + 1)
    return weights + scales_and_biases + grids + norms + (prefix + tokens) * channels


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_the_payload_by_hand(blueprint: Blueprint, uniform: Uniform, bits: int) -> None:
    found = size_model(blueprint).size_bytes(uniform(blueprint, (bits, 8, 4)))
    header = found - payload_by_hand(blueprint, bits)
    # Some 60 to 110 characters name each of the tensors.
    tensors = 3 * 14 + 2 * (4 + 11 * 3 + 2) + 7 + 2 * 7 + 2
    assert 60 * tensors < header < 110 * tensors


def test_activations_and_attention_cost_no_bytes(blueprint: Blueprint, uniform: Uniform) -> None:
    size = size_model(blueprint).size_bytes
    assert len({size(uniform(blueprint, (4, a, t))) for a in (4, 8) for t in (4, 8)}) == 1


def test_four_bits_are_half_a_byte(deit_tiny: Blueprint, uniform: Uniform) -> None:
    size = size_model(deit_tiny).size_bytes
    searched = 12 * (4 * 192 * 192 + 2 * 192 * 768)
    saved = size(uniform(deit_tiny, (8, 8, 8))) - size(uniform(deit_tiny, (4, 8, 8)))
    assert saved == pytest.approx(searched / 2, abs=1000)  # the header's offsets have fewer digits


def test_layers_count_one_by_one(blueprint: Blueprint, uniform: Uniform) -> None:
    size = size_model(blueprint).size_bytes
    whole = uniform(blueprint, (8, 8, 8))
    layers = {"attn.qkv": 8, "attn.proj": 8, "mlp.fc1": 4, "mlp.fc2": 8}
    first = EncoderBits(0, "blocks.0", tuple(layers.items()), 8, 8)
    mixed = BitConfig("small", "fq-vit", (first, *whole.encoders[1:]))
    assert size(whole) - size(mixed) == pytest.approx(32 * 128 / 2, abs=64)


def test_deit_tiny_is_small(deit_tiny: Blueprint, uniform: Uniform) -> None:
    size = size_model(deit_tiny)
    assert size.size_bytes(uniform(deit_tiny, (8, 8, 8))) <= 6.3e6
    assert size.size_bytes(uniform(deit_tiny, (4, 8, 8))) <= 3.8e6
    assert size.float_bytes() == pytest.approx(4 * 5_717_416, rel=0.002)  # timm's count of parameters


def layout_by_hand(blueprint: Blueprint, config: BitConfig) -> dict[str, torch.Tensor]:
    """The tensors of a packed file."""
    file: dict[str, torch.Tensor] = {}
    linear = {"patch_embed": (blueprint.patch, 8)}
    linear |= {f"head.{i}": (head, 8) for i, head in enumerate(blueprint.readout.heads)}
    affine, residual, norms = ["image", "patch_embed", "pos_embed", "norm", "head"], ["embed"], ["norm"]
    for encoder, bits in zip(blueprint.encoders, config.encoders, strict=True):
        for layer, parts in encoder.linear().items():
            linear[f"{encoder.name}.{layer}"] = (parts, bits.bits("weights", layer))
        affine += [
            f"{encoder.name}.{site}"
            for site in ("norm1", "attn.qkv", "attn.scores", "attn.softmax", "attn.context", "attn.proj")
        ]
        affine += [f"{encoder.name}.{site}" for site in ("norm2", "mlp.gelu", "mlp.fc2")]
        residual += [f"{encoder.name}.residual1", f"{encoder.name}.residual2"]
        norms += [f"{encoder.name}.norm1", f"{encoder.name}.norm2"]
    for name, (parts, width) in linear.items():
        nbytes = math.ceil(parts.weight.numel() * width / 8)
        file[f"{name}.weight"] = torch.zeros(nbytes, dtype=torch.uint8)
        file[f"{name}.weight.scale"] = torch.zeros(len(parts.bias))
        file[f"{name}.weight.bias"] = torch.zeros(len(parts.bias))
    for site in affine + residual:
        file[f"{site}.scale"] = torch.zeros(1)
        file[f"{site}.zero_point"] = torch.zeros(1, dtype=torch.uint8)
    for site in residual:
        file[f"{site}.exponents"] = torch.zeros(blueprint.channels, dtype=torch.uint8)
    for norm in norms:
        file[f"{norm}.weight"], file[f"{norm}.bias"] = (torch.zeros(blueprint.channels) for _ in range(2))
    file["prefix"] = torch.zeros(blueprint.prefix.shape, dtype=torch.uint8)
    file["positions"] = torch.zeros(blueprint.positions.shape, dtype=torch.uint8)
    return file


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_the_size_is_that_of_the_written_file(
    tmp_path: Path, blueprint: Blueprint, uniform: Uniform, bits: int
) -> None:
    config = uniform(blueprint, (bits, 8, 4))
    save_file(layout_by_hand(blueprint, config), tmp_path / "packed.safetensors")
    assert size_model(blueprint).size_bytes(config) == (tmp_path / "packed.safetensors").stat().st_size


def test_the_float_size_is_that_of_the_written_file(tmp_path: Path, deit_tiny: Blueprint) -> None:
    file = {"prefix": deit_tiny.prefix, "positions": deit_tiny.positions}
    linear = {"patch_embed": deit_tiny.patch, "head.0": deit_tiny.readout.heads[0]}
    norms = {"norm": deit_tiny.readout.norm}
    for encoder in deit_tiny.encoders:
        linear |= {f"{encoder.name}.{layer}": parts for layer, parts in encoder.linear().items()}
        norms |= {f"{encoder.name}.norm1": encoder.norm1, f"{encoder.name}.norm2": encoder.norm2}
    for name, parts in linear.items():
        file |= {f"{name}.weight": parts.weight, f"{name}.weight.bias": parts.bias}
    for name, norm in norms.items():
        file |= {f"{name}.weight": norm.weight, f"{name}.bias": norm.bias}
    save_file(file, tmp_path / "float.safetensors")
    assert size_model(deit_tiny).float_bytes() == (tmp_path / "float.safetensors").stat().st_size


def test_the_order_of_the_tensors_does_not_matter() -> None:
    tensors = [StoredTensor(f"t{i}", ("U8", "F32")[i % 2], (10**i,)) for i in range(7)]
    assert safetensors_bytes(tensors) == safetensors_bytes(tensors[::-1])


def test_scheme_deploy_stores_what_stays_in_float(blueprint: Blueprint, uniform: Uniform) -> None:
    config = uniform(blueprint, (8, 8, 8), "deploy")
    found = SizeModel(blueprint, trace_sites(blueprint, "deploy"), "deploy").size_bytes(config)
    whole = size_model(blueprint).size_bytes(uniform(blueprint, (8, 8, 8)))
    # Tokens and positions take four bytes instead of one; grids of the residual stream, scores and logits go.
    tokens = 3 * (len(blueprint.prefix) + blueprint.tokens) * blueprint.channels
    grids = 5 * (4 + 5 * 3) + blueprint.channels * (1 + 2 * 3)
    header = 60 * (2 * (4 + 5 * 3) + 1 + 2 * 3)
    assert found - whole == pytest.approx(tokens - grids - header, abs=0.6 * header)


def test_a_windowed_model_stores_its_bias_tables_once(small_swin) -> None:
    module = small_swin(0)
    swin = blueprint_of("swin", module)
    found = SizeModel(swin, trace_sites(swin, "fq-vit"), "fq-vit").float_bytes()
    parameters = 4 * sum(parameter.numel() for parameter in module.parameters())
    zero_biases = 4 * sum(len(merge.reduction.bias) for merge in swin.merges.values())
    assert parameters + zero_biases < found < parameters + zero_biases + 110 * 70


@pytest.mark.parametrize("bits", [(4, 4, 4), (4, 8, 8), (8, 4, 8), (8, 8, 4), (8, 8, 8)])
def test_recipes_pay_for_what_they_store(
    blueprint: Blueprint, uniform: Uniform, bits: tuple[int, int, int]
) -> None:
    sites, config = trace_sites(blueprint, "deploy"), uniform(blueprint, bits, "deploy")
    plain, best = (SizeModel(blueprint, sites, "deploy", RECIPES[name]) for name in ("fq-vit", "best"))
    depth, linear = len(blueprint.encoders), [e.linear().values() for e in blueprint.encoders]
    stored = {"score_scales": 4 * sum(encoder.heads for encoder in blueprint.encoders)}
    factors = 0
    if bits[0] == 4:
        rows = [(len(parts.weight), math.ceil(parts.weight.shape[1] / 16)) for e in linear for parts in e]
        factors = sum(math.ceil(out * groups * 4 / 8) for out, groups in rows)
    if bits[1] == 4:
        stored["levels"] = 16 * 5 * depth
    if bits[2] == 4:
        stored["log_steps"] = 4 * depth
    found = best.size_bytes(config) - plain.size_bytes(config) - factors - sum(stored.values())
    # A few dozen bytes of header for each tensor; longer numbers of bytes move the others' offsets.
    assert 0 <= found - 60 * len(stored) <= 30 * len(stored) + 200


def test_the_faithful_recipe_stores_nothing_beside_the_codes(blueprint: Blueprint, uniform: Uniform) -> None:
    sites, config = trace_sites(blueprint, "fq-vit"), uniform(blueprint, (4, 4, 4))
    found = SizeModel(blueprint, sites, "fq-vit", RECIPES["fq-vit"]).size_bytes(config)
    assert found == size_model(blueprint).size_bytes(config)
