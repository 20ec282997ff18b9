"""A quantized encoder that learns: its forward pass is the evaluator's, its weights are continuous."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import torch
from torch import nn

from bitfront.evaluators.models.float_stages import hidden, normed, operands
from bitfront.evaluators.models.parts import EncoderParts, NormParts, with_last_token
from bitfront.evaluators.models.sites import LAYER_INPUTS
from bitfront.evaluators.preparation.layer_fit import FittedLayer
from bitfront.evaluators.quantized.kernels.attention_terms import AttentionTerms
from bitfront.evaluators.quantized.kernels.linear import integer_bias
from bitfront.evaluators.quantized.kernels.portable import context_lanes, score_lanes
from bitfront.evaluators.quantizers.grids import AffineGrid
from bitfront.evaluators.quantizers.minifloats import MinifloatGrid, two_bits
from bitfront.evaluators.quantizers.weights import QuantizedWeight, spread_out
from bitfront.evaluators.training.refinement.fake_quantization import (
    attention_of,
    rounded,
    rounded_weight,
    straight_through,
)
from bitfront.evaluators.training.refinement.products import product, quick_products

# How far from a code a continuous one starts at most, in code steps.
REACH = 0.45

# What a look at a site is given: its name within the encoder, and codes less their zero point, float32.
See = Callable[[str, torch.Tensor], None]


class LearnedLayer(nn.Module):
    """A quantized linear layer with continuous codes.

    They start within their steps on the side of the float weights, so that those flip first that were hardly
    rounded as they are. Where compensated rounding put codes far from these weights, they start well before
    the border: beyond it they would flip back at once, without what they compensate.

    Args:
        fitted: What it starts as.
        weight: The float weight, ``[out, in]``.
    """

    def __init__(self, fitted: FittedLayer, weight: torch.Tensor) -> None:
        super().__init__()
        given = fitted.quantized
        codes, self._bits, self._stored = given.narrow_codes.float(), given.bits, given.factors
        self._factors = None if self._stored is None else spread_out(self._stored, codes.shape[1]).float()
        self._start = given.scales
        wanted = weight / self._start[:, None]
        wanted = wanted if self._factors is None else wanted / self._factors
        self.latent = nn.Parameter(wanted.clamp(codes - REACH, codes + REACH))
        self.log_scales = nn.Parameter(torch.zeros_like(given.scales))
        self.bias = nn.Parameter(fitted.bias.clone())

    @property
    def scales(self) -> torch.Tensor:
        """Of each output channel, float32 ``[out]``."""
        return self._start * self.log_scales.exp()

    def codes(self) -> torch.Tensor:
        """Codes as kernels take them, float32 ``[out, in]``."""
        codes = rounded_weight(self.latent, self._bits)
        return codes if self._factors is None else codes * self._factors

    def forward(self, x: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Float32 ``[rows, out]`` as the kernels yield it.

        Args:
            x: Codes less their zero point, float32 ``[rows, in]``.
            step: Scale of their grid, a float32 scalar.
        """
        scales = self.scales
        bias = straight_through(
            integer_bias(self.bias.detach(), scales.detach(), float(step.detach())), self.bias
        )
        return product(x, self.codes()) * (scales * step) + bias

    @torch.no_grad()
    def result(self) -> FittedLayer:
        """What it has become."""
        narrow = rounded_weight(self.latent, self._bits).to(torch.int8)
        weight = QuantizedWeight.of_narrow_codes(narrow, self.scales.clone(), self._bits, self._stored)
        return FittedLayer(weight, self.bias.detach().clone())


