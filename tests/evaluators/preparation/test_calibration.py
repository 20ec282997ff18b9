"""Calibration against ranges collected by forward hooks on the timm module itself."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.sites import is_residual, keeps_full_range
from bitfront.evaluators.preparation.calibration import Calibration, calibrate
from bitfront.evaluators.quantizers.registry import observer_named
from bitfront.spaces import BitfrontError

# Modules whose output is a quantization site, by site name.
HOOKED = {
    "norm": "norm",
    "head": "head",
    **{
        f"blocks.{i}.{site}": f"blocks.{i}.{path}"
        for i in range(3)
        for site, path in {
            "norm1": "norm1",
            "norm2": "norm2",
            "attn.qkv": "attn.qkv",
            "attn.proj": "attn.proj",
            "mlp.gelu": "mlp.act",
            "mlp.fc2": "mlp.fc2",
            "residual2": "",
        }.items()
    },
}
PER_ENCODER = (
    "norm1",
    "attn.qkv",
    "attn.scores",
    "attn.softmax",
    "attn.context",
    "attn.proj",
    "residual1",
    "norm2",
    "mlp.gelu",
    "mlp.fc2",
    "residual2",
)


def outputs_of(module: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Outputs of the hooked modules; of the final norm only the class token, which alone is read."""
    found: dict[str, torch.Tensor] = {}
    handles = []
    for site, path in HOOKED.items():

        def keep(_: nn.Module, __: object, output: torch.Tensor, site: str = site) -> None:
            found[site] = output[:, :1] if site == "norm" else output

        handles.append(module.get_submodule(path.rstrip(".")).register_forward_hook(keep))
    with torch.inference_mode():
        module(images)
    for handle in handles:
        handle.remove()
    return found


