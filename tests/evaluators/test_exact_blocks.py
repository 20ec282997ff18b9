"""Each stage of each encoder on equal inputs: what the evaluator lets pass, put through the reference."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch
from quantized_cases import SMALL, Bits, small_case
from quantized_comparison import KERNELS, TIES, Comparison, differ_by_ties
from quantized_reference import QuantizedReference
from quantized_stages import LOG_BITS, linear_accumulators, put

from bitfront.evaluators.quantizers import AffineGrid, QuantizedWeight
from bitfront.spaces import SCHEMES

# float32 values may differ by this share of the largest.
ROUNDING = 2e-6


@functools.cache
def comparison(name: str, scheme: str, kernels: str, seed: int = 0, images: int = 24) -> Comparison:
    return Comparison(small_case(name, images, seed), scheme, kernels)


class Tapped:
    """What the evaluator's model lets pass at its sites, in the reference's shapes, units and type."""

    def __init__(self, compared: Comparison, bits: Bits) -> None:
        self.model, self.reference, _ = compared.models(bits)
        self.images = compared.case.images
        self._sites: dict[str, torch.Tensor] = {}
        self.logits = self.model(self.images, tap=self._see).double()

    def _see(self, site: str, value: torch.Tensor) -> None:
        self._sites[site] = value.clone()

    def __getitem__(self, site: str) -> torch.Tensor:
        value = self._sites[site].double()
        if site.endswith("attn.softmax"):
            return self._attention(site.removesuffix(".attn.softmax"), value)
        return value if value.dim() != 2 else value.view(len(self.images), -1, value.shape[-1])

    def _attention(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """The evaluator shows values of attention, where the reference has codes if they are uniform."""
        index = [encoder.name for encoder in self.reference.blueprint.encoders].index(name)
        bits, grid = (
            self.reference.grids.attention_bits(index),
            self.reference.grids.inner(index, "attn.softmax"),
        )
        return value if bits <= LOG_BITS else torch.round(value / grid.scale)

    def agrees(self, site: str, wanted: torch.Tensor) -> bool:
        """Whether codes are equal but for ties, and float32 values but for rounding."""
        got = self[site]
        assert got.shape == wanted.shape
        if site.endswith("attn.softmax") and bool((wanted < 1).all()):
            # Neighbouring logarithmic codes are a factor of 2 apart; zero is the code after the last.
            return differ_by_ties(*(-torch.log2(x.clamp_min(2.0**-16)) for x in (got, wanted)))
        if self._sites[site].is_floating_point() and not site.endswith("attn.softmax"):
            return float((got - wanted).abs().max()) <= ROUNDING * float(wanted.abs().max())
        return differ_by_ties(got, wanted)


def stages_of(
    reference: QuantizedReference, index: int
) -> dict[str, tuple[Callable[..., torch.Tensor], list[str]]]:
    """The stages of an encoder and its merging: by the site that each makes, with the sites that it takes."""
    blueprint = reference.blueprint
    name, entering = blueprint.encoders[index].name, blueprint.entering(index)
    inner: dict[str, tuple[Callable[..., torch.Tensor], list[str]]] = {
        "norm1": (reference.norm1, [entering]),
        "attn.qkv": (reference.qkv, ["norm1"]),
        "attn.scores": (reference.scores, ["attn.qkv"]),
        "attn.softmax": (reference.attention, ["attn.scores"]),
        "attn.context": (reference.context, ["attn.softmax", "attn.qkv"]),
        "attn.proj": (reference.proj, ["attn.context"]),
        "residual1": (reference.residual1, [entering, "attn.proj"]),
        "norm2": (reference.norm2, ["residual1"]),
        "mlp.gelu": (reference.gelu, ["norm2"]),
        "mlp.fc2": (reference.fc2, ["mlp.gelu"]),
        "residual2": (reference.residual2, ["residual1", "mlp.fc2"]),
    }
    stages = {
        f"{name}.{site}": (stage, [s if s == entering else f"{name}.{s}" for s in taken])
        for site, (stage, taken) in inner.items()
    }
    if index in blueprint.merges:
        merge, last = blueprint.merges[index].name, f"{blueprint.encoders[index - 1].name}.residual2"
        stages[f"{merge}.norm"] = (reference.merge_norm, [last])
        stages[f"{merge}.reduction"] = (reference.reduction, [f"{merge}.norm"])
    return stages


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
