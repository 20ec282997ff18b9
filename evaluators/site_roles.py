"""Roles of quantization sites by their names."""

from __future__ import annotations

# Last parts of the names of sites that stay float in scheme `deploy`: the residual stream and what is added
# to it, scores, and everything after the classifier's input.
_FLOAT_IN_DEPLOY = frozenset(
    {
        "patch_embed",
        "pos_embed",
        "embed_sum",
        "embed",
        "bias",
        "scores",
        "proj",
        "residual1",
        "fc2",
        "residual2",
        "reduction",
        "norm_tokens",
        "pool",
        "head",
    }
)
_RESIDUAL = frozenset({"embed_sum", "embed", "residual1", "residual2", "reduction", "pool"})


def role(site: str) -> str:
    """The last part of a site's name, such as ``residual1``."""
    return site.rpartition(".")[2]


def is_quantized(site: str, scheme: str) -> bool:
    """Whether a scheme holds this tensor as integers."""
    return scheme != "deploy" or role(site) not in _FLOAT_IN_DEPLOY


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
