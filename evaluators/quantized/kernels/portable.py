"""The kernels as torch operations, on any device, with the same codes as the compiled ones.

Integers travel in float lanes: float32 where sums stay below 2^24 in units of their last bit, else float64.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from bitfront.evaluators.quantized.kernels.attention_terms import (
    HALFWAY,
    ONE_BIT,
    UNIT,
    AttentionTerms,
    IntegerScores,
)
from bitfront.evaluators.quantized.kernels.layer_norm import FINEST_STEP, MULTIPLIER_MAX
from bitfront.evaluators.quantized.kernels.linear import IntegerLinear, IntMmLinear
from bitfront.evaluators.quantized.kernels.norm_terms import FloatNormTerms, IntegerNormTerms, SumTerms
from bitfront.evaluators.quantizers.weights import QuantizedWeight

Tap = Callable[[str, torch.Tensor], None]

# Batches are cut so that one tensor of scores has about this many elements: what keeps memory modest on a CPU
# (where larger ones are slower, too) and a GPU busy.
CPU_ELEMENTS, GPU_ELEMENTS = 1 << 20, 1 << 23
EXACT = 1 << 24
LARGEST_PRODUCT = 255 * 255
# No float of two significant bits is above what it was rounded from by more.
LARGEST_ROUNDING = 4.0 / 3.0
SCORES, SOFTMAX = "attn.scores", "attn.softmax"


def score_lanes(head_dim: int) -> torch.dtype:
    """Lanes that hold sums of ``head_dim`` products of centred codes."""
    return torch.float32 if head_dim * LARGEST_PRODUCT < EXACT else torch.float64


def context_lanes(terms: AttentionTerms) -> torch.dtype:
    """Lanes that hold sums of values weighted with a row's attention codes.

    Probabilities add up to 1, so uniform codes add up to at most ``1 / scale`` and half a code for each key;
    values of logarithmic ones, in units of ``2^-15``, to ``2^15 2^(log_step / 2)`` (no power is above its
    probability by more) and half a unit for each key; codes of minifloats to ``4 / 3`` of the inverse of
    their step, and half a code for each key.
    """
    if terms.minifloats is not None:
        most = LARGEST_ROUNDING / terms.minifloats.scale
    else:
        most = UNIT * 2.0 ** (terms.log_step / 2) if terms.logarithmic else 1.0 / terms.attention_scale
    return torch.float32 if (most + terms.window_tokens / 2) * 255 < EXACT else torch.float64


def _windows(qkv: torch.Tensor, batch: int, terms: AttentionTerms) -> torch.Tensor:
    """Centred queries, keys and values ``[3, batch, windows, heads, n, head_dim]`` as int16."""
    tokens = qkv.view(batch, -1, 3, terms.heads, terms.head_dim)[:, terms.rows.long()]
    return tokens.permute(3, 0, 1, 4, 2, 5).to(torch.int16) - terms.qkv_zero


def _integer_exponentials(
    products: torch.Tensor, terms: AttentionTerms, softmax: IntegerScores, tap: Tap | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Integer exponentials of every score and their sums over keys, in float64."""
    steps = products.double() * terms.factors[:, None, None]
    if terms.bias is not None:
        steps += terms.bias
    codes = steps.round_().add_(softmax.zero_point).clamp_(0, softmax.qmax).to(torch.int64)
    if tap is not None:
        tap(SCORES, codes.flatten(0, 1))
    if terms.mask is None:
        found = softmax.table[codes.amax(-1, keepdim=True) - codes]
    else:
        hidden = terms.mask[:, None]
        seen = codes.masked_fill(hidden, 0)
        found = softmax.table[(seen.amax(-1, keepdim=True) - seen)].masked_fill_(hidden, 0)
    return found.double(), found.sum(-1, keepdim=True).double()


def _log_values(probability: torch.Tensor, terms: AttentionTerms) -> torch.Tensor:
    """Values of logarithmic codes of any base for probabilities, in their type."""
    thresholds = probability.new_tensor(terms.log_thresholds[::-1])
    values = probability.new_tensor([0.0, *terms.log_values[::-1]]) / UNIT
    return values[torch.bucketize(probability, thresholds, out_int32=True, right=True)]


