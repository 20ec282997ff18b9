"""Quantization sites of a model, found by tracing one forward pass, and their roles by their names."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bitfront.evaluators.models.blueprint import Blueprint, blueprint_on
from bitfront.evaluators.models.float_forward import forward
from bitfront.evaluators.models.parts import EncoderParts, LinearParts
from bitfront.spaces import BitConfig, FormatName, QuantSite
from bitfront.spaces.space import ATTENTION_LAYER

# By the last part of a site's name: the residual stream, which feeds LayerNorms.
_RESIDUAL = frozenset({"embed_sum", "embed", "residual1", "residual2", "reduction", "pool"})
# What stays float in scheme `deploy`, beside the stream: what is added to it, scores, and what is behind the
# classifier's input.
_FLOAT_IN_DEPLOY = {"patch_embed", "pos_embed", "bias", "scores", "proj", "fc2", "norm_tokens", "head"}
# The tensors around each linear layer of an encoder: what it takes (`norm1` and `norm2` are the stream itself
# where norms are behind the branches), and what becomes of its output, behind fc1 the hidden channels.
LAYER_INPUTS = {"attn.qkv": "norm1", "attn.proj": "attn.context", "mlp.fc1": "norm2", "mlp.fc2": "mlp.gelu"}
LAYER_OUTPUTS = {layer: layer for layer in LAYER_INPUTS} | {"mlp.fc1": "mlp.gelu"}
# The linear layers of attention pooling by their inputs.
POOL_INPUTS = {
    "norm": "pool.kv",
    "pool.context": "pool.proj",
    "pool.norm": "pool.fc1",
    "pool.gelu": "pool.fc2",
}
# The layer whose activation gene each tensor of an encoder follows: a linear layer's input, and for the
# query, key and value layer also its output, the operands of both attention products.
FOLLOWS = {site: layer for layer, site in LAYER_INPUTS.items()} | {"attn.qkv": "attn.qkv"}


def role(site: str) -> str:
    """The last part of a site's name, such as ``residual1``."""
    return site.rpartition(".")[2]


def is_quantized(site: str, scheme: str) -> bool:
    """Whether a scheme holds this tensor as integers."""
    return scheme != "deploy" or role(site) not in _RESIDUAL | _FLOAT_IN_DEPLOY


def is_residual(site: str) -> bool:
    """Whether a site feeds a LayerNorm and so lies on a power-of-two grid where it is quantized."""
    return role(site) in _RESIDUAL


def keeps_full_range(site: str) -> bool:
    """Whether a site keeps its full range under every observer.

    Softmax inputs and logits: what clipping them costs is not their squared error.
    """
    return role(site) in ("head", "scores", "bias")


def is_centred(site: str, scheme: str) -> bool:
    """Whether a tensor's zero point is the middle code, so that its codes are signed integers elsewhere.

    Runtimes multiply queries by keys, and attention by values, on integer kernels only so; the recipes have
    centred these tensors by then. Accelerators of ``fq-vit`` have zero points of any value.
    """
    return scheme == "deploy" and role(site) == "qkv"


@dataclass(frozen=True)
class _Traced:
    site: str
    elements: int
    channels: int


def trace_sites(blueprint: Blueprint, scheme: str) -> tuple[QuantSite, ...]:
    """All quantized tensors of a model in execution order, each linear layer's weight after its input."""
    traced: list[_Traced] = []

    def tap(site: str, value: torch.Tensor) -> None:
        if is_quantized(site, scheme):
            traced.append(_Traced(site, value.numel(), value.shape[-1] if is_residual(site) else 0))

    # Shapes are all that is asked for: nothing need be computed.
    meta = torch.device("meta")
    outline = blueprint_on(blueprint, meta)
    with torch.inference_mode():
        forward(outline, torch.zeros(1, *blueprint.image_shape, device=meta), tap)
    encoders = {encoder.name: index for index, encoder in enumerate(blueprint.encoders)}
    merges = {merge.name: index for index, merge in blueprint.merges.items()}
    sites: list[QuantSite] = []
    for found in traced:
        encoder = next((e for e in encoders if found.site.startswith(e + ".")), None)
        merge = next((m for m in merges if found.site.startswith(m + ".")), None)
        if encoder is not None:
            sites += _encoder_sites(blueprint.encoders[encoders[encoder]], encoders[encoder], found)
        elif merge is not None:
            sites += _merge_sites(blueprint, merges[merge], found)
        else:
            sites += _outer_sites(blueprint, found)
    return tuple(sites)


