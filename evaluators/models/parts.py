"""What a vision transformer's blueprint is made of: linear layers, norms, encoders, mergings, readouts.

An encoder is a table of layers with what stands between them: which norm, activation or rotation is one is
data, and :mod:`bitfront.evaluators.models.float_stages` computes it, for the float model and the quantized.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F

# Norms of an encoder by their names within it, and the fields that hold them.
ENCODER_NORMS = {
    "norm1": "norm1",
    "attn.q_norm": "q_norm",
    "attn.k_norm": "k_norm",
    "attn.norm": "context_norm",
    "norm2": "norm2",
    "mlp.norm": "hidden_norm",
}
GELU, GELU_TANH, QUICK_GELU, SILU, RELU = "gelu", "gelu_tanh", "quick_gelu", "silu", "relu"


@dataclass(frozen=True)
class LinearParts:
    """A linear layer: ``weight`` ``[out, in]`` and ``bias`` ``[out]``, zeros where it has none."""

    weight: torch.Tensor
    bias: torch.Tensor


@dataclass(frozen=True)
class NormParts:
    """A norm over the last axis: ``weight`` and ``bias`` of shape ``[channels]``.

    ``centred`` is that of LayerNorm; without, the values are divided by the root of their mean square alone
    (RMSNorm, Zhang and Sennrich, arXiv 1910.07467).
    """

    weight: torch.Tensor
    bias: torch.Tensor
    eps: float
    centred: bool = True


def with_last_token(tokens: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    """``[batch, tokens + 1, channels]``: a row ``[channels]`` behind each image's tokens, in their type."""
    return torch.cat([tokens, row.to(tokens).expand(len(tokens), 1, -1)], dim=1)


@dataclass(frozen=True)
class WindowParts:
    """Attention with position biases, within windows of the image or over all of it.

    Windows are those of Swin Transformers (Liu et al. 2021, section 3.2); BEiT has one of all tokens.

    Attributes:
        rows: Token of the image at each position of each window, the cyclic shift included: int32
            ``[windows, window_tokens]``, every token once. Where no token is, one past the last token.
        bias: Relative position bias, added to the scaled scores: float32
            ``[heads, window_tokens, window_tokens]``.
        mask: True where a query must not see a key: bool ``[windows, window_tokens, window_tokens]``;
            None where the windows are not shifted.
        index: Relative position of each query and key: int64 ``[window_tokens, window_tokens]``, rows of the
            table that is stored; every row occurs.
        padding: Query, key and value where no token is, each by head and behind its norm: float32
            ``[3 * heads * head_dim]``; None where tokens fill all windows. What enters ``qkv`` is zero there,
            so that it is the biases of the float model, whatever ``qkv`` is made of.
    """

    rows: torch.Tensor
    bias: torch.Tensor
    mask: torch.Tensor | None
    index: torch.Tensor
    padding: torch.Tensor | None = None

    @cached_property
    def places(self) -> torch.Tensor:
        """The inverse of ``rows``: place of each token among all window positions, int64; others follow."""
        with torch.inference_mode(mode=False):  # asked for first while calibrating, gradients pass it later
            return self.rows.flatten().argsort()

    def padded(self, operands: torch.Tensor) -> torch.Tensor:
        """Queries, keys and values ``[batch, tokens, 3 * heads * head_dim]`` with the padding behind them."""
        if self.padding is None:
            return operands
        return with_last_token(operands, self.padding)

    @cached_property
    def table_entries(self) -> int:
        """Relative positions: entries of one head in the table that is stored."""
        return int(self.index.max()) + 1

    @property
    def table(self) -> torch.Tensor:
        """The bias of each relative position: float32 ``[entries, heads]``; ``bias`` is ``table[index]``."""
        table = self.bias.new_empty(self.table_entries, len(self.bias))
        table[self.index.flatten()] = self.bias.flatten(1).T
        return table


