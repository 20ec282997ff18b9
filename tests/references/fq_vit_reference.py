"""An independent reference of scheme fq-vit: plain integers and float64, one formula a line, no kernels."""

from __future__ import annotations

import math

import numpy as np
import torch


def f64(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def quantize(x: np.ndarray, scale, zero_point: int, qmax: int) -> np.ndarray:
    return np.clip(np.rint(x / scale) + zero_point, 0, qmax).astype(np.int64)


def integer_linear(codes, zero_point, scale, weight_codes, weight_scales, bias):
    """Int64 accumulators and the float64 output of a linear layer with an integer bias."""
    accumulators = (codes - zero_point) @ weight_codes.astype(np.int64).T
    step = weight_scales.astype(np.float64) * scale
    integer_bias = np.rint(bias / step)
    return accumulators, (accumulators + integer_bias) * step


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1.0 + np.vectorize(math.erf)(x / math.sqrt(2.0)))


def layer_norm_row(
    x: list[int], weight, bias, eps: float, scale: float, out_scale: float, out_zero: int, qmax: int
):
    """Integer LayerNorm of one token's shifted, centred codes, in Python integers from M, B and N on."""
    channels = len(x)
    mean = sum(x) / channels
    variance = (channels * sum(v * v for v in x) - sum(x) ** 2) / channels**2
    inverse = 1.0 / math.sqrt(variance + eps / scale**2)
    result = []
    for c in range(channels):
        factor = weight[c] / out_scale * inverse
        shift = 8 if factor == 0.0 else min(31, max(0, 7 - math.floor(math.log2(abs(factor)))))
        multiplier = max(-255, min(255, round(factor * 2**shift)))
        offset = round(bias[c] / out_scale * 2**shift - multiplier * mean)
        half = 1 << (shift - 1) if shift else 0
        result.append(min(max(((multiplier * x[c] + offset + half) >> shift) + out_zero, 0), qmax))
    return result


def integer_exponential(difference: int, scale: float) -> int:
    """exp(-difference * scale) as an integer, by ln 2 decomposition and a second-order polynomial."""
    split = max(0, math.ceil(math.log2(scale * 64 / math.log(2))))
    fine = scale / 2**split
    x = difference * 2**split
    ln2 = math.floor(math.log(2) / fine)
    z, r = divmod(x, ln2)
    if z > 30:
        return 0
    b = math.floor(0.96963238 / (0.35815147 * fine))
    c = math.floor(1.0 / (0.35815147 * fine**2))
    return (((-r + b) * -r + c) << 30) >> z


def softmax_row(codes: list[int], scale: float, bits: int, attention_scale: float) -> list[float]:
    """Attention of one row of score codes: LIS values up to 4 bits, uniform codes above."""
    highest = max(codes)
    exponentials = [integer_exponential(highest - code, scale) for code in codes]
    total = sum(exponentials)
    values = []
    for e in exponentials:
        if bits <= 4:
            code = math.inf if e == 0 else round(math.log2(total) - math.log2(e))
            values.append(2.0**-code if code < 2**bits else 0.0)
        else:
            values.append(float(min(round(e / total / attention_scale), 2**bits - 1)))
    return values


