"""An independent reference of the whole quantized model: both schemes, every kind of encoder, no kernels.

In float64 it defines what is expected. The very same lines in float32 are float fake quantization, whose
distance from float64 is the noise by which an evaluator may be measured.

Scheme ``fq-vit`` carries codes from stage to stage; scheme ``deploy`` quantizes the operands of products, and
its other sites have no grid. Codes are integers in floating-point tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

import torch
import torch.nn.functional as F
from quantized_sites import PINNED, SiteGrids, tiled
from quantized_stages import (
    ACTIVATIONS,
    Grid,
    attention_codes,
    attention_unit,
    levelled,
    linear,
    norm,
    probabilities,
    put,
    real_norm,
    softmax,
    turned,
    value,
)

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.parts import EncoderParts, NormParts, RotaryParts
from bitfront.evaluators.preparation.calibration import Calibration
from bitfront.evaluators.preparation.layer_fit import FittedLayer, FittedLayers
from bitfront.evaluators.quantizers.weights import HeldWeight, held_weight, quantize_weight
from bitfront.spaces import BitConfig

Weights = Mapping[Hashable, HeldWeight]
Biases = Mapping[tuple[int, str], torch.Tensor]
Tap = Callable[[str, torch.Tensor], None]


def quantized_weights(
    blueprint: Blueprint, config: BitConfig, ranges: str = "mse"
) -> dict[Hashable, HeldWeight]:
    """Codes of every linear layer, rounded to nearest, by the keys that :class:`QuantizedReference` takes."""
    outer = {"patch": blueprint.patch}
    outer |= {f"head{i}": head for i, head in enumerate(blueprint.readout.heads)}
    outer |= {merge.name: merge.reduction for merge in blueprint.merges.values()}
    outer |= {} if blueprint.readout.pool is None else blueprint.readout.pool.linear()
    weights: dict[Hashable, HeldWeight] = {
        key: quantize_weight(parts.weight, PINNED, ranges) for key, parts in outer.items()
    }
    for encoder, bits in zip(blueprint.encoders, config.encoders, strict=True):
        for layer, parts in encoder.linear().items():
            weights[bits.index, layer] = held_weight(parts.weight, bits.bits("weights", layer), ranges)
    return weights


def fitted_layers(
    blueprint: Blueprint, config: BitConfig, layers: FittedLayers
) -> dict[tuple[int, str], FittedLayer]:
    """The fitted layers that a configuration takes, by encoder and layer."""
    found = {}
    for encoder, bits in zip(blueprint.encoders, config.encoders, strict=True):
        for layer in encoder.linear():
            widths = bits.bits("weights", layer), bits.bits("activations", layer)
            if (bits.index, layer, *widths) in layers:
                found[bits.index, layer] = layers[bits.index, layer, *widths]
    return found


def _unseen(site: str, x: torch.Tensor) -> None:
    """The tap that looks at nothing."""


class QuantizedReference:
    """The quantized model of one configuration.

    Args:
        blueprint: The float model.
        calibration: Grids of its sites.
        config: Scheme and bits.
        weights: Codes of the linear layers by ``(encoder, layer)``, ``"patch"``, ``"head0"``..., the names
            of the patch mergings and ``"pool.kv"``... of attention pooling.
        dtype: float64 for the expected result, float32 for float fake quantization.
        log_steps: Binary logarithm of the base of logarithmic attention codes by encoder, where it is not 2.
        biases: Fitted biases by encoder and layer, where they are not the float model's.
        tap: Called with the name of every site and its codes, or its values where the scheme has no grid.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        calibration: Calibration,
        config: BitConfig,
        weights: Weights,
        dtype: torch.dtype = torch.float64,
        tap: Tap = _unseen,
        log_steps: Mapping[int, float] | None = None,
        biases: Biases | None = None,
    ) -> None:
        self.blueprint, self.grids = blueprint, SiteGrids(calibration, config)
        self.weights, self.dtype, self.tap = weights, dtype, tap
        self.log_steps, self.biases = log_steps or {}, biases or {}

    def _seen(self, site: str, x: torch.Tensor) -> torch.Tensor:
        self.tap(site, x)
        return x

    def _put(self, site: str, x: torch.Tensor) -> torch.Tensor:
        """Codes on the grid of a site outside the encoders, or values."""
        return self._seen(site, put(x, self.grids.outer(site)))

    def _levelled(self, index: int, site: str, codes: torch.Tensor) -> torch.Tensor:
        return levelled(codes, self.grids.levels(index, site))

    # Images to the residual stream [batch, tokens, channels].

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """The residual stream that enters encoder 0."""
        parts = self.blueprint
        x = self.tokens(self._put("image", images.to(self.dtype)))
        if parts.positions is not None:
            x = self.placed(self._seen("patch_embed", x))
        if parts.embed_norm is not None:
            x = self.embed_norm(self._seen("embed_sum", x))
        return self._seen("embed", x)

    def tokens(self, codes: torch.Tensor) -> torch.Tensor:
        """Projected patches of image codes, with the prefix before them, wherever they go next."""
        parts = self.blueprint
        patches = F.unfold(codes, parts.patch_size, stride=parts.patch_size).transpose(1, 2)
        x = linear(patches, self.grids.outer("image"), self.weights["patch"], parts.patch.bias)
        x = x if parts.patch_norm is None else real_norm(x, parts.patch_norm)
        x = torch.cat([parts.prefix.to(x).expand(len(x), -1, -1), x], 1)
        return put(x, self.grids.outer(self._first if parts.positions is None else "patch_embed"))

    def placed(self, tokens: torch.Tensor) -> torch.Tensor:
        """The tokens with their positions."""
        positions = self._put("pos_embed", self.blueprint.positions.to(tokens))
        added = value(positions, self.grids.outer("pos_embed"))
        return put(value(tokens, self.grids.outer("patch_embed")) + added, self.grids.outer(self._first))

    def embed_norm(self, x: torch.Tensor) -> torch.Tensor:
        """The LayerNorm before the first encoder, within the stream."""
        return norm(x, self.grids.outer("embed_sum"), self.blueprint.embed_norm, self.grids.outer("embed"))

    @property
    def _first(self) -> str:
        """The first site of the residual stream."""
        return "embed" if self.blueprint.embed_norm is None else "embed_sum"

    def merge(self, index: int, x: torch.Tensor) -> torch.Tensor:
        """The residual stream after the patch merging before encoder ``index``."""
        merge = self.blueprint.merges[index]
        return self._seen(f"{merge.name}.reduction", self.reduction(index, self.merge_norm(index, x)))

    def merge_norm(self, index: int, x: torch.Tensor) -> torch.Tensor:
        """Four neighbours side by side, normalised now or later: ``[batch, merged tokens, 4 * channels]``."""
        merge, last = self.blueprint.merges[index], self.blueprint.encoders[index - 1]
        filled = torch.cat([x, torch.zeros_like(x[:, :1])], 1) if merge.padded else x
        neighbours = filled[:, merge.rows.long()].flatten(2)
        source, out = (
            tiled(self.grids.outer(f"{last.name}.residual2"), 4),
            self.grids.outer(f"{merge.name}.norm"),
        )
        codes = put(neighbours, out) if merge.post_norm else norm(neighbours, source, merge.norm, out)
        return self._seen(f"{merge.name}.norm", codes)

    def reduction(self, index: int, normed: torch.Tensor) -> torch.Tensor:
        """The merged tokens ``[batch, merged tokens, 2 * channels]``."""
        merge = self.blueprint.merges[index]
        x = linear(
            normed, self.grids.outer(f"{merge.name}.norm"), self.weights[merge.name], merge.reduction.bias
        )
        return put(
            real_norm(x, merge.norm) if merge.post_norm else x, self.grids.outer(f"{merge.name}.reduction")
        )

    # The stages of one encoder: each takes what earlier ones returned.

    def norm1(self, index: int, x: torch.Tensor) -> torch.Tensor:
        """What queries, keys and values are made of: the stream that enters, normalised where it is here."""
        source, parts = self.grids.outer(self.blueprint.entering(index)), self.blueprint.encoders[index].norm1
        return self._levelled(index, "norm1", self._source(index, "norm1", x, source, parts))

    def _source(
        self, index: int, site: str, x: torch.Tensor, source: Grid | None, parts: NormParts
    ) -> torch.Tensor:
        out = self.grids.inner(index, site)
        if self.blueprint.encoders[index].post_norm:
            return put(x, out)
        return norm(x, source, parts, out)

    def qkv(self, index: int, normed: torch.Tensor) -> torch.Tensor:
        """Queries, keys and values ``[batch, tokens, 3 * channels]``."""
        x = self._linear(index, "attn.qkv", "norm1", normed)
        encoder = self.blueprint.encoders[index]
        if encoder.alters_operands:
            q, k, v = x.unflatten(-1, (3, encoder.heads, encoder.head_dim)).unbind(2)
            q, k = (
                _altered(y, parts, encoder.rotary) for y, parts in ((q, encoder.q_norm), (k, encoder.k_norm))
            )
            x = torch.stack([q, k, v], 2).flatten(2)
        return self._levelled(index, "attn.qkv", put(x, self.grids.inner(index, "attn.qkv")))

    def split(self, index: int, qkv: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Queries, keys and values, each ``[batch * windows, heads, window tokens, head_dim]``."""
        encoder = self.blueprint.encoders[index]
        if encoder.window is not None and encoder.window.padding is not None:
            row = put(encoder.window.padding.to(self.dtype), self.grids.inner(index, "attn.qkv"))
            padding = self._levelled(index, "attn.qkv", row)
            qkv = torch.cat([qkv, padding.expand(len(qkv), 1, -1)], 1)
        by_head = qkv[:, _rows(encoder)].unflatten(-1, (3, encoder.heads, encoder.head_dim))
        return by_head.flatten(0, 1).permute(2, 0, 3, 1, 4).unbind(0)

    def scores(self, index: int, qkv: torch.Tensor) -> torch.Tensor:
        """Scaled scores with their bias, before the mask: ``[batch * windows, heads, n, n]``."""
        encoder = self.blueprint.encoders[index]
        q, k, _ = value(torch.stack(self.split(index, qkv)), self.grids.inner(index, "attn.qkv"))
        scores = q @ k.transpose(-2, -1) * encoder.score_scales.to(q)[:, None, None]
        if encoder.window is not None:
            bias = self._put(f"{encoder.name}.attn.bias", encoder.window.bias.to(scores))
            scores = scores + value(bias, self.grids.inner(index, "attn.bias"))
        return put(scores, self.grids.inner(index, "attn.scores"))

    def attention(self, index: int, scores: torch.Tensor) -> torch.Tensor:
        """Attention in units of :func:`attention_unit`, shaped as the scores are."""
        window = self.blueprint.encoders[index].window
        mask = None if window is None or window.mask is None else window.mask[:, None]
        by_window = scores.unflatten(0, (-1, 1 if mask is None else len(mask)))
        shares = probabilities(by_window, self.grids.inner(index, "attn.scores"), mask).flatten(0, 1)
        grid, bits = self.grids.inner(index, "attn.softmax"), self.grids.attention_bits(index)
        return attention_codes(shares, grid, bits, self.log_steps.get(index, 1.0))

    def context(self, index: int, attention: torch.Tensor, qkv: torch.Tensor) -> torch.Tensor:
        """Attended values ``[batch, tokens, channels]``."""
        v = value(self.split(index, qkv)[2], self.grids.inner(index, "attn.qkv"))
        unit = attention_unit(self.grids.inner(index, "attn.softmax"), self.grids.attention_bits(index))
        attended = (attention * unit.to(v)) @ v
        joined, parts = self.joined(index, attended), self.blueprint.encoders[index].context_norm
        joined = joined if parts is None else real_norm(joined, parts)
        codes = put(joined, self.grids.inner(index, "attn.context"))
        return self._levelled(index, "attn.context", codes)

    def joined(self, index: int, by_head: torch.Tensor) -> torch.Tensor:
        """``[batch, tokens, channels]`` in the image's order of ``[batch * windows, heads, n, head_dim]``."""
        rows = _rows(self.blueprint.encoders[index])
        by_window = by_head.transpose(1, 2).flatten(2).unflatten(0, (-1, len(rows))).flatten(1, 2)
        x = torch.empty_like(by_window)
        x[:, rows.flatten()] = by_window
        return x[:, : self.blueprint.encoders[index].tokens]

    def proj(self, index: int, context: torch.Tensor) -> torch.Tensor:
        """What attention adds to the stream."""
        return put(
            self._linear(index, "attn.proj", "attn.context", context), self.grids.inner(index, "attn.proj")
        )

    def residual1(self, index: int, x: torch.Tensor, update: torch.Tensor) -> torch.Tensor:
        """The stream with what attention adds."""
        entering = self.grids.outer(self.blueprint.entering(index))
        encoder, added = self.blueprint.encoders[index], value(update, self.grids.inner(index, "attn.proj"))
        total = value(x, entering) + (real_norm(added, encoder.norm1) if encoder.post_norm else added)
        return put(total, self.grids.inner(index, "residual1"))

    def norm2(self, index: int, x: torch.Tensor) -> torch.Tensor:
        """What the MLP takes: the stream in the middle, normalised where it is here."""
        source, parts = self.grids.inner(index, "residual1"), self.blueprint.encoders[index].norm2
        return self._levelled(index, "norm2", self._source(index, "norm2", x, source, parts))

    def hidden(self, index: int, normed: torch.Tensor) -> torch.Tensor:
        """Hidden channels of the MLP: activation, gate (Shazeer, arXiv 2002.05202, eq. 5 and 6) and norm."""
        encoder, x = self.blueprint.encoders[index], self._linear(index, "mlp.fc1", "norm2", normed)
        activated = ACTIVATIONS[encoder.activation](x[..., : encoder.hidden])
        x = activated * x[..., encoder.hidden :] if encoder.gated else activated
        x = x if encoder.hidden_norm is None else real_norm(x, encoder.hidden_norm)
        x = x if encoder.hidden_scales is None else x * encoder.hidden_scales.to(x)
        return self._levelled(index, "mlp.gelu", put(x, self.grids.inner(index, "mlp.gelu")))

    def fc2(self, index: int, hidden: torch.Tensor) -> torch.Tensor:
        """What the MLP adds to the stream."""
        return put(self._linear(index, "mlp.fc2", "mlp.gelu", hidden), self.grids.inner(index, "mlp.fc2"))

    def residual2(self, index: int, x: torch.Tensor, update: torch.Tensor) -> torch.Tensor:
        """The stream that leaves."""
        encoder, added = self.blueprint.encoders[index], value(update, self.grids.inner(index, "mlp.fc2"))
        middle = value(x, self.grids.inner(index, "residual1"))
        total = middle + (real_norm(added, encoder.norm2) if encoder.post_norm else added)
        return put(total, self.grids.inner(index, "residual2"))

    def _linear(self, index: int, layer: str, site: str, codes: torch.Tensor) -> torch.Tensor:
        bias = self.biases.get((index, layer))
        if bias is None:
            bias = self.blueprint.encoders[index].linear()[layer].bias
        return linear(codes, self.grids.inner(index, site), self.weights[index, layer], bias)

    def encode(self, index: int, x: torch.Tensor) -> torch.Tensor:
        """The residual stream after encoder ``index``."""
        name = self.blueprint.encoders[index].name

        def seen(site: str, y: torch.Tensor) -> torch.Tensor:
            return self._seen(f"{name}.{site}", y)

        normed = seen("norm1", self.norm1(index, x))
        qkv = seen("attn.qkv", self.qkv(index, normed))
        scores = seen("attn.scores", self.scores(index, qkv))
        attention = seen("attn.softmax", self.attention(index, scores))
        context = seen("attn.context", self.context(index, attention, qkv))
        x = seen("residual1", self.residual1(index, x, seen("attn.proj", self.proj(index, context))))
        normed = seen("norm2", self.norm2(index, x))
        hidden = seen("mlp.gelu", self.hidden(index, normed))
        return seen("residual2", self.residual2(index, x, seen("mlp.fc2", self.fc2(index, hidden))))

    # The residual stream to logits.

    def read(self, x: torch.Tensor) -> torch.Tensor:
        """Codes ``[batch, read, channels]`` that the classifier reads of the last residual stream."""
        parts, grids = self.blueprint.readout, self.grids
        last, out = grids.outer(f"{self.blueprint.encoders[-1].name}.residual2"), grids.outer("norm")
        if parts.pool is not None:
            return self.pooled(self._seen("norm", norm(x[:, parts.pool.first :], last, parts.norm, out)))
        if parts.average is None:
            return norm(x[:, list(parts.tokens)], last, parts.norm, out)
        if parts.norm_first:
            grid = grids.outer("norm_tokens")
            tokens = self._seen("norm_tokens", norm(x, last, parts.norm, grid))
            return put(value(tokens, grid)[:, parts.average :].mean(1, keepdim=True), out)
        pooled = self._put("pool", value(x, last)[:, parts.average :].mean(1, keepdim=True))
        return norm(pooled, grids.outer("pool"), parts.norm, out)

    def pooled(self, tokens: torch.Tensor) -> torch.Tensor:
        """Codes ``[batch, 1, channels]`` of normalised tokens: one query's attention and an MLP.

        As in "Scaling Vision Transformers" (Zhai et al., arXiv 2106.04560, section 3.2).
        """
        pool = self.blueprint.readout.pool

        def layer(name: str, site: str, codes: torch.Tensor) -> torch.Tensor:
            return linear(codes, self.grids.outer(site), self.weights[name], pool.linear()[name].bias)

        query = pool.query.to(tokens)
        keys, values = layer("pool.kv", "norm", tokens).unflatten(-1, (2, *query.shape)).unbind(2)
        keys = keys if pool.k_norm is None else real_norm(keys, pool.k_norm)
        shares = softmax((keys * query).sum(-1).transpose(1, 2), None)
        context = (shares.transpose(1, 2)[..., None] * values).sum(1).flatten(1)[:, None]
        token = layer("pool.proj", "pool.context", self._put("pool.context", context))
        source = token if pool.norm is None else real_norm(token, pool.norm)
        hidden = ACTIVATIONS[pool.activation](layer("pool.fc1", "pool.norm", self._put("pool.norm", source)))
        token = token + layer("pool.fc2", "pool.gelu", self._put("pool.gelu", hidden))
        return put(token, self.grids.outer("pooled"))

    def classify(self, read: torch.Tensor) -> torch.Tensor:
        """Logits ``[batch, classes]``: the mean over the heads, on their grid in fq-vit."""
        grid = self.grids.outer(self.blueprint.readout.read_site)
        logits = [
            linear(read[:, i], grid, self.weights[f"head{i}"], head.bias)
            for i, head in enumerate(self.blueprint.readout.heads)
        ]
        return value(self._put("head", torch.stack(logits).mean(0)), self.grids.outer("head"))

    @torch.inference_mode()
    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``[batch, classes]`` of normalised images ``[batch, channels, rows, columns]``."""
        x = self.embed(images)
        for index in range(len(self.blueprint.encoders)):
            if index in self.blueprint.merges:
                x = self.merge(index, x)
            x = self.encode(index, x)
        return self.classify(self._seen(self.blueprint.readout.read_site, self.read(x)))


def _rows(encoder: EncoderParts) -> torch.Tensor:
    """Token at each place of each window, int64 ``[windows, n]``; one window where all tokens see all."""
    return torch.arange(encoder.tokens)[None] if encoder.window is None else encoder.window.rows.long()


def _altered(x: torch.Tensor, parts: NormParts | None, rotary: RotaryParts | None) -> torch.Tensor:
    """Queries or keys ``[batch, tokens, heads, head_dim]``, normalised and turned."""
    x = x if parts is None else real_norm(x, parts)
    if rotary is None:
        return x
    angles = rotary.angles.to(x)
    if rotary.frequencies is not None:  # RoPE-ViT (Heo et al., arXiv 2403.13298, eq. 12)
        places, (along_x, along_y) = rotary.places.to(x), rotary.frequencies.to(x)
        angles = places[:, :1, None] * along_x + places[:, 1:, None] * along_y
    return turned(x, angles, halves=rotary.halves)