@dataclass(frozen=True)
class RotaryParts:
    """Rotary positions: pairs of channels of queries and keys turned by angles of a token's place.

    RoPE (Su et al., arXiv 2104.09864) in two dimensions, as in EVA-02, DINOv3 and RoPE-ViT (Heo et al., arXiv
    2403.13298).

    Attributes:
        angles: Of each pair, float32 ``[tokens, heads or 1, head_dim / 2]``; 0 for tokens without a place.
        halves: Whether a channel's partner is half a head away, and not its neighbour.
        places: Of each token on both axes, float32 ``[tokens, 2]``, where the frequencies are learned.
        frequencies: Learned ones, float32 ``[2, heads, head_dim / 2]``: a pair's angle is the sum over both
            axes of place times frequency. None where the architecture alone decides the angles.
    """

    angles: torch.Tensor
    halves: bool
    places: torch.Tensor | None = None
    frequencies: torch.Tensor | None = None

    @classmethod
    def learned(cls, places: torch.Tensor, frequencies: torch.Tensor, *, halves: bool) -> RotaryParts:
        """The rotation of learned frequencies, which may be without values; the places never are."""
        rows, columns = places.to(frequencies.device)[:, :, None, None].unbind(1)
        angles = rows * frequencies[0] + columns * frequencies[1]
        return cls(angles, halves, places, frequencies)

    @cached_property
    def cosines(self) -> torch.Tensor:
        """Of every channel, float32 ``[tokens, heads or 1, head_dim]``."""
        return self._of_channels(self.angles.cos())

    @cached_property
    def sines(self) -> torch.Tensor:
        """Of every channel, float32 ``[tokens, heads or 1, head_dim]``."""
        return self._of_channels(self.angles.sin())

    def _of_channels(self, pairs: torch.Tensor) -> torch.Tensor:
        return torch.cat([pairs, pairs], -1) if self.halves else pairs.repeat_interleave(2, -1)


@dataclass(frozen=True)
class EncoderParts:
    """One encoder; layer scales are folded into ``proj`` and ``fc2``.

    Attributes:
        name: The module's path, such as ``blocks.3`` or ``layers.2.blocks.0``.
        norm1: Before ``qkv``; behind ``proj`` where ``post_norm``.
        qkv: Queries, keys and values, each by head.
        proj: From the attention's output to the stream.
        norm2: Before ``fc1``; behind ``fc2`` where ``post_norm``.
        fc1: To the hidden channels, twice as many where ``gated``: the first half is the gate.
        fc2: From the hidden channels to the stream.
        heads: Attention heads.
        score_scales: Factor of each head from products of queries and keys to scores, float64 ``[heads]``;
            ``head_dim ** -0.5`` unless the heads were balanced, or it is learned.
        tokens: Tokens of one image in this encoder.
        window: What attention is kept to or biased by; None where every token sees every other alike.
        activation: Of the hidden channels: a name of ``float_stages.ACTIVATIONS``.
        gated: Whether the activated gate is multiplied with the second half of ``fc1``'s output (GLU,
            Shazeer, arXiv 2002.05202).
        hidden_norm: Of the hidden channels behind activation and gate.
        q_norm: Of every query, over a head's channels.
        k_norm: Of every key.
        rotary: Turns queries and keys behind their norms.
        context_norm: Of the attention's output before ``proj``.
        post_norm: Whether the norms are behind what is added to the stream, and not before it (Swin
            Transformer V2, Liu et al. 2022, section 3.2).
        learned_scales: Whether the score scales are learned, and not decided by the architecture.
        hidden_scales: What hidden channels are multiplied with before ``fc2``, float32 ``[hidden]``, where
            equalization has scaled some down; None for ones.
    """

    name: str
    norm1: NormParts
    qkv: LinearParts
    proj: LinearParts
    norm2: NormParts
    fc1: LinearParts
    fc2: LinearParts
    heads: int
    score_scales: torch.Tensor
    tokens: int
    window: WindowParts | None = None
    activation: str = GELU
    gated: bool = False
    hidden_norm: NormParts | None = None
    q_norm: NormParts | None = None
    k_norm: NormParts | None = None
    rotary: RotaryParts | None = None
    context_norm: NormParts | None = None
    post_norm: bool = False
    learned_scales: bool = False
    hidden_scales: torch.Tensor | None = None

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.qkv.weight.shape[0] // (3 * self.heads)

    @property
    def channels(self) -> int:
        """Width of the residual stream."""
        return self.qkv.weight.shape[1]

    @property
    def hidden(self) -> int:
        """Hidden channels of the MLP, behind the gate."""
        return self.fc2.weight.shape[1]

    @property
    def alters_operands(self) -> bool:
        """Whether queries and keys are normalised or turned behind their layer."""
        return self.q_norm is not None or self.k_norm is not None or self.rotary is not None

    @property
    def alters_hidden(self) -> bool:
        """Whether anything but exact GELU makes the hidden channels of their layer's output."""
        beside = self.hidden_norm is not None or self.hidden_scales is not None
        return self.gated or beside or self.activation != GELU

    def linear(self) -> dict[str, LinearParts]:
        """The linear layers that carry genes, by layer name, in execution order."""
        return {"attn.qkv": self.qkv, "attn.proj": self.proj, "mlp.fc1": self.fc1, "mlp.fc2": self.fc2}

    def norms(self) -> dict[str, NormParts]:
        """Its norms by their names within the encoder."""
        found = {name: getattr(self, field) for name, field in ENCODER_NORMS.items()}
        return {name: parts for name, parts in found.items() if parts is not None}

    def peculiarities(self) -> tuple[str, ...]:
        """In words, what it has beside LayerNorms before both branches, four linear layers and exact GELU."""
        found = {
            "norms behind the branches": self.post_norm,
            "RMSNorm": not (self.norm1.centred and self.norm2.centred),
            "normalised queries and keys": self.q_norm is not None or self.k_norm is not None,
            "rotary positions": self.rotary is not None,
            "a norm of the attention's output": self.context_norm is not None,
            "windows that need padding": self.window is not None and self.window.padding is not None,
            "a gated MLP": self.gated,
            "a norm within the MLP": self.hidden_norm is not None,
            f"activation {self.activation}": self.activation != GELU,
        }
        return tuple(name for name, has in found.items() if has)

    def marks(self) -> tuple[str, ...]:
        """Of what takes time beside LayerNorms before both branches, products and exact GELU, in short.

        Latency tables name shapes by them, such as ``attn.q_norm.rms``, ``rotary.halves`` and ``gated``.
        """
        norms = {
            name if parts.centred else f"{name}.rms": name not in ("norm1", "norm2") or not parts.centred
            for name, parts in self.norms().items()
        }
        turned = "" if self.rotary is None else f"rotary.{'halves' if self.rotary.halves else 'pairs'}"
        found = {
            f"head{self.head_dim}": self.heads * self.head_dim != self.channels,
            **norms,
            "postnorm": self.post_norm,
            turned: bool(turned),
            self.activation: self.activation != GELU,
            "gated": self.gated,
        }
        return tuple(mark for mark, has in found.items() if has)


