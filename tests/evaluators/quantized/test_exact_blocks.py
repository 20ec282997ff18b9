"""Each stage of each encoder on equal inputs: what the evaluator lets pass, put through the reference."""

from __future__ import annotations

import functools

import pytest
import torch
from quantized_cases import SMALL, Bits, small_case
from quantized_comparison import KERNELS, TIES, Comparison, differ_by_ties
from quantized_stages import linear_accumulators, put
from quantized_taps import ROUNDING, Tapped, stages_of

from bitfront.evaluators.quantizers.grids import AffineGrid
from bitfront.evaluators.quantizers.weights import QuantizedWeight
from bitfront.spaces import SCHEMES


@functools.cache
def comparison(name: str, scheme: str, kernels: str, seed: int = 0, images: int = 24) -> Comparison:
    return Comparison(small_case(name, images, seed), scheme, kernels)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["vit", "norm before", "swin", "wide swin"])
class TestBlocksOnEqualInputs:
    @pytest.mark.parametrize("bits", [(8, 8, 8), (8, 8, 4), (4, 4, 4), "mixed 1"], ids=str)
    def test_every_stage_agrees(self, name: str, scheme: str, kernels: str, bits: Bits) -> None:
        tapped = Tapped(comparison(name, scheme, kernels), bits)
        for index in range(len(tapped.reference.blueprint.encoders)):
            for site, (stage, taken) in stages_of(tapped.reference, index).items():
                assert tapped.agrees(site, stage(index, *(tapped[s] for s in taken))), site

    def test_accumulators_of_every_layer_are_exact(self, name: str, scheme: str, kernels: str) -> None:
        """The layers' own codes on the codes that enter them, at unit scales."""
        tapped = Tapped(comparison(name, scheme, kernels), (8, 8, 8))
        reference = tapped.reference
        inputs = {"attn.qkv": "norm1", "attn.proj": "attn.context", "mlp.fc1": "norm2", "mlp.fc2": "mlp.gelu"}
        for index, encoder in enumerate(reference.blueprint.encoders):
            for layer, site in inputs.items():
                weight, grid = reference.weights[index, layer], reference.grids.inner(index, site)
                outputs = len(weight.codes)
                unit = KERNELS[kernels]().linear(
                    QuantizedWeight(weight.codes, torch.ones(outputs), weight.bits), torch.zeros(outputs)
                )
                codes = tapped[f"{encoder.name}.{site}"].flatten(0, 1)
                got = unit.to_float(codes.to(torch.uint8), AffineGrid(1.0, grid.zero_point, grid.qmax))
                assert torch.equal(got, linear_accumulators(codes.long(), grid, weight).float())

    @pytest.mark.parametrize("bits", [(8, 8, 8), (8, 8, 4), (4, 4, 4)], ids=str)
    def test_kernels_that_hold_no_scores_make_the_same_codes(
        self, name: str, scheme: str, kernels: str, bits: Bits
    ) -> None:
        """A tap sees scores and attention, which the quickest kernels never have as a whole."""
        tapped = Tapped(comparison(name, scheme, kernels), bits)
        for encoder in tapped.model.encoders:
            qkv = tapped[f"{encoder.name}.attn.qkv"].flatten(0, 1).to(torch.uint8)
            got = encoder.kernels.attention(qkv, len(tapped.images), encoder.attention)
            wanted = tapped[f"{encoder.name}.attn.context"].flatten(0, 1)
            if scheme == "fq-vit":
                assert torch.equal(got.double(), wanted)
            else:
                assert differ_by_ties(got, wanted)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", SMALL)
def test_embedding_and_readout_agree_on_equal_inputs(name: str, scheme: str, kernels: str) -> None:
    tapped = Tapped(comparison(name, scheme, kernels), (8, 8, 8))
    reference = tapped.reference
    parts, first = reference.blueprint, "embed"
    assert tapped.agrees("image", put(tapped.images.double(), reference.grids.outer("image")))
    if parts.embed_norm is not None:
        first = "embed_sum"
        assert tapped.agrees("embed", reference.embed_norm(tapped[first]))
    tokens = reference.tokens(tapped["image"])
    if parts.positions is None:
        assert tapped.agrees(first, tokens)
    else:
        assert tapped.agrees("patch_embed", tokens)
        assert tapped.agrees(first, reference.placed(tapped["patch_embed"]))
    last = tapped[f"{reference.blueprint.encoders[-1].name}.residual2"]
    assert tapped.agrees("norm", reference.read(last))
    logits, wanted = tapped.logits, reference.classify(tapped["norm"])
    step = reference.grids.outer("head").scale if scheme == "fq-vit" else 0.0
    difference = (logits - wanted).abs()
    rounding = ROUNDING * float(wanted.abs().max())
    assert float(difference.max()) <= step + rounding
    assert float((difference > rounding).double().mean()) < TIES
