"""The parts of a quantized model, built from grids and from layers that are already quantized."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping

import torch

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.sites import FOLLOWS, LAYER_INPUTS
from bitfront.evaluators.preparation.calibration import Calibration
from bitfront.evaluators.preparation.layer_fit import FittedLayer
from bitfront.evaluators.preparation.log_base import LOG_BITS
from bitfront.evaluators.quantized.deploy import Deploy
from bitfront.evaluators.quantized.fq_vit import FqVit
from bitfront.evaluators.quantized.kernels.attention_terms import UNIT, UPPER_BYTE, AttentionTerms
from bitfront.evaluators.quantized.kernels.backend import Kernels
from bitfront.evaluators.quantized.kernels.linear import IntegerLinear
from bitfront.evaluators.quantized.mixed import MixedEncoder, ZeroPointLinear, float_product, integer_product
from bitfront.evaluators.quantized.model import (
    Encoder,
    QuantizedEmbedding,
    QuantizedEncoder,
    QuantizedMerging,
    QuantizedReadout,
    TokenReader,
)
from bitfront.evaluators.quantized.scheme import Scheme
from bitfront.evaluators.quantizers.minifloats import MinifloatGrid
from bitfront.evaluators.quantizers.weights import QuantizedWeight
from bitfront.spaces import Choices, EncoderBits, FormatName, pinned_bits
from bitfront.spaces.precision import MAX_BITS
from bitfront.spaces.schemes import DEPLOY, FQ_VIT, check_scheme


class PartsBuilder:
    """Builds the parts of one model in one scheme; what does not depend on layers once for all that share it.

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
        self._pinned = dict(pinned_bits(scheme))
        self._stages = scheme_named(scheme, blueprint, calibration, kernels)
        self._norm = functools.cache(self._stages.norm)
        self._updates = functools.cache(self._stages.updates)
        self._scores = functools.cache(self._stages.scores)
        self._attentions: dict[tuple[int, FormatName, FormatName, FormatName], AttentionTerms] = {}

    def around_encoders(
        self, outer: Mapping[str, FittedLayer]
    ) -> tuple[QuantizedEmbedding, dict[int, QuantizedMerging], QuantizedReadout]:
        """The embedding, the patch mergings by the index of the encoder that follows, and the readout.

        Args:
            outer: The linear layers outside the encoders, by the names of :meth:`Blueprint.outer`.
        """
        stages, grid, blueprint = self._stages, self._calibration.grid, self._blueprint
        image = grid("image", self._pinned["embedding"])
        embedding = QuantizedEmbedding(stages, image, blueprint.patch_size, outer["patch_embed"])
        merges = {}
        for index, merge in blueprint.merges.items():
            projection = stages.merge_projection(index, outer[f"{merge.name}.reduction"])
            merges[index] = QuantizedMerging(merge.name, merge, stages.merge_norm(index), projection)
        parts = blueprint.readout
        heads = [self.linear(outer[f"head.{number}"]) for number in range(len(parts.heads))]
        if parts.pool is not None:
            pool = stages.attention_pool(outer)
        elif parts.average is not None:
            pool = stages.average(parts.average)
        else:
            pool = TokenReader(stages.final_norm(), parts.tokens)
        read = grid(parts.read_site, self._pinned["head"])
        return embedding, merges, QuantizedReadout(stages, pool, heads, read, parts.read_site)

    def linear(self, layer: FittedLayer) -> IntegerLinear:
        """A linear layer of integers as kernels run it."""
        weight = layer.quantized
        if weight.zeros is None:
            return self._kernels.linear(weight, layer.bias)
        if weight.bits < MAX_BITS:  # the codes less their zero points are 8-bit integers, too
            codes = weight.codes - weight.zeros[:, None]
            return self._kernels.linear(QuantizedWeight(codes, weight.scales, weight.bits), layer.bias)
        return ZeroPointLinear(self._kernels.linear(weight, layer.bias), weight)

    def prepare_encoders(self, choices: Choices) -> None:
        """Builds what encoders need beside their linear layers, at all combinations of formats."""
        encoders = range(len(self._blueprint.encoders))
        for index, number, held in itertools.product(encoders, (1, 2), choices.activations):
            self._norm(index, number, held)
        inputs = choices.activations
        for index, operands, attention, out in itertools.product(encoders, inputs, choices.attention, inputs):
            self._attention(index, operands, attention, out)
        for index in encoders:
            self._updates(index)

    def _attention(
        self, index: int, operands: FormatName, attention: FormatName, out: FormatName
    ) -> AttentionTerms:
        """The attention of encoder ``index``, by the formats of operands, attention matrix and output."""
        key = (index, operands, attention, out)
        bits = attention if isinstance(attention, int) else MAX_BITS
        if key in self._attentions:
            return self._attentions[key]
        encoder, grid, device = self._blueprint.encoders[index], self._calibration.steps, self._kernels.device
        scores, window, logarithmic = self._scores(index, operands), encoder.window, bits <= LOG_BITS
        qkv = grid(f"{encoder.name}.attn.qkv", operands)
        codes = grid(f"{encoder.name}.attn.softmax", attention)
        context = grid(f"{encoder.name}.attn.context", out)
        minifloats = codes if isinstance(codes, MinifloatGrid) else None
        if minifloats is not None:
            unit = codes.scale * UNIT / UPPER_BYTE
        else:
            unit = 1.0 if logarithmic else codes.scale
        everything = torch.arange(encoder.tokens, dtype=torch.int32)[None]
        self._attentions[key] = AttentionTerms(
            heads=encoder.heads,
            head_dim=encoder.head_dim,
            rows=(everything if window is None else window.rows).to(device),
            bias=None if scores.bias is None else scores.bias.to(device),
            mask=None if window is None or window.mask is None else window.mask.to(device),
            qkv_zero=qkv.zero_point,
            factors=scores.factors.to(device),
            softmax=scores.softmax,
            attention_scale=unit,
            attention_codes=1 << bits,
            logarithmic=logarithmic,
            out_factor=unit * qkv.scale / context.scale,
            out_zero=context.zero_point,
            out_qmax=context.qmax,
            log_step=self._log_steps.get(index, 1.0) if attention == LOG_BITS else 1.0,
            padding=self._padding(index, operands),
            minifloats=minifloats,
        )
        return self._attentions[key]

    def _padding(self, index: int, operands: FormatName) -> torch.Tensor | None:
        """Codes of query, key and value where no token is; None without such places, or of floats."""
        encoder = self._blueprint.encoders[index]
        padding = None if encoder.window is None else encoder.window.padding
        if padding is None or not isinstance(operands, int):
            return None
        return self._calibration.codes(f"{encoder.name}.attn.qkv", operands, padding).to(self._kernels.device)

    def encoder(
        self, bits: EncoderBits, layers: Mapping[str, FittedLayer], linear: Mapping[str, IntegerLinear]
    ) -> Encoder:
        """One encoder in the given formats.

        Args:
            bits: Its formats.
            layers: Its linear layers whose weight or input is of floats, by name, such as ``attn.qkv``.
            linear: The others, as kernels run them.
        """
        index, name, tables = bits.index, bits.name, self._calibration.codebooks
        held = {site: bits.bits("activations", layer) for site, layer in FOLLOWS.items()}
        widths = {site: value for site, value in held.items() if isinstance(value, int)}
        codebooks = {
            site: tables[f"{name}.{site}", width].to(self._kernels.device)
            for site, width in widths.items()
            if (f"{name}.{site}", width) in tables
        }
        parts = self._blueprint.encoders[index]
        sum1, sum2 = self._updates(index)
        grids = {site: self._calibration.grid(f"{name}.{site}", width) for site, width in widths.items()}
        attention = self._attention(index, held["attn.qkv"], bits.attention, held["attn.context"])
        norm1, norm2 = (self._norm(index, number, held[f"norm{number}"]) for number in (1, 2))
        if (
            len(linear) < len(parts.linear())
            or len(widths) < len(held)
            or not isinstance(bits.attention, int)
        ):
            products = {
                layer: float_product(found, grids.get(LAYER_INPUTS[layer])) for layer, found in layers.items()
            }
            products |= {
                layer: integer_product(found, grids[LAYER_INPUTS[layer]]) for layer, found in linear.items()
            }
            return MixedEncoder(
                name=name,
                kernels=self._kernels,
                parts=parts,
                held={**held, "attn.softmax": bits.attention},
                grids=grids,
                codebooks=codebooks,
                products=products,
                attention=attention,
                unit=self._calibration.steps(f"{name}.attn.context", held["attn.context"]).scale,
                norm1=norm1,
                sum1=sum1,
                norm2=norm2,
                sum2=sum2,
            )
        return QuantizedEncoder(
            name=name,
            kernels=self._kernels,
            grids=grids,
            codebooks=codebooks,
            linear=linear,
            attention=attention,
            norm1=norm1,
            sum1=sum1,
            norm2=norm2,
            sum2=sum2,
            parts=parts if parts.alters_operands or parts.alters_hidden or parts.context_norm else None,
        )


def scheme_named(name: str, blueprint: Blueprint, calibration: Calibration, kernels: Kernels) -> Scheme:
    """The scheme of that name for a model; raises :class:`UserError` for an unknown one."""
    check_scheme(name)
    made_by: dict[str, Callable[[Blueprint, Calibration, Kernels], Scheme]] = {FQ_VIT: FqVit, DEPLOY: Deploy}
    return made_by[name](blueprint, calibration, kernels)