def _pinned(found: _Traced, encoder: int | None, group: str, macs: int = 0) -> QuantSite:
    return QuantSite(found.site, "activations", encoder, group, True, found.elements, found.channels, macs)


def _weight(name: str, encoder: int | None, layer: str, parts: LinearParts, rows: int) -> QuantSite:
    elements = parts.weight.numel()
    return QuantSite(
        name, "weights", encoder, layer, encoder is None, elements, parts.weight.shape[0], rows * elements
    )


def _outer_sites(blueprint: Blueprint, found: _Traced) -> list[QuantSite]:
    patches, readout = blueprint.patches, blueprint.readout
    if found.site == "image":
        macs = patches * blueprint.patch.weight.numel()
        weight = _weight("patch_embed.weight", None, "embedding", blueprint.patch, patches)
        return [_pinned(found, None, "embedding", macs), weight]
    if found.site == readout.read_site:
        heads = (
            _weight(f"head.{index}.weight", None, "head", head, 1) for index, head in enumerate(readout.heads)
        )
        return [_pinned(found, None, "head"), *heads]
    if readout.pool is not None and found.site in POOL_INPUTS:
        layer = POOL_INPUTS[found.site]
        parts = readout.pool.linear()[layer]
        rows = found.elements // parts.weight.shape[1]
        macs = rows * parts.weight.numel()
        return [_pinned(found, None, "head", macs), _weight(f"{layer}.weight", None, "head", parts, rows)]
    if is_residual(found.site) or found.site == "norm_tokens":
        return [_pinned(found, None, "residual")]
    return [_pinned(found, None, "head" if found.site == "head" else "embedding")]


def _merge_sites(blueprint: Blueprint, index: int, found: _Traced) -> list[QuantSite]:
    merge = blueprint.merges[index]
    if is_residual(found.site):
        return [_pinned(found, None, "residual")]
    rows, parts = len(merge.rows), merge.reduction
    return [
        _pinned(found, None, "embedding", rows * parts.weight.numel()),
        _weight(f"{merge.name}.reduction.weight", None, "embedding", parts, rows),
    ]


def _encoder_sites(encoder: EncoderParts, index: int, found: _Traced) -> list[QuantSite]:
    local = found.site.removeprefix(f"{encoder.name}.")
    products = attention_macs(encoder)
    if local == "attn.softmax":
        return [
            QuantSite(found.site, "attention", index, ATTENTION_LAYER, False, found.elements, 0, products)
        ]
    layer = FOLLOWS.get(local)
    if layer is None:
        return [_pinned(found, index, "scores" if local in ("attn.scores", "attn.bias") else "residual")]
    if local == "attn.qkv":
        return [QuantSite(found.site, "activations", index, layer, False, found.elements, 0, 2 * products)]
    parts = encoder.linear()[layer]
    macs = encoder.tokens * parts.weight.numel()
    return [
        QuantSite(found.site, "activations", index, layer, False, found.elements, 0, macs),
        _weight(f"{encoder.name}.{layer}.weight", index, layer, parts, encoder.tokens),
    ]


def attention_macs(encoder: EncoderParts) -> int:
    """Multiply-accumulates per image of one of the two attention products of an encoder."""
    windows, seen = (1, encoder.tokens) if encoder.window is None else encoder.window.rows.shape
    return windows * seen * seen * encoder.heads * encoder.head_dim


def site_format(site: QuantSite, config: BitConfig) -> FormatName:
    """The number format that a configuration gives a site, pinned or searched."""
    if site.encoder is None or site.pinned:
        return dict(config.pinned)[site.layer]
    return config.encoders[site.encoder].bits(site.kind, site.layer)
