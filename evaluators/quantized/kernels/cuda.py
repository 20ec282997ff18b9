"""The kernels of a CUDA GPU, in Triton, where it is installed: one pass for each stage of an encoder."""

from __future__ import annotations

import functools
import weakref

import torch

from bitfront.evaluators.quantized.kernels import triton_programs as programs
from bitfront.evaluators.quantized.kernels.attention_terms import UNIT, AttentionTerms
from bitfront.evaluators.quantized.kernels.linear import codes_of, integer_bias
from bitfront.evaluators.quantized.kernels.norm_terms import FloatNormTerms, IntegerNormTerms, SumTerms
from bitfront.evaluators.quantized.kernels.portable import EXACT, LARGEST_PRODUCT, Tap, portable_attention
from bitfront.evaluators.quantizers.grids import AffineGrid
from bitfront.evaluators.quantizers.minifloats import MinifloatGrid
from bitfront.evaluators.quantizers.weights import QuantizedWeight

# int8 products of matrix units, and all else that the programs are compiled for.
LEAST_CAPABILITY = (8, 0)
# Rows, columns and inner positions of a tile of a linear layer, its warps, and how many tiles are loaded
# ahead: for many inner positions; for fewer, or a GELU, whose steps need registers; for so few rows that not
# every processor would have a tile.
LARGE_TILES, NARROW_TILES, SMALL_TILES = (128, 128, 64, 4, 4), (128, 64, 64, 4, 4), (64, 64, 64, 4, 4)
NARROW = 768
TILES_IN_A_STRIP = 8
# What one program holds of keys and values, and of scores with an integer or float softmax.
MOST_KEYS, MOST_KEY_CODES, INTEGER_SCORES, FLOAT_SCORES = 256, 256 * 64, 4096, 8192
SCORES_OF_A_WARP, MOST_WARPS = 1024, 4
# Channels of an integer row that a warp takes at a time.
ROW_BLOCK = 64
LOG_CODES = 16
_UNIFORM, _POWERS_OF_TWO, _ANY_BASE = range(3)

Terms = AttentionTerms | FloatNormTerms | IntegerNormTerms | SumTerms
_PACKED: weakref.WeakKeyDictionary[Terms, torch.Tensor] = weakref.WeakKeyDictionary()


def _power_of_two(count: int, least: int = 16) -> int:
    """The least power of two that is below neither."""
    return max(least, 1 << (count - 1).bit_length())


