"""The float forward pass of a blueprint, open to a look at every quantization site."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.float_stages import ACTIVATIONS, hidden, normed, operands, pooled_values
from bitfront.evaluators.models.parts import (
    EncoderParts,
    LinearParts,
    MergeParts,
    NormParts,
    PoolParts,
    Readout,
)

Tap = Callable[[str, torch.Tensor], None]
Batches = Callable[[], Iterable[torch.Tensor]]


def patches_of(images: torch.Tensor, patch_size: tuple[int, int]) -> torch.Tensor:
    """Cuts ``[batch, channels, rows, columns]`` into ``[batch, patches, values of a patch]``.

    Rows and columns at the end that fill no patch are left out, as by timm's convolution.
    """
    batch, channels, rows, columns = images.shape
    height, width = patch_size
    down, across = rows // height, columns // width
    filled = images[:, :, : down * height, : across * width]
    grid = filled.reshape(batch, channels, down, height, across, width)
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * height * width)


def unseen(site: str, value: torch.Tensor) -> None:
    """The tap that looks at nothing."""


def _linear(x: torch.Tensor, parts: LinearParts) -> torch.Tensor:
    return F.linear(x, parts.weight, parts.bias)


def forward(blueprint: Blueprint, images: torch.Tensor, tap: Tap = unseen) -> torch.Tensor:
    """The float forward pass; ``tap`` sees the tensor at every quantization site by name.

    Args:
        blueprint: The model.
        images: Normalised images, ``[batch, channels, rows, columns]``, on the blueprint's device.
        tap: Called with (site name, tensor) in execution order.

    Returns:
        Logits ``[batch, classes]``.
    """
    x = _embed(blueprint, images, tap)
    for index in range(len(blueprint.encoders)):
        x = _advance(blueprint, index, x, tap)
    return _read(blueprint.readout, x, tap)


class EncoderWalk:
    """The float forward pass of many batches, one encoder at a time.

    What needs much memory for each encoder can so be gathered in one pass, with room for one.

    Args:
        blueprint: The model.
        batches: Normalised images.
    """

    def __init__(self, blueprint: Blueprint, batches: Iterable[torch.Tensor]) -> None:
        self._blueprint = blueprint
        self._streams = [_embed(blueprint, images, unseen) for images in batches]
        self._next = 0

    def advance(self, look: Callable[[int, str, torch.Tensor], None]) -> int:
        """Runs the next encoder, and the patch merging before it; returns the encoder's index.

        Args:
            look: Called with (number of the batch, site name, tensor), batch by batch.
        """
        index = self._next
        for number, x in enumerate(self._streams):
            self._streams[number] = _advance(self._blueprint, index, x, functools.partial(look, number))
        self._next += 1
        return index


def _advance(blueprint: Blueprint, index: int, x: torch.Tensor, tap: Tap) -> torch.Tensor:
    """The stream behind encoder ``index``, from the stream before it and its patch merging."""
    if index in blueprint.merges:
        x = _merge(blueprint.merges[index], x, tap)
    encoder = blueprint.encoders[index]

    def seen(site: str, value: torch.Tensor) -> torch.Tensor:
        tap(f"{encoder.name}.{site}", value)
        return value

    def branch(value: torch.Tensor, norm: NormParts) -> torch.Tensor:
        return normed(value, norm) if encoder.post_norm else value

    def source(value: torch.Tensor, norm: NormParts) -> torch.Tensor:
        return value if encoder.post_norm else normed(value, norm)

    qkv = _linear(seen("norm1", source(x, encoder.norm1)), encoder.qkv)
    context = attended(encoder, seen("attn.qkv", operands(encoder, qkv)), tap)
    if encoder.context_norm is not None:
        context = normed(context, encoder.context_norm)
    update = _linear(seen("attn.context", context), encoder.proj)
    x = seen("residual1", x + branch(seen("attn.proj", update), encoder.norm1))
    inner = hidden(encoder, _linear(seen("norm2", source(x, encoder.norm2)), encoder.fc1))
    update = seen("mlp.fc2", _linear(seen("mlp.gelu", inner), encoder.fc2))
    return seen("residual2", x + branch(update, encoder.norm2))


def _embed(blueprint: Blueprint, images: torch.Tensor, tap: Tap) -> torch.Tensor:
    tap("image", images)
    x = _linear(patches_of(images, blueprint.patch_size), blueprint.patch)
    if blueprint.patch_norm is not None:
        x = normed(x, blueprint.patch_norm)
    if len(blueprint.prefix):
        x = torch.cat([blueprint.prefix.expand(len(x), -1, -1), x], dim=1)
    if blueprint.positions is not None:
        tap("patch_embed", x)
        tap("pos_embed", blueprint.positions)
        x = x + blueprint.positions
    if blueprint.embed_norm is not None:
        tap("embed_sum", x)
        x = normed(x, blueprint.embed_norm)
    tap("embed", x)
    return x


def _merge(merge: MergeParts, x: torch.Tensor, tap: Tap) -> torch.Tensor:
    neighbours = merge.neighbours(x)
    source = neighbours if merge.post_norm else normed(neighbours, merge.norm)
    tap(f"{merge.name}.norm", source)
    x = _linear(source, merge.reduction)
    if merge.post_norm:
        x = normed(x, merge.norm)
    tap(f"{merge.name}.reduction", x)
    return x


def heads_of(encoder: EncoderParts, qkv: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Queries, keys and values by head, each ``[batch * windows, heads, n, head_dim]``, of their layer."""
    tokens, window = qkv.shape[1], encoder.window
    if window is not None:
        filled = window.padded(qkv) if tokens == encoder.tokens else qkv
        qkv, tokens = filled.index_select(1, window.rows.flatten()), window.rows.shape[1]
    return qkv.reshape(-1, tokens, 3, encoder.heads, encoder.head_dim).permute(2, 0, 3, 1, 4).unbind(0)


