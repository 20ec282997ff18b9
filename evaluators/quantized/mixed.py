"""Encoders of mixed arithmetic: products of integers where both operands are, of floats where one is not.

A tensor in a float format stays float32, rounded to the format; what enters a float product from a site of
integers is what its codes stand for. Float products are of float32 with operands that the formats can hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from bitfront.evaluators.models import float_stages
from bitfront.evaluators.models.float_forward import Tap, attended
from bitfront.evaluators.models.parts import EncoderParts, NormParts
from bitfront.evaluators.preparation.layer_fit import FittedLayer
from bitfront.evaluators.quantized.kernels.attention_terms import AttentionTerms
from bitfront.evaluators.quantized.kernels.backend import Kernels
from bitfront.evaluators.quantized.kernels.linear import IntegerLinear, codes_of
from bitfront.evaluators.quantized.kernels.lookup import replace_codes
from bitfront.evaluators.quantized.kernels.portable import portable_attention, rounded_attention
from bitfront.evaluators.quantized.scheme import Norm, Update
from bitfront.evaluators.quantizers.floats import rounded_to
from bitfront.evaluators.quantizers.grids import AffineGrid
from bitfront.evaluators.quantizers.weights import QuantizedWeight
from bitfront.spaces import FormatName, number_format


@dataclass(frozen=True, eq=False)
class ZeroPointLinear:
    """An integer linear layer whose weight has zero points; see :class:`IntegerLinear`.

    ``(q - z) s`` times centred inputs is the product of ``q`` less ``z`` times the sum of the inputs.

    Attributes:
        inner: The layer of the codes alone.
        weight: Its weight.
    """

    inner: IntegerLinear
    weight: QuantizedWeight

    def to_float(self, x: torch.Tensor, grid: AffineGrid) -> torch.Tensor:
        """See :class:`IntegerLinear`."""
        assert self.weight.zeros is not None, "what it is for"
        sums = x.sum(1, dtype=torch.int32, keepdim=True) - grid.zero_point * x.shape[1]
        factors = self.weight.scales.double() * grid.scale * self.weight.zeros.double()
        return self.inner.to_float(x, grid) - (sums.double() * factors).float()

    def to_codes(
        self,
        x: torch.Tensor,
        grid: AffineGrid,
        out: AffineGrid,
        *,
        gelu: bool = False,
        codebook: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See :class:`IntegerLinear`."""
        return codes_of(self.to_float(x, grid), out, gelu=gelu, codebook=codebook)


@dataclass(frozen=True, eq=False)
class FloatNormed:
    """The stream, normalised where ``parts`` are given, in a float format."""

    parts: NormParts | None
    held: str

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """float32 of float32 ``[rows, channels]``."""
        return rounded_to(x if self.parts is None else float_stages.normed(x, self.parts), self.held)


# A linear layer: float32 [rows, out] from codes or floats [rows, in].
Product = Callable[[torch.Tensor], torch.Tensor]


def integer_product(linear: IntegerLinear, grid: AffineGrid) -> Product:
    """A linear layer of integers at a site of codes on ``grid``."""
    return lambda x: linear.to_float(x, grid)


def float_product(layer: FittedLayer, grid: AffineGrid | None) -> Product:
    """A linear layer whose weight or input is of floats.

    Args:
        layer: Its weight in whatever format, and its bias.
        grid: Of the input's codes; None where the input is of floats.
    """
    weight, bias = layer.weight.restored().float(), layer.bias
    if grid is None:
        return lambda x: F.linear(x, weight, bias)
    return lambda x: F.linear(grid.dequantize(x), weight, bias)