class TritonLinear:
    """int8 GEMM whose sums become floats, or codes, before they leave the processor; see ``IntegerLinear``.

    Args:
        weight: Codes and scales, on the GPU.
        bias: float32 ``[out]``.
    """

    def __init__(self, weight: QuantizedWeight, bias: torch.Tensor) -> None:
        self._codes = weight.codes.contiguous()
        self._scales, self._bias = weight.scales, bias
        self._sums = weight.codes.sum(1, dtype=torch.int32)
        self._terms: dict[tuple[float, int], torch.Tensor] = {}

    def _terms_of(self, grid: AffineGrid) -> torch.Tensor:
        """What the program takes for codes on a grid, int32 ``[3, out]``."""
        key = grid.scale, grid.zero_point
        if key not in self._terms:
            factors, bias = self._scales * grid.scale, integer_bias(self._bias, self._scales, grid.scale)
            floats = torch.stack([factors, bias]).view(torch.int32)
            self._terms[key] = torch.cat([((128 - grid.zero_point) * self._sums)[None], floats])
        return self._terms[key]

    def _run(
        self,
        x: torch.Tensor,
        grid: AffineGrid,
        out: AffineGrid | None,
        gelu: bool = False,
        codebook: torch.Tensor | None = None,
    ) -> torch.Tensor:
        (rows, inner), columns = x.shape, len(self._codes)
        result = x.new_empty(rows, columns, dtype=torch.float32 if out is None else torch.uint8)
        tile = LARGE_TILES if inner >= NARROW and not gelu else NARROW_TILES
        if -(-rows // tile[0]) * -(-columns // tile[1]) < _processors(x.device):
            tile = SMALL_TILES
        height, width, depth, warps, stages = tile
        numbers = (1.0, 0, 0) if out is None else (1.0 / out.scale, out.zero_point, out.qmax)
        flags = out is not None, gelu, codebook is not None, inner % depth != 0
        programs.launch(
            programs.linear,
            (-(-rows // height) * -(-columns // width), 1, 1),
            (x.contiguous(), self._codes, self._terms_of(grid), x if codebook is None else codebook, result),
            (columns, inner),
            (rows, *numbers),
            (*flags, height, width, depth, TILES_IN_A_STRIP),
            warps,
            stages,
        )
        return result

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
        if isinstance(out, MinifloatGrid):
            return codes_of(self.to_float(x, grid), out, gelu=gelu, codebook=codebook)
        return self._run(x, grid, out, gelu, codebook)

    def to_float(self, x: torch.Tensor, grid: AffineGrid) -> torch.Tensor:
        """See :class:`IntegerLinear`."""
        return self._run(x, grid, None)


@functools.cache
def _processors(device: torch.device) -> int:
    """Multiprocessors of a GPU; 1 where Triton interprets its programs on a CPU."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


def _numbers(terms: Terms) -> list[torch.Tensor | list[float]]:
    """What the programs read of terms, in their order."""
    if isinstance(terms, SumTerms):
        return [terms.x_factor, terms.y_factor, [terms.x_zero, terms.y_zero, terms.zero, terms.qmax]]
    if isinstance(terms, IntegerNormTerms):
        by_channel = [terms.shift, terms.gain, terms.mantissa, terms.step, terms.bias]
        return [*by_channel, [terms.source_zero, terms.epsilon, terms.zero, terms.qmax]]
    if isinstance(terms, FloatNormTerms):
        return [terms.weight, terms.bias, [terms.epsilon, 1.0 / terms.scale, terms.zero, terms.qmax]]
    scores = terms.softmax
    of_scores = [0, 0] if scores is None else [scores.zero_point, scores.qmax]
    codes = [terms.attention_scale, terms.attention_codes - 1, 2.0 ** (1 - terms.attention_codes)]
    out_factor = terms.out_factor / (UNIT if terms.logarithmic else 1.0)
    thresholds, values = [2.0] * LOG_CODES, [0.0] * LOG_CODES  # no probability reaches 2
    if terms.logarithmic:
        count = terms.attention_codes
        thresholds[:count], values[:count] = terms.log_thresholds[::-1], terms.log_values[::-1]
    output = [out_factor, terms.out_zero, terms.out_qmax]
    factors = terms.factors.reshape(-1).expand(terms.heads)
    return [[terms.qkv_zero, *of_scores, *codes, *output], thresholds, values, factors]


def _packed(terms: Terms, device: torch.device) -> torch.Tensor:
    """The numbers of terms one after the other, float64, or float32 for the float LayerNorm."""
    packed = _PACKED.get(terms)
    if packed is None:
        parts = [torch.as_tensor(part, dtype=torch.float64, device=device) for part in _numbers(terms)]
        packed = torch.cat(parts).to(torch.float32 if isinstance(terms, FloatNormTerms) else torch.float64)
        _PACKED[terms] = packed
    return packed


def _fits(terms: AttentionTerms) -> bool:
    """Whether the keys and values of a window and head fit one program."""
    keys, channels = _power_of_two(terms.window_tokens), _power_of_two(terms.head_dim)
    exact = terms.head_dim * LARGEST_PRODUCT < EXACT
    return exact and keys <= MOST_KEYS and keys * channels <= MOST_KEY_CODES


def triton_attention(qkv: torch.Tensor, batch: int, terms: AttentionTerms) -> torch.Tensor:
    """Attention in one pass; see :class:`Kernels`. The keys of a window must fit one program."""
    count, tokens = terms.window_tokens, len(qkv) // batch
    keys, channels = _power_of_two(count), _power_of_two(terms.head_dim)
    at_once = FLOAT_SCORES if terms.softmax is None else INTEGER_SCORES
    queries = min(keys, at_once // keys, 64)
    kind = _UNIFORM if not terms.logarithmic else _ANY_BASE if terms.by_thresholds else _POWERS_OF_TWO
    out = qkv.new_empty(len(qkv), terms.heads * terms.head_dim)
    tensors = (
        qkv.contiguous(),
        terms.rows,
        qkv if terms.bias is None else terms.bias,
        qkv if terms.mask is None else terms.mask.view(torch.uint8),
        qkv if terms.softmax is None else terms.softmax.table,
        _packed(terms, qkv.device),
        out,
    )
    flags = terms.softmax is not None, terms.bias is not None, terms.mask is not None
    programs.launch(
        programs.attention,
        (-(-count // queries) * terms.windows * batch, terms.heads, 1),
        tensors,
        (),
        (terms.windows, tokens, terms.heads),
        (*flags, kind, count, terms.head_dim, queries, keys, channels),
        min(MOST_WARPS, max(1, queries * keys // SCORES_OF_A_WARP)),
    )
    return out


class CudaKernels:
    """Triton programs, one for each stage; see :class:`Kernels`.

    Args:
        device: The GPU.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @functools.cached_property
    def description(self) -> str:
        """What they run on, in words."""
        return f"{self.device}: {torch.cuda.get_device_name(self.device)}, fused int8 kernels (Triton)"

    def linear(self, weight: QuantizedWeight, bias: torch.Tensor) -> TritonLinear:
        """An integer linear layer."""
        return TritonLinear(weight, bias)

    def attention(
        self, qkv: torch.Tensor, batch: int, terms: AttentionTerms, tap: Tap | None = None
    ) -> torch.Tensor:
        """See :class:`Kernels`; windows of more than 256 tokens by torch operations."""
        if tap is None and _fits(terms):
            return triton_attention(qkv, batch, terms)
        return portable_attention(qkv, batch, terms, tap)

    def _rows(
        self,
        x: torch.Tensor,
        y: torch.Tensor | None,
        sums: SumTerms | None,
        norm: IntegerNormTerms | FloatNormTerms | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The sums of rows and the codes of their LayerNorm; what is not asked for is ``x``."""
        x, other = x.contiguous(), x if y is None else y.contiguous()
        total = x if y is None else torch.empty_like(x)
        out = x if norm is None else torch.empty_like(x, dtype=torch.uint8)
        rows, channels = x.shape
        norms = x if norm is None else _packed(norm, x.device)
        if isinstance(norm, FloatNormTerms):
            block = _power_of_two(channels)
            floats, flags = (x, other, total, out, norms), (y is not None, block)
            warps = min(16, max(1, block // 256))
            programs.launch(programs.float_row, (rows, 1, 1), floats, (channels,), (), flags, warps)
            return total, out
        codes = x, other, total, out, x if sums is None else _packed(sums, x.device), norms
        periods, what = (other.numel() // channels,), (y is not None, norm is not None, ROW_BLOCK)
        programs.launch(programs.integer_row, (rows, 1, 1), codes, (channels,), periods, what, 1)
        return total, out

    def integer_norm(self, x: torch.Tensor, terms: IntegerNormTerms) -> torch.Tensor:
        """See :class:`Kernels`."""
        return self._rows(x, None, None, terms)[1]

    def integer_add(self, x: torch.Tensor, y: torch.Tensor, terms: SumTerms) -> torch.Tensor:
        """See :class:`Kernels`."""
        return self._rows(x, y, terms, None)[0]

    def integer_add_norm(
        self, x: torch.Tensor, y: torch.Tensor, terms: SumTerms, norm: IntegerNormTerms
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`Kernels`."""
        return self._rows(x, y, terms, norm)

    def float_norm(self, x: torch.Tensor, terms: FloatNormTerms) -> torch.Tensor:
        """See :class:`Kernels`."""
        return self._rows(x, None, None, terms)[1]

    def float_add_norm(
        self, x: torch.Tensor, y: torch.Tensor, terms: FloatNormTerms
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`Kernels`."""
        return self._rows(x, y, None, terms)
