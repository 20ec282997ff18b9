"""The evaluator against the reference: each linear layer, each stage of each block, and whole networks."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from quantized_cases import ASSIGNMENTS, SMALL, Bits, small_case
from quantized_comparison import KERNELS, Comparison, Deviations
from quantized_reference import QuantizedReference
from quantized_stages import (
    LOG_BITS,
    integer_exponentials,
    integer_layer_norm,
    linear,
    linear_accumulators,
    put,
)

from bitfront.evaluators.kernels.int_exp import integer_exponentials as tabulated_exponentials
from bitfront.evaluators.kernels.linear import (
    FloatLaneLinear,
    IntegerLinear,
    IntMmLinear,
    OneDnnLinear,
    int8_kernels_are_exact,
)
from bitfront.evaluators.models.blueprint import LayerNormParts
from bitfront.evaluators.quantized.integer_stages import IntegerNorm
from bitfront.evaluators.quantizers import AffineGrid, PowerOfTwoGrid, QuantizedWeight, quantize_weight

SCHEMES = ("fq-vit", "deploy")
# Codes may differ where a value lies within rounding error of a tie: by one code, in this share of them.
TIES = 1e-3
# float32 values may differ by this share of the largest.
ROUNDING = 2e-6
LinearKernel = Callable[[QuantizedWeight, torch.Tensor], IntegerLinear]


def usable(kernel: LinearKernel) -> LinearKernel:
    if kernel is OneDnnLinear and not int8_kernels_are_exact():
        pytest.skip("this CPU has no exact int8 kernels")
    return kernel


def differ_by_ties(got: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Whether codes are equal but for ties."""
    difference = (got.double() - wanted.double()).abs()
    return float(difference.max()) <= 1 and float((difference > 0).double().mean()) < TIES


class TestLinearLayersAlone:
    @pytest.mark.parametrize("kernel", [OneDnnLinear, FloatLaneLinear, IntMmLinear])
    @pytest.mark.parametrize("bits", [2, 4, 8])
    @pytest.mark.parametrize(
        ("rows", "inner", "out"), [(50, 700, 24), (1, 48, 10), (3, 515, 9), (197, 192, 64)]
    )
    def test_accumulators_are_exact(
        self, kernel: LinearKernel, bits: int, rows: int, inner: int, out: int
    ) -> None:
        generator = torch.Generator().manual_seed(bits)
        weight = quantize_weight(torch.randn(out, inner, generator=generator), bits)
        unit = QuantizedWeight(weight.codes, torch.ones(out), bits)
        codes = torch.randint(0, 256, (rows, inner), generator=generator, dtype=torch.uint8)
        for zero_point in (0, 131, 255):
            grid = AffineGrid(1.0, zero_point, 255)
            got = usable(kernel)(unit, torch.zeros(out)).to_float(codes, grid)
            assert torch.equal(got, linear_accumulators(codes.long(), grid, weight).float())

    @pytest.mark.parametrize("kernel", [OneDnnLinear, FloatLaneLinear, IntMmLinear])
    @pytest.mark.parametrize("inner", [768, 4096])
    def test_so_are_those_that_float32_cannot_hold(self, kernel: LinearKernel, inner: int) -> None:
        generator = torch.Generator().manual_seed(inner)
        weight = QuantizedWeight(
            torch.randint(100, 128, (16, inner), generator=generator).to(torch.int8), torch.ones(16), 8
        )
        weight.codes[8:] *= -1
        codes = torch.randint(200, 256, (30, inner), generator=generator, dtype=torch.uint8)
        grid = AffineGrid(1.0, 3, 255)
        wanted = linear_accumulators(codes.long(), grid, weight)
        assert bool((wanted.abs() > 2**24).all())
        assert bool((wanted % 2 != 0).any())
        got = usable(kernel)(weight, torch.zeros(16)).to_float(codes, grid)
        assert torch.equal(got, wanted.float())

    @pytest.mark.parametrize("kernel", [OneDnnLinear, FloatLaneLinear, IntMmLinear])
    @pytest.mark.parametrize("gelu", [False, True])
    @pytest.mark.parametrize("out", [AffineGrid(0.09, 7, 15), AffineGrid(0.006, 110, 255)])
    def test_codes_agree_but_for_ties(self, kernel: LinearKernel, gelu: bool, out: AffineGrid) -> None:
        generator = torch.Generator().manual_seed(3)
        weight = quantize_weight(torch.randn(40, 64, generator=generator) / 8, 8)
        bias = torch.randn(40, generator=generator)
        codes = torch.randint(0, 256, (200, 64), generator=generator, dtype=torch.uint8)
        grid = AffineGrid(0.02, 120, 255)
        got = usable(kernel)(weight, bias).to_codes(codes, grid, out, gelu=gelu)
        value = linear(codes.double(), grid, weight, bias)
        wanted = put(F.gelu(value) if gelu else value, out)
        assert len(wanted.unique()) > 0.8 * out.qmax * (0.6 if gelu else 1)
        assert differ_by_ties(got, wanted)