def _integer_attention(
    products: torch.Tensor, terms: AttentionTerms, softmax: IntegerScores, tap: Tap | None
) -> torch.Tensor:
    """Attention from products: codes where uniform, values where logarithmic; float64."""
    exponentials, total = _integer_exponentials(products, terms, softmax, tap)
    if not terms.logarithmic:
        codes_per_unit = 1.0 / (total * terms.attention_scale)
        return (exponentials * codes_per_unit).round_().clamp_(max=terms.attention_codes - 1)
    if terms.by_thresholds:
        return _log_values(exponentials * (1.0 / total), terms)
    probability = exponentials * (HALFWAY / total)
    spread = probability * ONE_BIT
    power = spread - (spread - probability)
    return power.masked_fill_(power < 2.0 ** (1 - terms.attention_codes), 0.0)


def _float_attention(products: torch.Tensor, terms: AttentionTerms, tap: Tap | None) -> torch.Tensor:
    """Attention from products: codes where uniform, values where logarithmic; float32."""
    scores = products.float() * terms.factors.float()[:, None, None]
    if terms.bias is not None:
        scores += terms.bias
    if tap is not None:
        tap(SCORES, scores.flatten(0, 1))
    if terms.mask is not None:
        scores = scores.masked_fill(terms.mask[:, None], -torch.inf)
    return rounded_attention(torch.softmax(scores, -1), terms)


def rounded_attention(probability: torch.Tensor, terms: AttentionTerms) -> torch.Tensor:
    """Attention from float32 probabilities: codes where uniform, values where logarithmic; float32."""
    if not terms.logarithmic:
        return (probability / terms.attention_scale).round_().clamp_(max=terms.attention_codes - 1)
    if terms.by_thresholds:
        return _log_values(probability, terms)
    # probability = fraction 2^exponent with the fraction in [1/2, 1): log2 rounds down below sqrt(1/2).
    fraction, exponent = torch.frexp(probability)
    codes = (fraction < 0.5**0.5).int() - exponent
    powers = [2.0**-code for code in range(terms.attention_codes)]
    values = torch.tensor([*powers, 0.0], device=probability.device)
    codes[probability == 0] = terms.attention_codes
    return values[codes.clamp_(0, terms.attention_codes).long()]