class Reference:
    """The quantized model of one configuration, every code in int64."""

    def __init__(self, blueprint, calibration, config, weights):
        self.blueprint, self.affine, self.ptf = blueprint, calibration.affine, calibration.power_of_two
        self.config, self.weights = config, weights  # weights: (encoder, layer) or name -> QuantizedWeight

    def _norm(self, x, grid, parts, out):
        shifted = (x - grid.zero_point) << grid.exponents
        rows = [
            layer_norm_row(
                [int(v) for v in row],
                f64(parts.weight),
                f64(parts.bias),
                parts.eps,
                grid.scale,
                out.scale,
                out.zero_point,
                out.qmax,
            )
            for row in shifted.reshape(-1, shifted.shape[-1])
        ]
        return np.array(rows).reshape(x.shape)

    def _linear(self, codes, grid, key, bias):
        weight = self.weights[key]
        return integer_linear(
            codes, grid.zero_point, grid.scale, weight.codes.numpy(), f64(weight.scales), f64(bias)
        )[1]

    def _sum(self, x, x_zero, x_scales, y, y_grid, out):
        value = (x - x_zero) * x_scales + (y - y_grid.zero_point) * y_grid.scale
        return quantize(value, out.channel_scales, out.zero_point, out.qmax)

    @staticmethod
    def _on(value, grid):
        return quantize(value, grid.scale, grid.zero_point, grid.qmax)

    def embed(self, images: torch.Tensor) -> np.ndarray:
        image, embedded = self.affine["image", 8], self.affine["patch_embed", 8]
        positions = self.affine["pos_embed", 8]
        batch, _, rows, columns = images.shape
        h, w = self.blueprint.patch_size
        codes = self._on(f64(images), image)
        patches = [
            codes[:, :, r : r + h, c : c + w].reshape(batch, -1)
            for r in range(0, rows, h)
            for c in range(0, columns, w)
        ]
        tokens = self._on(
            self._linear(np.stack(patches, 1), image, "patch", self.blueprint.patch.bias), embedded
        )
        prefix = self._on(f64(self.blueprint.prefix), embedded)
        tokens = np.concatenate([np.broadcast_to(prefix, (batch, *prefix.shape)), tokens], 1)
        return self._sum(
            tokens, embedded.zero_point, embedded.scale,
            self._on(f64(self.blueprint.positions), positions), positions, self.ptf["embed"],
        )  # fmt: skip

    def encode(self, index: int, x: np.ndarray) -> np.ndarray:
        encoder, bits = self.blueprint.encoders[index], self.config.encoders[index]
        entering = self.ptf["embed" if index == 0 else f"{self.blueprint.encoders[index - 1].name}.residual2"]

        def grid(site, layer=None):
            return self.affine[f"{encoder.name}.{site}", bits.bits("activations", layer) if layer else 8]

        norm1, qkv_grid = grid("norm1", "attn.qkv"), grid("attn.qkv", "attn.qkv")
        qkv = self._on(
            self._linear(
                self._norm(x, entering, encoder.norm1, norm1), norm1, (index, "attn.qkv"), encoder.qkv.bias
            ),
            qkv_grid,
        )
        batch, tokens, _ = qkv.shape
        q, k, v = (
            (qkv - qkv_grid.zero_point).reshape(batch, tokens, 3, encoder.heads, -1).transpose(2, 0, 3, 1, 4)
        )
        scores_grid = grid("attn.scores")
        scale = qkv_grid.scale * qkv_grid.scale * encoder.head_dim**-0.5
        scores = self._on((q @ k.swapaxes(-1, -2)) * scale, scores_grid)
        uniform = self.affine[f"{encoder.name}.attn.softmax", bits.attention].scale
        attention = np.array(
            [softmax_row(list(map(int, row)), scores_grid.scale, bits.attention, uniform)
             for row in scores.reshape(-1, tokens)]
        ).reshape(scores.shape)  # fmt: skip
        unit = 1.0 if bits.attention <= 4 else uniform
        context_grid = grid("attn.context", "attn.proj")
        context = (attention @ v).transpose(0, 2, 1, 3).reshape(batch, tokens, -1) * unit * qkv_grid.scale
        attended = self._linear(
            self._on(context, context_grid), context_grid, (index, "attn.proj"), encoder.proj.bias
        )
        middle, last = self.ptf[f"{encoder.name}.residual1"], self.ptf[f"{encoder.name}.residual2"]
        proj = grid("attn.proj")
        x = self._sum(x, entering.zero_point, entering.channel_scales, self._on(attended, proj), proj, middle)
        norm2, hidden = grid("norm2", "mlp.fc1"), grid("mlp.gelu", "mlp.fc2")
        inner = self._linear(
            self._norm(x, middle, encoder.norm2, norm2), norm2, (index, "mlp.fc1"), encoder.fc1.bias
        )
        update = self._linear(self._on(gelu(inner), hidden), hidden, (index, "mlp.fc2"), encoder.fc2.bias)
        fc2 = grid("mlp.fc2")
        return self._sum(x, middle.zero_point, middle.channel_scales, self._on(update, fc2), fc2, last)

    def _read(self, x: np.ndarray) -> np.ndarray:
        """Normalised codes ``[batch, read, channels]`` of the tokens, or of the one average, that is read."""
        readout, normed = self.blueprint.readout, self.affine["norm", 8]
        last = self.ptf[f"{self.blueprint.encoders[-1].name}.residual2"]
        if readout.average is None:
            return self._norm(x[:, list(readout.tokens)], last, readout.norm, normed)
        if readout.norm_first:
            tokens = self.affine["norm_tokens", 8]
            codes = self._norm(x, last, readout.norm, tokens)[:, readout.average :]
            return self._on(((codes - tokens.zero_point) * tokens.scale).mean(1, keepdims=True), normed)
        pool = self.ptf["pool"]
        values = ((x - last.zero_point) * last.channel_scales)[:, readout.average :].mean(1, keepdims=True)
        codes = quantize(values, pool.channel_scales, pool.zero_point, pool.qmax)
        return self._norm(codes, pool, readout.norm, normed)

    def logits(self, images: torch.Tensor) -> np.ndarray:
        x = self.embed(images)
        for index in range(len(self.blueprint.encoders)):
            x = self.encode(index, x)
        normed, head = self.affine["norm", 8], self.affine["head", 8]
        read = self._read(x)
        logits = [
            self._linear(read[:, i], normed, f"head{i}", part.bias)
            for i, part in enumerate(self.blueprint.readout.heads)
        ]
        return (self._on(np.mean(logits, 0), head) - head.zero_point) * head.scale