class TestIntegerStagesAlone:
    @pytest.mark.parametrize("kernels", KERNELS)
    @pytest.mark.parametrize(
        "out",
        [
            AffineGrid(0.05, 128, 255),
            AffineGrid(0.7, 6, 15),
            PowerOfTwoGrid(0.02, 130, np.arange(48) % 4, 255),
        ],
        ids=["8 bits", "4 bits", "power of two"],
    )
    def test_layer_norm_is_exact(self, kernels: str, out: AffineGrid | PowerOfTwoGrid) -> None:
        rng = np.random.default_rng(0)
        parts = LayerNormParts(
            torch.from_numpy(rng.normal(size=48) * rng.choice([1e-3, 1, 30], 48)).float(),
            torch.from_numpy(rng.normal(size=48)).float(),
            1e-6,
        )
        source = PowerOfTwoGrid(0.013, 117, rng.integers(0, 4, 48), 255)
        codes = torch.from_numpy(rng.integers(0, 256, (300, 48)).astype(np.uint8))
        codes[0], codes[1] = 9, 117  # tokens without variance
        got = IntegerNorm(parts, source, out, KERNELS[kernels]())(codes)
        assert torch.equal(got.double(), integer_layer_norm(codes.double(), source, parts, out))

    @pytest.mark.parametrize("scale", [1e-3, 0.02, 0.157, 0.9, 3.0])
    def test_exponentials_are_exact_and_near_exp(self, scale: float) -> None:
        table = tabulated_exponentials(scale, 256)
        assert table.tolist() == integer_exponentials(scale, 256, torch.float64).tolist()
        exact = np.exp(-np.arange(256) * scale)
        # The polynomial is within 0.3 %, and ln 2 within 1/64 of a step for each of its multiples.
        large = exact > 2.0**-10
        assert np.abs(table[large] / table[0] / exact[large] - 1).max() < 0.12


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
    compared = comparison(name, scheme, kernels)
    tapped = Tapped(compared, (8, 8, 8))
    reference = tapped.reference
    seen: dict[str, torch.Tensor] = {}
    reference.tap = seen.__setitem__
    reference.embed(tapped.images)
    sites = [site for site in ("image", "patch_embed", "embed_sum", "embed") if site in seen]
    assert {"image", "embed"} <= set(sites)
    for site in sites:
        assert tapped.agrees(site, seen[site]), site
    last = tapped[f"{reference.blueprint.encoders[-1].name}.residual2"]
    assert tapped.agrees("norm", reference.read(last))
    logits, wanted = tapped.logits, reference.classify(tapped["norm"])
    step = reference.grids.outer("head").scale if scheme == "fq-vit" else 0.0
    difference = (logits - wanted).abs()
    rounding = ROUNDING * float(wanted.abs().max())
    assert float(difference.max()) <= step + rounding
    assert float((difference > rounding).double().mean()) < TIES


# Flips of ties are few and large: only many models together have a noise worth comparing with.
SEEDS = 12
FAMILIES = {
    "vit": ["vit", "distilled", "registers", "average then norm", "norm then average", "norm before"],
    "swin": ["swin", "wide swin"],
}


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("family", FAMILIES)
def test_whole_networks_deviate_no_more_than_float_fake_quantization(family: str, scheme: str) -> None:
    """The mean deviation from float64 is at most twice that of float32 fake quantization, at 3 sigma."""
    names = FAMILIES[family]
    compared = [
        Comparison(small_case(names[s % len(names)], 96, s), scheme, ranges="minmax") for s in range(SEEDS)
    ]
    found = Deviations.pooled(
        c.deviations(bits, 96).as_one_sample(c.spread()) for c in compared for bits in ASSIGNMENTS
    )
    assert 0 < found.noise.mean() < 0.01
    assert found.mean_ratio < 4
    assert found.excess < 3