def attended(
    encoder: EncoderParts,
    qkv: torch.Tensor,
    tap: Tap | None = None,
    held: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """Attention over queries, keys and values, within the encoder's windows where it has some.

    Args:
        encoder: The encoder.
        qkv: ``[batch, tokens, 3 * heads * head_dim]``, with the padding of its windows or without.
        tap: Sees scores, position biases and the attention matrix by site name.
        held: What becomes of the matrix before it is multiplied with the values.

    Returns:
        ``[batch, tokens, heads * head_dim]``.
    """
    tap = tap or unseen
    batch, window = len(qkv), encoder.window
    q, k, v = heads_of(encoder, qkv)
    scores = (q @ k.transpose(-2, -1)).mul_(encoder.score_scales.to(q.dtype)[:, None, None])
    if window is not None:
        tap(f"{encoder.name}.attn.bias", window.bias)
        scores += window.bias
    tap(f"{encoder.name}.attn.scores", scores)
    if window is not None and window.mask is not None:  # minus infinity where a query must not see a key
        windows = scores.reshape(-1, len(window.mask), *scores.shape[1:])
        scores = windows.masked_fill(window.mask[:, None], -torch.inf).reshape(scores.shape)
    attention = scores.softmax(-1)
    if held is not None:
        attention = held(attention)
    tap(f"{encoder.name}.attn.softmax", attention)
    context = (attention @ v).transpose(1, 2).reshape(batch, -1, encoder.heads * encoder.head_dim)
    return context if window is None else context.index_select(1, window.places[: encoder.tokens])


def _read(readout: Readout, x: torch.Tensor, tap: Tap) -> torch.Tensor:
    if readout.pool is not None:
        read = _pooled(readout.pool, normed(x[:, readout.pool.first :], readout.norm), tap)
    elif readout.average is None:
        read = normed(x[:, list(readout.tokens)], readout.norm)
    elif readout.norm_first:
        x = normed(x, readout.norm)
        tap("norm_tokens", x)
        read = x[:, readout.average :].mean(1, keepdim=True)
    else:
        mean = x[:, readout.average :].mean(1, keepdim=True)
        tap("pool", mean)
        read = normed(mean, readout.norm)
    tap(readout.read_site, read)
    logits = torch.stack([_linear(read[:, i], head) for i, head in enumerate(readout.heads)]).mean(0)
    tap("head", logits)
    return logits


def _pooled(pool: PoolParts, x: torch.Tensor, tap: Tap) -> torch.Tensor:
    """Attention pooling of normalised tokens, ``[batch, 1, channels]``."""

    def seen(site: str, value: torch.Tensor) -> torch.Tensor:
        tap(site, value)
        return value

    context = pooled_values(pool, _linear(seen("norm", x), pool.kv))
    token = _linear(seen("pool.context", context), pool.proj)
    source = token if pool.norm is None else normed(token, pool.norm)
    inner = ACTIVATIONS[pool.activation](_linear(seen("pool.norm", source), pool.fc1))
    return token + _linear(seen("pool.gelu", inner), pool.fc2)