def _chunk(
    qkv: torch.Tensor, batch: int, terms: AttentionTerms, tap: Tap | None, *, codes: bool = True
) -> torch.Tensor:
    """Output of some images: codes, or float32 values in steps of their grid."""
    parts = _windows(qkv, batch, terms)
    q, k = parts[:2].to(score_lanes(terms.head_dim))
    products = q @ k.transpose(-1, -2)
    if terms.softmax is None:
        attention = _float_attention(products, terms, tap)
    else:
        attention = _integer_attention(products, terms, terms.softmax, tap)
    if tap is not None:
        tap(SOFTMAX, (attention * terms.attention_scale).flatten(0, 1).float())
    lanes = context_lanes(terms)
    context = (attention.to(lanes) @ parts[2].to(lanes)).double() * terms.out_factor
    if codes:
        found = context.round_().add_(terms.out_zero).clamp_(0, terms.out_qmax).to(torch.uint8)
    else:
        found = context.float()
    out = found.new_empty(batch, len(qkv) // batch, terms.heads * terms.head_dim)
    out[:, terms.rows.long()] = found.transpose(2, 3).flatten(-2)
    return out.flatten(0, 1)


def portable_attention(
    qkv: torch.Tensor, batch: int, terms: AttentionTerms, tap: Tap | None = None, *, codes: bool = True
) -> torch.Tensor:
    """Attention output codes of the codes of queries, keys and values.

    With the integer softmax they are exactly those of ``fused_attention``; with the float one, roundings of
    ties may differ.

    Args:
        qkv: uint8 ``[batch * tokens, 3 * heads * head_dim]``: queries, keys and values, each by head.
        batch: Number of images.
        terms: The encoder's attention, its tensors on the device of ``qkv``.
        tap: Sees ``attn.scores`` (codes with the integer softmax, else floats; before the mask) and
            ``attn.softmax`` (values, float32), both ``[batch * windows, heads, n, n]``.
        codes: Whether the output is codes, and not float32 values in steps of their grid.

    Returns:
        uint8 or float32 ``[batch * tokens, heads * head_dim]``.
    """
    if tap is not None:
        return _chunk(qkv, batch, terms, tap, codes=codes)
    elements = CPU_ELEMENTS if qkv.device.type == "cpu" else GPU_ELEMENTS
    images = max(1, elements // (terms.heads * terms.windows * terms.window_tokens**2))
    tokens = len(qkv) // batch
    chunks = [qkv[tokens * i : tokens * min(i + images, batch)] for i in range(0, batch, images)]
    return torch.cat([_chunk(chunk, len(chunk) // tokens, terms, None, codes=codes) for chunk in chunks])


class PortableKernels:
    """Torch operations alone; see :class:`Kernels`.

    Args:
        device: Where the tensors are; the terms that the kernels are given must be there, too.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        slow = "stages run as several torch operations each, exact but slower than the float model"
        lacking = f"no Triton, or a GPU before compute capability 8.0: {slow}"
        self.notes: tuple[str, ...] = (lacking,) if device.type == "cuda" else ()
        named = torch.cuda.get_device_name(device) if device.type == "cuda" else "torch operations"
        self.description = (
            f"{device}: {named}, linear layers by int8 GEMM (torch._int_mm), attention by float32 lanes"
        )

    def linear(self, weight: QuantizedWeight, bias: torch.Tensor) -> IntegerLinear:
        """An integer linear layer."""
        return IntMmLinear(weight, bias)

    def attention(
        self, qkv: torch.Tensor, batch: int, terms: AttentionTerms, tap: Tap | None = None
    ) -> torch.Tensor:
        """See :class:`Kernels`."""
        return portable_attention(qkv, batch, terms, tap)

    def integer_norm(self, x: torch.Tensor, terms: IntegerNormTerms) -> torch.Tensor:
        """See :class:`Kernels`; step by step what ``kernels.layer_norm`` computes."""
        values = (x.to(torch.int64) - terms.source_zero) * terms.shift
        channels = values.shape[-1]
        total, squares = values.sum(-1, keepdim=True), values.square().sum(-1, keepdim=True)
        variance = (channels * squares - total * total).double() / (float(channels) * channels)
        inverse = 1.0 / torch.sqrt(variance + terms.epsilon)
        fraction, _ = torch.frexp(inverse)
        below = torch.where(terms.mantissa * fraction < 0.5, 0.5, 1.0).double()
        unit = (terms.step * (inverse / fraction) * below).clamp(FINEST_STEP, 1.0)
        multiplier = torch.round(terms.gain * inverse / unit).clamp(-MULTIPLIER_MAX, MULTIPLIER_MAX)
        offset = torch.round(terms.bias / unit - multiplier * (total.double() / channels))
        codes = torch.floor((multiplier * values + offset) * unit + 0.5) + terms.zero
        return codes.clamp_(0, terms.qmax).to(torch.uint8)

    def integer_add(self, x: torch.Tensor, y: torch.Tensor, terms: SumTerms) -> torch.Tensor:
        """See :class:`Kernels`."""
        left = (x.double() - terms.x_zero) * terms.x_factor
        right = (y.double() - terms.y_zero) * terms.y_factor
        value = left.view(-1, *right.shape) + right
        return (torch.round(value) + terms.zero).clamp_(0, terms.qmax).to(torch.uint8).view_as(x)

    def integer_add_norm(
        self, x: torch.Tensor, y: torch.Tensor, terms: SumTerms, norm: IntegerNormTerms
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`Kernels`."""
        total = self.integer_add(x, y, terms)
        return total, self.integer_norm(total, norm)

    def float_norm(self, x: torch.Tensor, terms: FloatNormTerms) -> torch.Tensor:
        """See :class:`Kernels`."""
        value = F.layer_norm(x, (x.shape[-1],), terms.weight, terms.bias, terms.epsilon)
        return (torch.round(value / terms.scale) + terms.zero).clamp_(0, terms.qmax).to(torch.uint8)

    def float_add_norm(
        self, x: torch.Tensor, y: torch.Tensor, terms: FloatNormTerms
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`Kernels`."""
        total = x + y
        return total, self.float_norm(total, terms)
