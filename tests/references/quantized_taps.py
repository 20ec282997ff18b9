"""What the evaluator lets pass at its sites, and the stages of the reference that make each of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from quantized_cases import Bits
from quantized_comparison import TIES, Comparison, differ_by_ties
from quantized_reference import QuantizedReference
from quantized_stages import FloatGrid, logarithmic

from bitfront.evaluators.models.sites import FOLLOWS
from bitfront.evaluators.quantizers.minifloats import MinifloatGrid

# float32 values may differ by this share of the largest.
ROUNDING = 2e-6
SINGLE_PRECISION = 24


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
        index = self._index(name)
        bits, grid = (
            self.reference.grids.attention_bits(index),
            self.reference.grids.inner(index, "attn.softmax"),
        )
        floats = bits is None or logarithmic(grid, bits)
        return value if floats else torch.round(value / grid.scale)

    def _index(self, name: str) -> int:
        return [encoder.name for encoder in self.reference.blueprint.encoders].index(name)

    def agrees(self, site: str, wanted: torch.Tensor) -> bool:
        """Whether codes and narrow floats are equal but for ties, and float32 values but for rounding."""
        got, held = self[site], self._held(site)
        assert got.shape == wanted.shape
        if held is not None and held.precision < SINGLE_PRECISION:
            # What cancels leaves a float32 rounding of its operands, which may be many small steps.
            error = ROUNDING * float(wanted.abs().max())
            difference = ((got - wanted).abs() - error).clamp_min(0.0) / held.step(wanted)
            return float(difference.max()) <= 1 and float((difference > 0).double().mean()) < TIES
        if held is not None or (self._sites[site].is_floating_point() and not site.endswith("attn.softmax")):
            return float((got - wanted).abs().max()) <= ROUNDING * float(wanted.abs().max())
        return differ_by_ties(self._ranks(site, got), self._ranks(site, wanted))

    def _held(self, site: str) -> FloatGrid | None:
        """The float format of a site of an encoder, where it has one."""
        for index, encoder in enumerate(self.reference.blueprint.encoders):
            local = site.removeprefix(f"{encoder.name}.")
            if local != site and (local in FOLLOWS or local == "attn.softmax"):
                grid = self.reference.grids.inner(index, local)
                return grid if isinstance(grid, FloatGrid) else None
        return None

    def _ranks(self, site: str, codes: torch.Tensor) -> torch.Tensor:
        """Numbers of which neighbouring ones differ by 1, where neighbouring codes may differ by more."""
        name = next(
            (e.name for e in self.reference.blueprint.encoders if site.startswith(f"{e.name}.")), None
        )
        if name is None:
            return codes
        index, local = self._index(name), site.removeprefix(f"{name}.")
        grid, bits = self.reference.grids.inner(index, local), self.reference.grids.attention_bits(index)
        if isinstance(grid, MinifloatGrid):
            return torch.searchsorted(torch.from_numpy(grid.codes).to(codes), codes)
        if local == "attn.softmax" and logarithmic(grid, bits):
            exponents = torch.round(-torch.log2(codes) / self.reference.log_steps.get(index, 1.0))
            return exponents.clamp(max=2**bits)
        levels = self.reference.grids.levels(index, local)
        return codes if levels is None else torch.searchsorted(levels.unique().to(codes), codes)


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
        "mlp.gelu": (reference.hidden, ["norm2"]),
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


def check_stages(compared: Comparison, bits: Bits) -> None:
    """Asserts that every stage of every encoder, at what the evaluator gave it, yields what it let pass."""
    tapped = Tapped(compared, bits)
    for index in range(len(tapped.reference.blueprint.encoders)):
        for site, (stage, taken) in stages_of(tapped.reference, index).items():
            assert tapped.agrees(site, stage(index, *(tapped[s] for s in taken))), site
