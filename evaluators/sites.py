"""Quantization sites of a model, found by tracing one forward pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bitfront.evaluators.calibration import is_residual
from bitfront.evaluators.models.blueprint import Blueprint, EncoderParts, LinearParts, forward
from bitfront.spaces import QuantSite
from bitfront.spaces.space import ATTENTION_LAYER

# The layer whose activation gene each tensor of an encoder follows: a linear layer's input, and for the
# query, key and value layer also its output, the operands of both attention products.
FOLLOWS = {
    "norm1": "attn.qkv",
    "attn.qkv": "attn.qkv",
    "attn.context": "attn.proj",
    "norm2": "mlp.fc1",
    "mlp.gelu": "mlp.fc2",
}


@dataclass(frozen=True)
class _Traced:
    site: str
    elements: int


def trace_sites(blueprint: Blueprint) -> tuple[QuantSite, ...]:
    """All quantized tensors of a model in execution order, each linear layer's weight after its input."""
    traced: list[_Traced] = []

    def tap(site: str, value: torch.Tensor) -> None:
        traced.append(_Traced(site, value.numel()))

    with torch.inference_mode():
        forward(blueprint, torch.zeros(1, *blueprint.image_shape), tap)
    encoders = {encoder.name: index for index, encoder in enumerate(blueprint.encoders)}
    sites: list[QuantSite] = []
    for found in traced:
        name = next((e for e in encoders if found.site.startswith(e + ".")), None)
        if name is None:
            sites += _outer_sites(blueprint, found)
        else:
            sites += _encoder_sites(blueprint, encoders[name], found)
    return tuple(sites)


def _weight(name: str, encoder: int | None, layer: str, parts: LinearParts, rows: int) -> QuantSite:
    elements = parts.weight.numel()
    return QuantSite(
        name, "weights", encoder, layer, encoder is None, elements, parts.weight.shape[0], rows * elements
    )


def _outer_sites(blueprint: Blueprint, found: _Traced) -> list[QuantSite]:
    patches = blueprint.tokens - len(blueprint.prefix)
    macs = patches * blueprint.patch.weight.numel() if found.site == "image" else 0
    group = "head" if found.site in ("norm", "head") else "embedding"
    if is_residual(found.site) or found.site == "norm_tokens":
        group = "residual"
    sites = [QuantSite(found.site, "activations", None, group, True, found.elements, 0, macs)]
    if found.site == "image":
        sites.append(_weight("patch_embed.weight", None, "embedding", blueprint.patch, patches))
    if found.site == "norm":
        for index, head in enumerate(blueprint.readout.heads):
            sites.append(_weight(f"head.{index}.weight", None, "head", head, 1))
    return sites


def _encoder_sites(blueprint: Blueprint, index: int, found: _Traced) -> list[QuantSite]:
    encoder = blueprint.encoders[index]
    local = found.site.removeprefix(f"{encoder.name}.")
    products = attention_macs(encoder, blueprint.tokens)
    if local == "attn.softmax":
        return [
            QuantSite(found.site, "attention", index, ATTENTION_LAYER, False, found.elements, 0, products)
        ]
    layer = FOLLOWS.get(local)
    if layer is None:
        group = "scores" if local == "attn.scores" else "residual"
        return [QuantSite(found.site, "activations", index, group, True, found.elements)]
    if local == "attn.qkv":
        return [QuantSite(found.site, "activations", index, layer, False, found.elements, 0, 2 * products)]
    parts = encoder.linear()[layer]
    macs = blueprint.tokens * parts.weight.numel()
    return [
        QuantSite(found.site, "activations", index, layer, False, found.elements, 0, macs),
        _weight(f"{encoder.name}.{layer}.weight", index, layer, parts, blueprint.tokens),
    ]


def attention_macs(encoder: EncoderParts, tokens: int) -> int:
    """Multiply-accumulates per image of one of the two attention products of an encoder."""
    return tokens * tokens * encoder.heads * encoder.head_dim