class LearnedNorm(nn.Module):
    """A norm that learns; ``weight`` and ``bias`` are float32 ``[channels]``."""

    def __init__(self, parts: NormParts) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(parts.weight.clone()), nn.Parameter(parts.bias.clone())
        self._parts = parts

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Float32, same shape."""
        return normed(x, dataclasses.replace(self._parts, weight=self.weight, bias=self.bias))

    def result(self) -> NormParts:
        """What it has become."""
        weight, bias = self.weight.detach().clone(), self.bias.detach().clone()
        return dataclasses.replace(self._parts, weight=weight, bias=bias)


def _unseen(site: str, value: torch.Tensor) -> None:
    pass


class LearnedEncoder(nn.Module):
    """One encoder at chosen bits.

    Args:
        parts: The float encoder.
        layers: Its fitted layers by name.
        grids: Grids of the codes between its products by site, such as ``mlp.gelu``.
        codebooks: uint8 ``[256]`` by site.
        attention: Its attention at these bits.
    """

    def __init__(
        self,
        parts: EncoderParts,
        layers: Mapping[str, FittedLayer],
        grids: Mapping[str, AffineGrid],
        codebooks: Mapping[str, torch.Tensor],
        attention: AttentionTerms,
    ) -> None:
        super().__init__()
        self._parts, self._grids, self.codebooks, self._terms = parts, dict(grids), dict(codebooks), attention
        self._sites = tuple(grids)
        self._start = torch.tensor([grid.scale for grid in grids.values()], device=attention.rows.device)
        self.log_steps = nn.Parameter(torch.zeros_like(self._start))
        # Minifloats keep their step: which of them are taken depends on it.
        fixed = [isinstance(grid, MinifloatGrid) for grid in grids.values()]
        self._learns = 1.0 - torch.tensor(fixed, device=self._start.device).float()
        self._layers = {
            name: LearnedLayer(layers[name], parts.linear()[name].weight) for name in LAYER_INPUTS
        }
        for name, layer in self._layers.items():
            self.add_module(name.replace(".", "_"), layer)
        self.norm1, self.norm2 = LearnedNorm(parts.norm1), LearnedNorm(parts.norm2)

    def _steps(self) -> dict[str, torch.Tensor]:
        """Scales of the grids by site, float32 scalars."""
        found = self._start * (self.log_steps * self._learns).exp()
        return dict(zip(self._sites, found.unbind(), strict=True))

    def _normed(self, site: str, value: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """A LayerNorm's output as codes less their zero point."""
        return rounded(value / step, self._grids[site], self.codebooks.get(site))

    def _requantized(self, site: str, value: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """A layer's float output as codes less their zero point."""
        grid, inverse = self._grids[site], (1.0 / step.double()).float()
        if isinstance(grid, MinifloatGrid):
            value = straight_through(two_bits(value.detach()), value)
        return rounded(value * inverse + grid.zero_point, grid, self.codebooks.get(site), shifted=True)

    def _attend(
        self, qkv: torch.Tensor, batch: int, steps: Mapping[str, torch.Tensor], see: See
    ) -> torch.Tensor:
        """Codes of the attention's output less their zero point, of those of queries, keys and values."""
        terms, grid, window = self._terms, self._grids["attn.context"], self._parts.window
        step, out = steps["attn.qkv"].double(), steps["attn.context"].double()
        if window is not None and window.padding is not None:
            padding = self._requantized("attn.qkv", window.padding[None], steps["attn.qkv"])
            qkv = with_last_token(qkv.view(batch, -1, qkv.shape[-1]), padding[0]).flatten(0, 1)
        tokens = qkv.view(batch, -1, 3, terms.heads, terms.head_dim)
        tokens = tokens[:, None] if window is None else tokens[:, terms.rows.long()]
        q, k, v = tokens.permute(3, 0, 1, 4, 2, 5)
        lanes = score_lanes(terms.head_dim)
        products = (q.to(lanes) @ k.to(lanes).transpose(-1, -2)).float()
        scores = products * (step * step * self._parts.score_scales).float()[:, None, None]
        if terms.bias is not None:
            scores = scores + terms.bias
        if terms.mask is not None:
            scores = scores.masked_fill(terms.mask[:, None], -torch.inf)
        attention = attention_of(torch.softmax(scores, -1), terms)
        see("attn.softmax", attention)
        lanes = context_lanes(terms)
        factor = terms.attention_scale * step / out
        if terms.by_thresholds:
            with quick_products(False):  # their values have 15 bits
                sums = attention.to(lanes) @ v.to(lanes)
        else:
            sums = attention.to(lanes) @ v.to(lanes)
        context, norm = sums.double() * factor, self._parts.context_norm
        if norm is None:
            return self._by_token(rounded(context, grid, self.codebooks.get("attn.context")))
        value = normed(self._by_token(context.float()) * steps["attn.context"], norm)
        return self._requantized("attn.context", value, steps["attn.context"])

    def _by_token(self, x: torch.Tensor) -> torch.Tensor:
        """``[batch * tokens, heads * head_dim]`` of ``[batch, windows, heads, n, head_dim]``."""
        x = x.transpose(2, 3).flatten(-2).flatten(1, 2)
        if self._parts.window is not None:
            x = x[:, self._places]
        return x.flatten(0, 1)

    @property
    def _places(self) -> torch.Tensor:
        assert self._parts.window is not None, "asked for windowed attention alone"
        return self._parts.window.places[: self._parts.tokens]

    def forward(self, x: torch.Tensor, batch: int, see: See = _unseen) -> torch.Tensor:
        """The stream ``[batch * tokens, channels]`` behind the encoder."""
        layers, steps = self._layers, self._steps()

        def seen(site: str, codes: torch.Tensor) -> torch.Tensor:
            see(site, codes)
            return codes

        parts = self._parts

        def source(site: str, norm: LearnedNorm) -> torch.Tensor:
            return seen(site, self._normed(site, x if parts.post_norm else norm(x), steps[site]))

        def added(update: torch.Tensor, norm: LearnedNorm) -> torch.Tensor:
            return x + (norm(update) if parts.post_norm else update)

        qkv = layers["attn.qkv"](source("norm1", self.norm1), steps["norm1"])
        qkv = operands(parts, qkv.view(batch, -1, qkv.shape[-1])).flatten(0, 1)
        qkv = seen("attn.qkv", self._requantized("attn.qkv", qkv, steps["attn.qkv"]))
        context = seen("attn.context", self._attend(qkv, batch, steps, see))
        x = added(layers["attn.proj"](context, steps["attn.context"]), self.norm1)
        inner = hidden(parts, layers["mlp.fc1"](source("norm2", self.norm2), steps["norm2"]))
        inner = seen("mlp.gelu", self._requantized("mlp.gelu", inner, steps["mlp.gelu"]))
        return added(layers["mlp.fc2"](inner, steps["mlp.gelu"]), self.norm2)

    @torch.no_grad()
    def grids(self) -> dict[str, AffineGrid]:
        """What the grids between its products have become, by site."""
        return {
            site: dataclasses.replace(self._grids[site], scale=float(step))
            for site, step in self._steps().items()
        }

    def layers(self) -> dict[str, FittedLayer]:
        """What its layers have become, by name."""
        return {name: layer.result() for name, layer in self._layers.items()}

    def parts(self) -> EncoderParts:
        """The float encoder with the LayerNorms that were learned."""
        return dataclasses.replace(self._parts, norm1=self.norm1.result(), norm2=self.norm2.result())