@pytest.fixture(scope="module")
def outputs(module: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    return outputs_of(module, images)


def test_every_site_has_a_grid_at_every_width(calibration: Calibration) -> None:
    sites = [f"blocks.{i}.{site}" for i in range(3) for site in PER_ENCODER]
    sites += ["image", "patch_embed", "pos_embed", "embed", "norm", "head"]
    residual = {site for site in sites if site == "embed" or "residual" in site}
    assert set(calibration.power_of_two) == residual
    assert set(calibration.affine) == {(site, bits) for site in set(sites) - residual for bits in (4, 8)}
    assert all(grid.qmax == 2**bits - 1 for (_, bits), grid in calibration.affine.items())


def test_min_max_grids_cover_the_modules_outputs(
    calibration: Calibration, outputs: dict[str, torch.Tensor]
) -> None:
    checked = 0
    for (site, bits), grid in calibration.affine.items():
        if site in outputs:
            low, high = (float(bound) for bound in torch.aminmax(outputs[site]))
            scale = (max(high, 0.0) - min(low, 0.0)) / (2**bits - 1)
            assert grid.scale == pytest.approx(scale, rel=1e-4)
            assert grid.zero_point == pytest.approx(-min(low, 0.0) / scale, abs=0.51)
            checked += 1
    assert checked == 2 * (2 + 3 * 6)


def test_residual_grids_have_the_least_error_over_the_modules_outputs(
    calibration: Calibration, outputs: dict[str, torch.Tensor]
) -> None:
    for index in range(3):
        x = outputs[f"blocks.{index}.residual2"].double().numpy().reshape(-1, 32)
        low, high = min(x.min(), 0.0), max(x.max(), 0.0)
        step, zero = (high - low) / 255, np.rint(-low * 255 / (high - low))
        errors = []
        for exponent in range(4):
            scale = step / 8 * 2**exponent
            errors.append((((np.clip(np.rint(x / scale) + zero, 0, 255) - zero) * scale - x) ** 2).sum(0))
        grid = calibration.power_of_two[f"blocks.{index}.residual2"]
        assert grid.scale == pytest.approx(step / 8, rel=1e-4)
        assert grid.zero_point == zero
        assert grid.exponents.tolist() == np.argmin(errors, 0).tolist()


def test_pinned_sites_have_eight_bits_whatever_is_searched(
    blueprint: Blueprint, images: torch.Tensor
) -> None:
    found = calibrate(blueprint, lambda: [images], (3, 5), observer_named("minmax"))
    assert {bits for _, bits in found.affine} == {3, 5, 8}
    assert found.affine["head", 8].qmax == 255
    assert all(grid.qmax == 255 for grid in found.power_of_two.values())


def test_splitting_into_batches_changes_nothing(blueprint: Blueprint, images: torch.Tensor) -> None:
    observer = observer_named("omse")
    whole = calibrate(blueprint, lambda: [images], (4,), observer)
    split = calibrate(blueprint, lambda: images.split(2), (4,), observer)
    for key, grid in whole.affine.items():
        assert split.affine[key].scale == pytest.approx(grid.scale, rel=0.02)
    for site, found in whole.power_of_two.items():
        assert split.power_of_two[site].exponents.tolist() == found.exponents.tolist()


def test_softmax_inputs_and_logits_are_never_clipped(
    blueprint: Blueprint, images: torch.Tensor, calibration: Calibration
) -> None:
    clipping = calibrate(blueprint, lambda: images.split(3), (4, 8), observer_named("omse"))
    changed = {
        site for (site, bits), grid in clipping.affine.items() if grid != calibration.affine[site, bits]
    }
    kept = {site for site, _ in clipping.affine} - changed
    assert {"head", *(f"blocks.{i}.attn.scores" for i in range(3))} <= kept
    assert {f"blocks.{i}.mlp.gelu" for i in range(3)} <= changed


@pytest.mark.parametrize(
    ("site", "residual", "full"),
    [
        ("embed", True, False),
        ("pool", True, False),
        ("blocks.11.residual1", True, False),
        ("blocks.0.residual2", True, False),
        ("pos_embed", False, False),
        ("patch_embed", False, False),
        ("blocks.0.attn.scores", False, True),
        ("head", False, True),
        ("blocks.0.attn.softmax", False, False),
        ("norm", False, False),
    ],
)
def test_kinds_of_sites(site: str, residual: bool, full: bool) -> None:
    assert (is_residual(site), keeps_full_range(site)) == (residual, full)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_named_by_the_site_they_reach(
    blueprint: Blueprint, images: torch.Tensor, value: float
) -> None:
    encoder = blueprint.encoders[1]
    weight = encoder.fc2.weight.clone()
    weight[3, 4] = value
    faulty = dataclasses.replace(encoder, fc2=dataclasses.replace(encoder.fc2, weight=weight))
    broken = dataclasses.replace(blueprint, encoders=(blueprint.encoders[0], faulty, blueprint.encoders[2]))
    with pytest.raises(BitfrontError, match=r"NaN or infinity at blocks\.1\.mlp\.fc2"):
        calibrate(broken, lambda: [images], (4, 8), observer_named("auto"))


def test_images_that_are_not_finite_are_named(blueprint: Blueprint, images: torch.Tensor) -> None:
    faulty = images.clone()
    faulty[4, 0, 0, 0] = math.nan
    with pytest.raises(BitfrontError, match="NaN or infinity at image"):
        calibrate(blueprint, lambda: faulty.split(3), (4, 8), observer_named("auto"))


LEVELLED = ("norm1", "qkv", "context", "norm2", "gelu")


def test_sites_of_few_bits_take_levels_of_an_8_bit_grid(
    blueprint: Blueprint, images: torch.Tensor, calibration: Calibration
) -> None:
    found = calibrate(
        blueprint, lambda: images.split(3), (3, 4, 8), observer_named("minmax"), codebook_roles=LEVELLED
    )
    sites = {site for site, _ in found.affine if site.rpartition(".")[2] in LEVELLED}
    assert len(sites) == 3 * len(LEVELLED)
    assert set(found.codebooks) == {(site, bits) for site in sites for bits in (3, 4)}
    for (site, bits), table in found.codebooks.items():
        assert found.grid(site, bits) == calibration.grid(site, 8)
        assert len(table.unique()) == 2**bits
    assert not calibration.codebooks


def test_quantized_values_are_levels_nearest_to_them(
    blueprint: Blueprint, images: torch.Tensor, outputs: dict[str, torch.Tensor]
) -> None:
    site, x = "blocks.1.mlp.gelu", outputs["blocks.1.mlp.gelu"].double()
    found, plain = (
        calibrate(blueprint, lambda: images.split(3), (4, 8), observer_named("omse"), codebook_roles=roles)
        for roles in (("gelu",), ())
    )
    grid = found.grid(site, 4)
    values = (found.codebooks[site, 4].unique().double() - grid.zero_point) * grid.scale
    nearest = values[(x[..., None] - values).abs().argmin(-1)]
    restored = found.quantized(site, 4, x.float()).double()
    # The grid is rounded to before the levels.
    assert float((restored - nearest).abs().max()) <= float(values.diff().max())
    error = (restored - x).square().mean()
    assert float(error) <= float((nearest - x).square().mean()) * 1.05
    assert float(error) < 0.7 * float((plain.quantized(site, 4, x.float()).double() - x).square().mean())


@pytest.mark.parametrize("constant", [0.7, -0.7, 0.0])
def test_constant_tensors_keep_their_value_on_levels(
    blueprint: Blueprint, images: torch.Tensor, constant: float
) -> None:
    encoder = blueprint.encoders[1]
    norm = dataclasses.replace(encoder.norm2, weight=torch.zeros(32), bias=torch.full((32,), constant))
    encoders = (blueprint.encoders[0], dataclasses.replace(encoder, norm2=norm), blueprint.encoders[2])
    still = dataclasses.replace(blueprint, encoders=encoders)
    found = calibrate(still, lambda: [images], (4, 8), observer_named("omse"), codebook_roles=LEVELLED)
    values = found.quantized("blocks.1.norm2", 4, torch.full((3, 32), constant))
    torch.testing.assert_close(values, torch.full((3, 32), constant))
