"""The parts of a quantized model, built from grids and from layers that are already quantized."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from bitfront.evaluators.models.blueprint import Blueprint, EncoderParts
from bitfront.evaluators.models.sites import FOLLOWS
from bitfront.evaluators.preparation.calibration import Calibration
from bitfront.evaluators.preparation.layer_fit import FittedLayer
from bitfront.evaluators.preparation.log_base import LOG_BITS
from bitfront.evaluators.quantized.kernels.attention_terms import AttentionTerms
from bitfront.evaluators.quantized.kernels.backend import Kernels
from bitfront.evaluators.quantized.kernels.linear import IntegerLinear
from bitfront.evaluators.quantized.model import (
    EncoderGrids,
    QuantizedEmbedding,
    QuantizedEncoder,
    QuantizedMerging,
    QuantizedReadout,
)
from bitfront.evaluators.quantized.scheme import scheme_named
from bitfront.evaluators.quantized.stages import Norm, ScoreTerms, Update
from bitfront.spaces import EncoderBits, pinned_bits


@dataclass(frozen=True, eq=False)
class ChosenParts:
    """What an encoder at chosen bits is assembled of.

    Attributes:
        linear: Gives the layer of a name, such as ``attn.qkv``.
        norms: The two LayerNorms.
        updates: The two residual updates.
        attention: The attention.
    """

    linear: Callable[[str], IntegerLinear]
    norms: tuple[Norm, Norm]
    updates: tuple[Update, Update]
    attention: AttentionTerms


class PartsBuilder:
    """Builds the parts of one model in one scheme.

    Of the blueprint's linear layers inside and outside of the encoders only the shapes are used.

    Args:
        blueprint: The model.
        calibration: Grids of its activation sites.
        scheme: ``fq-vit`` or ``deploy``.
        log_steps: Binary logarithm of the base of 4-bit attention codes by encoder; 1 where it is missing.
        kernels: What computes.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        calibration: Calibration,
        scheme: str,
        log_steps: Mapping[int, float],
        kernels: Kernels,
    ) -> None:
        self._blueprint = blueprint
        self._calibration = calibration
        self._log_steps = log_steps
        self._kernels = kernels
        self._stages = scheme_named(scheme, blueprint, calibration, kernels)
        self._pinned = dict(pinned_bits(scheme))

    def embedding(self, layer: FittedLayer) -> QuantizedEmbedding:
        """The embedding by a patch projection."""
        image = self._calibration.grid("image", self._pinned["embedding"])
        return QuantizedEmbedding(self._stages, image, self._blueprint.patch_size, layer)

    def merging(self, index: int, layer: FittedLayer) -> QuantizedMerging:
        """The patch merging before encoder ``index``, by its projection."""
        merge = self._blueprint.merges[index]
        projection = self._stages.merge_projection(index, layer)
        return QuantizedMerging(merge.name, merge.rows, self._stages.merge_norm(index), projection)

    def readout(self, layers: Sequence[FittedLayer]) -> QuantizedReadout:
        """The readout by its classifiers."""
        parts = self._blueprint.readout
        heads = [self.linear(layer) for layer in layers]
        normed = self._calibration.grid("norm", self._pinned["head"])
        return QuantizedReadout(self._stages, parts.tokens, parts.average, heads, normed)

    def linear(self, layer: FittedLayer) -> IntegerLinear:
        """A linear layer as kernels run it."""
        return self._kernels.linear(layer.weight, layer.bias)

    def norm(self, index: int, number: int, bits: int) -> Norm:
        """LayerNorm 1 or 2 of encoder ``index`` with codes of ``bits`` bits."""
        return self._stages.norm(index, number, bits)

    def updates(self, index: int) -> tuple[Update, Update]:
        """The two residual updates of encoder ``index``."""
        return self._stages.updates(index)

    def scores(self, index: int, operands: int) -> ScoreTerms:
        """The scores of encoder ``index`` whose queries and keys have ``operands`` bits."""
        return self._stages.scores(index, operands)

    def attention(self, index: int, scores: ScoreTerms, bits: tuple[int, int, int]) -> AttentionTerms:
        """The attention of encoder ``index``, by the bits of operands, attention matrix and output."""
        step = self._log_steps.get(index, 1.0) if bits[1] == LOG_BITS else 1.0
        encoder = self._blueprint.encoders[index]
        return attention_terms(encoder, scores, self._calibration, bits, self._kernels.device, step)

    def encoder(self, bits: EncoderBits, parts: ChosenParts) -> QuantizedEncoder:
        """One encoder at the given bits, from parts at these bits."""
        return QuantizedEncoder(
            name=bits.name,
            kernels=self._kernels,
            grids=self._grids(bits),
            norm1=parts.norms[0],
            qkv=parts.linear("attn.qkv"),
            attention=parts.attention,
            proj=parts.linear("attn.proj"),
            sum1=parts.updates[0],
            norm2=parts.norms[1],
            fc1=parts.linear("mlp.fc1"),
            fc2=parts.linear("mlp.fc2"),
            sum2=parts.updates[1],
        )

    def _grids(self, bits: EncoderBits) -> EncoderGrids:
        grid, codebooks, name = self._calibration.grid, self._calibration.codebooks, bits.name
        widths = {site: bits.bits("activations", layer) for site, layer in FOLLOWS.items()}
        found = {}
        for site, width in widths.items():
            table = codebooks.get((f"{name}.{site}", width))
            if table is not None:
                found[site] = table.to(self._kernels.device)
        return EncoderGrids(
            norm1=grid(f"{name}.norm1", widths["norm1"]),
            qkv=grid(f"{name}.attn.qkv", widths["attn.qkv"]),
            context=grid(f"{name}.attn.context", widths["attn.context"]),
            norm2=grid(f"{name}.norm2", widths["norm2"]),
            gelu=grid(f"{name}.mlp.gelu", widths["mlp.gelu"]),
            codebooks=found,
        )


def attention_terms(
    encoder: EncoderParts,
    scores: ScoreTerms,
    calibration: Calibration,
    bits: tuple[int, int, int],
    device: torch.device,
    log_step: float = 1.0,
) -> AttentionTerms:
    """The attention of an encoder.

    Args:
        encoder: The float encoder.
        scores: How the scheme makes scores of integer products.
        calibration: Grids of its sites.
        bits: Widths of the operands, of the attention matrix and of the attention output.
        device: Where the terms are.
        log_step: Binary logarithm of the base of logarithmic attention codes.
    """
    operands, attention, out = bits
    qkv = calibration.grid(f"{encoder.name}.attn.qkv", operands)
    codes = calibration.grid(f"{encoder.name}.attn.softmax", attention)
    context = calibration.grid(f"{encoder.name}.attn.context", out)
    logarithmic = attention <= LOG_BITS
    window = encoder.window
    everything = torch.arange(encoder.tokens, dtype=torch.int32)[None]
    return AttentionTerms(
        heads=encoder.heads,
        head_dim=encoder.head_dim,
        rows=(everything if window is None else window.rows).to(device),
        bias=None if scores.bias is None else scores.bias.to(device),
        mask=None if window is None or window.mask is None else window.mask.to(device),
        qkv_zero=qkv.zero_point,
        factors=scores.factors.to(device),
        softmax=scores.softmax,
        attention_scale=1.0 if logarithmic else codes.scale,
        attention_codes=1 << attention,
        logarithmic=logarithmic,
        out_factor=(1.0 if logarithmic else codes.scale) * qkv.scale / context.scale,
        out_zero=context.zero_point,
        out_qmax=context.qmax,
        log_step=log_step,
    )