@dataclass(frozen=True)
class MergeParts:
    """Patch merging: four neighbouring tokens, side by side, are normalised and projected to one.

    Attributes:
        name: The module's path, such as ``layers.1.downsample``.
        rows: The tokens that are put side by side, in this order: int32 ``[tokens_out, 4]``. Where no token
            is, one past the last token, for zeros.
        norm: Over the four tokens' channels; over the projection's output where ``post_norm``.
        reduction: The projection; its bias is zero unless a rotation put the norm's into it.
        post_norm: Whether the norm is behind the projection.
        padded: Whether there are places without a token.
    """

    name: str
    rows: torch.Tensor
    norm: NormParts
    reduction: LinearParts
    post_norm: bool = False
    padded: bool = False

    def neighbours(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens side by side, ``[batch, tokens_out, 4 * channels]``.

        Args:
            x: The stream, ``[batch, tokens, channels]``.
        """
        filled = F.pad(x, (0, 0, 0, 1)) if self.padded else x
        return filled.index_select(1, self.rows.flatten()).reshape(len(x), len(self.rows), -1)


@dataclass(frozen=True)
class PoolParts:
    """Attention pooling: learned queries over all tokens, and an MLP (as in SigLIP; Zhai et al. 2022).

    Attributes:
        kv: Keys and values of the normalised tokens, each by head.
        query: The learned query of each head as it is multiplied with keys, scaled: float32
            ``[heads, head_dim]``.
        k_norm: Of every key, over a head's channels.
        proj: From the attention's output to the pooled token.
        norm: Before the MLP; None where it takes the pooled token as it is.
        fc1: To the hidden channels.
        fc2: From them to what is added.
        activation: Of the hidden channels.
        first: First of the tokens that are pooled.
    """

    kv: LinearParts
    query: torch.Tensor
    k_norm: NormParts | None
    proj: LinearParts
    norm: NormParts | None
    fc1: LinearParts
    fc2: LinearParts
    activation: str
    first: int

    def linear(self) -> dict[str, LinearParts]:
        """Its linear layers by name, in execution order."""
        return {"pool.kv": self.kv, "pool.proj": self.proj, "pool.fc1": self.fc1, "pool.fc2": self.fc2}

    def norms(self) -> dict[str, NormParts]:
        """Its norms by name."""
        found = {"pool.k_norm": self.k_norm, "pool.norm": self.norm}
        return {name: parts for name, parts in found.items() if parts is not None}


@dataclass(frozen=True)
class Readout:
    """How logits are read from the last residual stream.

    Attributes:
        norm: The final norm.
        tokens: Tokens that are read, each by its own head; empty where they are averaged or pooled.
        average: First token of the average pool, or None where there is none.
        norm_first: Whether the norm is applied before pooling (only matters for average pooling).
        heads: Classifiers, one for each token read; their logits are averaged.
        pool: Attention pooling of the normalised tokens, where there is some.
    """

    norm: NormParts
    tokens: tuple[int, ...]
    average: int | None
    norm_first: bool
    heads: tuple[LinearParts, ...]
    pool: PoolParts | None = None

    @property
    def read_site(self) -> str:
        """Site of what the classifiers take."""
        return "norm" if self.pool is None else "pooled"
