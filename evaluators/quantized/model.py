"""The quantized model of one bit configuration: embedding, encoders, patch mergings and readout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from bitfront.evaluators.models import float_stages
from bitfront.evaluators.models.float_forward import Tap, patches_of, unseen
from bitfront.evaluators.models.parts import EncoderParts, MergeParts
from bitfront.evaluators.preparation.layer_fit import FittedLayer
from bitfront.evaluators.quantized.kernels.attention_terms import AttentionTerms
from bitfront.evaluators.quantized.kernels.backend import Kernels
from bitfront.evaluators.quantized.kernels.linear import IntegerLinear, codes_of
from bitfront.evaluators.quantized.kernels.lookup import replace_codes
from bitfront.evaluators.quantized.kernels.portable import portable_attention
from bitfront.evaluators.quantized.mixed import MixedEncoder
from bitfront.evaluators.quantized.scheme import Norm, Pooling, Projection, Scheme, Update
from bitfront.evaluators.quantizers.grids import AffineGrid
from bitfront.spaces import BitfrontError


class QuantizedEmbedding:
    """Quantizes images, embeds their patches and adds prefix tokens and positions.

    Args:
        scheme: Builds the stages.
        image: Grid of the images.
        patch_size: Rows and columns of a patch.
        layer: The patch projection.
    """

    def __init__(
        self, scheme: Scheme, image: AffineGrid, patch_size: tuple[int, int], layer: FittedLayer
    ) -> None:
        self._image = image
        self._patch_size = patch_size
        self._project = scheme.project_patches(layer)
        self._patch_norm = scheme.patch_norm()
        self._prefix = scheme.prefix()
        self._positions = scheme.positions()
        self._norm = scheme.embed_norm()

    def __call__(self, images: torch.Tensor, tap: Tap = unseen) -> torch.Tensor:
        """The stream ``[batch * tokens, channels]`` of images ``[batch, channels, rows, columns]``."""
        codes = self._image.quantize(images)
        tap("image", codes)
        patches = patches_of(codes, self._patch_size)
        batch, count, width = patches.shape
        x = self._project(patches.reshape(-1, width))
        if self._patch_norm is not None:
            x = self._patch_norm(x)
        if len(self._prefix):
            tokens = [self._prefix.expand(batch, -1, -1), x.view(batch, count, -1)]
            x = torch.cat(tokens, dim=1).flatten(0, 1)
        if self._positions is not None:
            tap("patch_embed", x)
            x = self._positions(x)
        if self._norm is not None:
            tap("embed_sum", x)
            x = self._norm(x)
        tap("embed", x)
        return x


@dataclass(frozen=True, eq=False)
class QuantizedEncoder:
    """An encoder whose every product is one of integers.

    Its first LayerNorm runs with the residual sum before it, so the encoder takes both the stream and its
    normalised codes, and passes both on.

    Attributes:
        name: The module's path, for taps.
        kernels: What computes.
        grids: Grids of the codes between its products by site, such as ``mlp.gelu``, at the chosen widths.
        codebooks: The level that stands for each code, uint8 ``[256]``, by site of narrow tensors that have a
            codebook; their grid is then one of 8 bits.
        linear: The linear layers by name, such as ``attn.qkv``.
        attention: The attention.
        norm1: The first LayerNorm.
        sum1: Adds what the attention yields.
        norm2: The second LayerNorm.
        sum2: Adds what the MLP yields.
        parts: The float encoder where anything but exact GELU stands between its products: it is computed in
            float32, in passes of its own.
    """

    name: str
    kernels: Kernels
    grids: Mapping[str, AffineGrid]
    codebooks: Mapping[str, torch.Tensor]
    linear: Mapping[str, IntegerLinear]
    attention: AttentionTerms
    norm1: Norm
    sum1: Update
    norm2: Norm
    sum2: Update
    parts: EncoderParts | None = None

    def _operands(self, normed: torch.Tensor, batch: int) -> torch.Tensor:
        """Codes of queries, keys and values."""
        layer, grids, table = self.linear["attn.qkv"], self.grids, self.codebooks.get("attn.qkv")
        if self.parts is None or not self.parts.alters_operands:
            return layer.to_codes(normed, grids["norm1"], grids["attn.qkv"], codebook=table)
        value = layer.to_float(normed, grids["norm1"])
        found = float_stages.operands(self.parts, value.view(batch, -1, value.shape[-1])).flatten(0, 1)
        return codes_of(found, grids["attn.qkv"], codebook=table)

    def _context(self, qkv: torch.Tensor, batch: int, tap: Tap | None) -> torch.Tensor:
        """Codes of the attention's output."""
        terms = self.attention
        qkv = terms.padded(qkv, batch)
        norm = None if self.parts is None else self.parts.context_norm
        if norm is None:
            return terms.unpadded(self.kernels.attention(qkv, batch, terms, tap), batch)
        grid = self.grids["attn.context"]
        steps = terms.unpadded(portable_attention(qkv, batch, terms, tap, codes=False), batch)
        return codes_of(float_stages.normed(steps * grid.scale, norm), grid)

    def _hidden(self, normed: torch.Tensor) -> torch.Tensor:
        """Codes of the hidden channels."""
        layer, grids, table = self.linear["mlp.fc1"], self.grids, self.codebooks.get("mlp.gelu")
        if self.parts is None or not self.parts.alters_hidden:
            return layer.to_codes(normed, grids["norm2"], grids["mlp.gelu"], gelu=True, codebook=table)
        found = float_stages.hidden(self.parts, layer.to_float(normed, grids["norm2"]))
        return codes_of(found, grids["mlp.gelu"], codebook=table)

    def __call__(
        self,
        x: torch.Tensor,
        normed: torch.Tensor,
        batch: int,
        following: Norm | None,
        tap: Tap | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Runs the encoder.

        Args:
            x: Stream ``[batch * tokens, channels]``.
            normed: uint8 codes of its first LayerNorm, same shape.
            batch: Images in the batch.
            following: The LayerNorm that begins the next encoder; None where another stage follows.
            tap: Sees codes (float32 where the scheme keeps a tensor in float) by site.

        Returns:
            The stream and its codes after ``following``, None where there is none.
        """

        def seen(site: str, value: torch.Tensor) -> torch.Tensor:
            if tap is not None:
                tap(f"{self.name}.{site}", value)
            return value

        def levelled(site: str, codes: torch.Tensor) -> torch.Tensor:
            table = self.codebooks.get(site)
            return seen(site, codes if table is None else replace_codes(codes, table))

        grids, linear = self.grids, self.linear
        qkv = seen("attn.qkv", self._operands(levelled("norm1", normed), batch))
        inner = None if tap is None else lambda site, value: tap(f"{self.name}.{site}", value)
        context = levelled("attn.context", self._context(qkv, batch, inner))
        update = seen("attn.proj", self.sum1.of(linear["attn.proj"], context, grids["attn.context"]))
        x, normed = self.sum1.add_norm(x, update, self.norm2)
        seen("residual1", x)
        inner_codes = seen("mlp.gelu", self._hidden(levelled("norm2", normed)))
        update = seen("mlp.fc2", self.sum2.of(linear["mlp.fc2"], inner_codes, grids["mlp.gelu"]))
        if following is None:
            return seen("residual2", self.sum2.add(x, update)), None
        x, normed = self.sum2.add_norm(x, update, following)
        return seen("residual2", x), normed


# One of integers throughout, or with a float format at some tensor.
Encoder = QuantizedEncoder | MixedEncoder


@dataclass(frozen=True)
class QuantizedMerging:
    """Puts tokens side by side, normalises and projects them.

    Attributes:
        name: The module's path, for taps.
        parts: Which tokens of an image are put side by side.
        norm: LayerNorm over their channels.
        projection: Onto the stream that leaves.
    """

    name: str
    parts: MergeParts
    norm: Norm
    projection: Projection

    def __call__(self, x: torch.Tensor, batch: int, tap: Tap = unseen) -> torch.Tensor:
        """Stream ``[batch * tokens_out, 2 * channels]`` from ``[batch * tokens, channels]``."""
        side_by_side = self.parts.neighbours(x.view(batch, -1, x.shape[1]))
        normed = self.norm(side_by_side.flatten(0, 1))
        tap(f"{self.name}.norm", normed)
        x = self.projection(normed)
        tap(f"{self.name}.reduction", x)
        return x


class TokenReader:
    """Normalises the tokens that are read."""

    def __init__(self, norm: Norm, tokens: Sequence[int]) -> None:
        self._norm, self._tokens = norm, list(tokens)

    def __call__(self, x: torch.Tensor, tap: Tap) -> torch.Tensor:  # noqa: ARG002 - no site between
        """Codes ``[batch, read, channels]`` of a stream ``[batch, tokens, channels]``."""
        read = x[:, self._tokens]
        return self._norm(read.reshape(-1, read.shape[-1])).view(read.shape)


class QuantizedReadout:
    """Final norm, pooling and classifier.

    Args:
        scheme: Builds the stages.
        pool: What is read, as codes.
        heads: One classifier for each token read.
        read: Grid of their input.
        site: That of the input.
    """

    def __init__(
        self, scheme: Scheme, pool: Pooling, heads: Sequence[IntegerLinear], read: AffineGrid, site: str
    ) -> None:
        self._scheme, self._pool, self._heads, self._read, self._site = scheme, pool, heads, read, site

    def __call__(self, x: torch.Tensor, batch: int, tap: Tap = unseen) -> torch.Tensor:
        """Logits ``[batch, classes]`` from a stream ``[batch * tokens, channels]``."""
        read = self._pool(x.view(batch, -1, x.shape[-1]), tap)
        tap(self._site, read)
        logits = [head.to_float(read[:, i].contiguous(), self._read) for i, head in enumerate(self._heads)]
        result = self._scheme.logits(torch.stack(logits).mean(0))
        tap("head", result)
        return result


class NotFiniteError(BitfrontError):
    """The residual stream holds NaN or infinity."""


@dataclass(frozen=True)
class QuantizedModel:
    """A quantized vision transformer; assembling one only gathers references to prepared parts.

    Attributes:
        embedding: Images to the stream.
        encoders: In order.
        merges: Patch mergings by the index of the encoder that follows.
        readout: The stream to logits.
    """

    embedding: QuantizedEmbedding
    encoders: tuple[Encoder, ...]
    merges: Mapping[int, QuantizedMerging]
    readout: QuantizedReadout

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor, tap: Tap | None = None) -> torch.Tensor:
        """Logits ``[batch, classes]`` of normalised images ``[batch, channels, rows, columns]``.

        Args:
            images: On the kernels' device.
            tap: Sees the codes (float32 where the scheme keeps a tensor in float) at every site; the fused
                kernels are then not used.

        Raises:
            NotFiniteError: A float residual stream overflows, which quantizing its readout would hide.
        """
        batch = len(images)
        see = tap or unseen
        x = self.embedding(images, see)
        normed: torch.Tensor | None = None
        for index, encoder in enumerate(self.encoders):
            if index in self.merges:
                x = self.merges[index](x, batch, see)
            if normed is None:
                normed = encoder.norm1(x)
            last = index + 1 == len(self.encoders) or index + 1 in self.merges
            x, normed = encoder(x, normed, batch, None if last else self.encoders[index + 1].norm1, tap)
        if x.is_floating_point() and not bool(x.isfinite().all()):
            raise NotFiniteError("the residual stream holds NaN or infinity")
        return self.readout(x, batch, see)