@dataclass(frozen=True, eq=False)
class MixedEncoder:
    """An encoder with a float format at some tensor; called as :class:`QuantizedEncoder` is.

    Attributes:
        name: The module's path, for taps.
        kernels: What computes products of integers.
        parts: The float encoder.
        held: Format of every site: ``norm1``, ``attn.qkv``, ``attn.context``, ``norm2``, ``mlp.gelu`` and
            ``attn.softmax``.
        grids: Grids of the sites of integers.
        codebooks: The level that stands for each code, uint8 ``[256]``, by site that has a codebook.
        products: The linear layers by name, such as ``attn.qkv``.
        attention: The attention as integers would have it: its scales and codes.
        unit: Step of the attention's output.
        norm1: The first LayerNorm.
        sum1: Adds what the attention yields.
        norm2: The second LayerNorm.
        sum2: Adds what the MLP yields.
    """

    name: str
    kernels: Kernels
    parts: EncoderParts
    held: Mapping[str, FormatName]
    grids: Mapping[str, AffineGrid]
    codebooks: Mapping[str, torch.Tensor]
    products: Mapping[str, Product]
    attention: AttentionTerms
    unit: float
    norm1: Norm
    sum1: Update
    norm2: Norm
    sum2: Update

    def __call__(
        self,
        x: torch.Tensor,
        normed: torch.Tensor,
        batch: int,
        following: Norm | None,
        tap: Tap | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Runs the encoder; ``normed`` and what ``following`` yields are codes or floats, as sites are."""

        def seen(site: str, value: torch.Tensor) -> torch.Tensor:
            if tap is not None:
                tap(f"{self.name}.{site}", value)
            return value

        products = self.products
        value = products["attn.qkv"](seen("norm1", self._levelled("norm1", normed)))
        value = float_stages.operands(self.parts, value.view(batch, -1, value.shape[-1])).flatten(0, 1)
        qkv = seen("attn.qkv", self._entered("attn.qkv", value))
        context = seen("attn.context", self._context(qkv, batch, tap))
        update = seen("attn.proj", products["attn.proj"](context))
        x, normed = self.sum1.add_norm(x, update, self.norm2)
        seen("residual1", x)
        value = products["mlp.fc1"](seen("norm2", self._levelled("norm2", normed)))
        inner = seen("mlp.gelu", self._entered("mlp.gelu", float_stages.hidden(self.parts, value)))
        update = seen("mlp.fc2", products["mlp.fc2"](inner))
        if following is None:
            return seen("residual2", self.sum2.add(x, update)), None
        x, normed = self.sum2.add_norm(x, update, following)
        return seen("residual2", x), normed

    def _levelled(self, site: str, value: torch.Tensor) -> torch.Tensor:
        """Codes, or their levels; floats as they are."""
        table = self.codebooks.get(site)
        return value if table is None else replace_codes(value, table)

    def _entered(self, site: str, value: torch.Tensor) -> torch.Tensor:
        """Float32 values as codes, or in a float format."""
        if site not in self.grids:
            return rounded_to(value, str(self.held[site]))
        return codes_of(value, self.grids[site], codebook=self.codebooks.get(site))

    def _context(self, qkv: torch.Tensor, batch: int, tap: Tap | None) -> torch.Tensor:
        """The attention's output as its site has it."""
        inner = None if tap is None else lambda site, value: tap(f"{self.name}.{site}", value)
        terms = self.attention
        floating = number_format(self.held["attn.softmax"]).floating
        norm, site = self.parts.context_norm, "attn.context"
        if "attn.qkv" in self.grids and not floating:
            qkv = terms.padded(qkv, batch)
            if site in self.grids and norm is None:
                codes = terms.unpadded(self.kernels.attention(qkv, batch, terms, inner), batch)
                return self._levelled(site, codes)
            value = (
                terms.unpadded(portable_attention(qkv, batch, terms, inner, codes=False), batch) * self.unit
            )
        else:
            if "attn.qkv" in self.grids:
                qkv = self.grids["attn.qkv"].dequantize(terms.padded(qkv, batch))
            by_image = qkv.view(batch, -1, qkv.shape[-1])
            value = attended(self.parts, by_image, tap, self._matrix).flatten(0, 1)
        return self._entered(site, value if norm is None else float_stages.normed(value, norm))

    def _matrix(self, probability: torch.Tensor) -> torch.Tensor:
        """The attention matrix as its format has it."""
        held = number_format(self.held["attn.softmax"])
        if held.floating:
            return rounded_to(probability, held.name)
        codes = rounded_attention(probability, self.attention)
        return codes * self.attention.attention_scale
