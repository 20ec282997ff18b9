"""Each ingredient of a fitted layer lowers the error that it is for, on inputs that the fit has not seen."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from quantized_cases import PLAIN, WIDTHS, Case, small_case

from bitfront.evaluators.models.float_forward import forward
from bitfront.evaluators.models.parts import LinearParts
from bitfront.evaluators.models.sites import LAYER_INPUTS
from bitfront.evaluators.preparation.calibration import calibrate
from bitfront.evaluators.preparation.layer_fit import (
    FITTING,
    FittedLayer,
    LayerMoments,
    fit_layer,
    fit_layers,
    regressed,
)
from bitfront.evaluators.preparation.recipes import (
    CLIPPED_WEIGHTS,
    COMPENSATED_ROUNDING,
    CORRECTED_BIASES,
    GROUPED_WEIGHTS,
    INGREDIENTS,
    REGRESSED_WEIGHTS,
    Recipe,
    recipe_named,
)
from bitfront.evaluators.quantizers.grids import AffineGrid
from bitfront.evaluators.quantizers.registry import observer_named
from bitfront.evaluators.quantizers.weights import quantize_weight
from bitfront.spaces import BitfrontError

INPUTS, OUTPUTS, DEAD = 96, 40, 7
# Ranges of inputs like those behind a GELU: the lowest values and the tail are clipped.
GRID = AffineGrid.covering(-0.3, 3.0, 4)


@pytest.fixture(scope="module")
def parts() -> LinearParts:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(OUTPUTS, INPUTS, generator=generator)
    weight[::4] *= torch.logspace(-1.5, 0, 3).repeat_interleave(32)  # groups of inputs of different size
    return LinearParts(weight, torch.randn(OUTPUTS, generator=generator))


def drawn(seed: int, rows: int = 6000, kind: int = 99) -> tuple[torch.Tensor, torch.Tensor]:
    """Correlated inputs with a tail, and their quantized values; one input is dead.

    Kinds of tokens differ in what is correlated.
    """
    mixing = torch.randn(12, INPUTS, generator=torch.Generator().manual_seed(kind)) / 4
    generator = torch.Generator().manual_seed(seed)
    noise = 0.4 * torch.randn(rows, INPUTS, generator=generator)
    x = torch.nn.functional.gelu(torch.randn(rows, 12, generator=generator) @ mixing + noise + 0.3)
    x[:, DEAD] = 0.0
    return x, GRID.dequantize(GRID.quantize(x))


def moments_of(x: torch.Tensor, u: torch.Tensor, weights: torch.Tensor | None = None) -> LayerMoments:
    x, u = x.double(), u.double()
    w = torch.ones(len(x), dtype=torch.float64) if weights is None else weights.double()
    w = (w / w.sum())[:, None]
    return LayerMoments((w * x).sum(0), (w * u).sum(0), u.T @ (w * u), x.T @ (w * u))


def fitted(parts: LinearParts, bits: tuple[int, int], *ingredients: str) -> FittedLayer:
    x, u = drawn(1)
    moments = moments_of(x, u if bits[1] == 4 else x)
    return fit_layer(parts, moments, bits, Recipe("some", ingredients), name="a layer")


def errors(parts: LinearParts, found: FittedLayer, activations: int = 4) -> torch.Tensor:
    """Errors of the outputs on inputs that were not fitted to, ``[rows, out]``."""
    x, u = drawn(2)
    taken = (u if activations == 4 else x).double()
    restored = found.weight.codes.double() * found.weight.scales.double()[:, None]
    wanted = x.double() @ parts.weight.double().T + parts.bias.double()
    return taken @ restored.T + found.bias.double() - wanted


@pytest.mark.parametrize("bits", [(4, 4), (8, 4), (4, 8)])
def test_corrected_biases_take_back_the_mean_error(parts: LinearParts, bits: tuple[int, int]) -> None:
    before, after = (
        errors(parts, fitted(parts, bits, *some), bits[1]).mean(0).norm()
        for some in ((), (CORRECTED_BIASES,))
    )
    assert float(after) < 0.3 * float(before)


def test_regressed_weights_make_up_for_narrow_inputs(parts: LinearParts) -> None:
    before, after = (
        errors(parts, fitted(parts, (8, 4), *some)).square().mean(0) for some in ((), (REGRESSED_WEIGHTS,))
    )
    # What is left is noise that no weights can make up for.
    assert float(after.sum()) < 0.98 * float(before.sum())
    assert float((after < before).double().mean()) > 0.9


@pytest.mark.parametrize("activations", [4, 8])
def test_compensated_rounding_lowers_the_squared_error(parts: LinearParts, activations: int) -> None:
    """At 4-bit inputs against what exact weights have there, too."""
    before, after = (
        errors(parts, fitted(parts, (4, activations), CLIPPED_WEIGHTS, *some), activations).square().mean(0)
        for some in ((), (COMPENSATED_ROUNDING,))
    )
    assert float(after.sum()) < 0.8 * float(before.sum())


def test_token_weights_move_the_fit_to_the_tokens_that_count(parts: LinearParts) -> None:
    few, many = drawn(1, 1500), drawn(3, 6000, kind=98)
    x, u = (torch.cat(pair) for pair in zip(few, many, strict=True))
    recipe = Recipe("some", (COMPENSATED_ROUNDING, REGRESSED_WEIGHTS, CORRECTED_BIASES))

    def error(weights: torch.Tensor) -> float:
        """Of the kind of which there are few."""
        found = fit_layer(parts, moments_of(x, u, weights), (4, 4), recipe, name="a layer")
        return float(errors(parts, found).square().mean())

    counts = torch.cat([torch.full((1500,), 20.0), torch.ones(6000)])
    assert error(counts) < 0.95 * error(torch.ones(7500))


@pytest.mark.parametrize(("bits", "better"), [((4, 8), 0.9), ((4, 4), 1.0)])
@pytest.mark.parametrize("ingredient", [CLIPPED_WEIGHTS, GROUPED_WEIGHTS])
def test_clipped_and_grouped_weights_lower_the_squared_error(
    parts: LinearParts, ingredient: str, bits: tuple[int, int], better: float
) -> None:
    before, after = (
        float(errors(parts, fitted(parts, bits, *some), bits[1]).square().mean())
        for some in ((), (ingredient,))
    )
    assert after < better * before


def test_all_together_are_better_than_each_left_out(parts: LinearParts) -> None:
    def error(*ingredients: str) -> float:
        return float(errors(parts, fitted(parts, (4, 4), *ingredients)).square().mean())

    everything = error(*INGREDIENTS)
    assert everything < 0.6 * error()
    for left_out in (COMPENSATED_ROUNDING, REGRESSED_WEIGHTS, CORRECTED_BIASES, GROUPED_WEIGHTS):
        assert everything < error(*(i for i in INGREDIENTS if i != left_out)), left_out


class TestRegression:
    def test_it_is_the_minimum_of_error_and_ridge(self, parts: LinearParts) -> None:
        """The gradient of both together is zero: any step away costs."""
        x, u = (part.double() for part in drawn(1))
        moments = moments_of(x, u)
        found, weight = regressed(parts.weight, moments).double(), parts.weight.double()
        residual = (u.T @ (u @ found.T - x @ weight.T) / len(u)).T
        pulled = residual / (found - weight)
        live = [i for i in range(INPUTS) if i != DEAD]
        # The same ridge for all weights.
        assert float(pulled[:, live].median()) < 0
        torch.testing.assert_close(
            residual, pulled[:, live].median() * (found - weight), rtol=1e-3, atol=1e-5
        )

    def test_dead_inputs_keep_their_weights(self, parts: LinearParts) -> None:
        found = regressed(parts.weight, moments_of(*drawn(1)))
        torch.testing.assert_close(found[:, DEAD], parts.weight[:, DEAD])
        assert not torch.allclose(found, parts.weight)

    def test_inputs_without_error_keep_their_weights(self, parts: LinearParts) -> None:
        x, _ = drawn(1)
        torch.testing.assert_close(regressed(parts.weight, moments_of(x, x)), parts.weight)

    @pytest.mark.parametrize("rows", [1, 5])
    def test_fewer_tokens_than_inputs_move_little(self, parts: LinearParts, rows: int) -> None:
        found = regressed(parts.weight, moments_of(*drawn(1, rows)))
        assert bool(found.isfinite().all())
        assert float((found - parts.weight).norm()) < 0.5 * float(parts.weight.norm())


class TestRecipes:
    def test_biases_alone_leave_the_codes_of_the_nearest(self, parts: LinearParts) -> None:
        found, plain = fitted(parts, (4, 4), CORRECTED_BIASES), quantize_weight(parts.weight, 4, "minmax")
        assert torch.equal(found.weight.codes, plain.codes)
        assert torch.equal(found.weight.scales, plain.scales)
        assert not torch.equal(found.bias, parts.bias)

    def test_wide_inputs_and_weights_are_neither_regressed_nor_compensated(self, parts: LinearParts) -> None:
        found = fitted(parts, (8, 8), CLIPPED_WEIGHTS, COMPENSATED_ROUNDING, REGRESSED_WEIGHTS)
        assert torch.equal(found.weight.codes, quantize_weight(parts.weight, 8, "mse").codes)
        assert torch.equal(found.bias, parts.bias)

    def test_a_weight_that_is_not_finite_is_named(self, parts: LinearParts) -> None:
        broken = dataclasses.replace(parts, weight=parts.weight.clone())
        broken.weight[0, 0] = torch.nan
        with pytest.raises(BitfrontError, match="the weight of a layer holds NaN or infinity"):
            fitted(broken, (4, 4), COMPENSATED_ROUNDING)


@pytest.mark.parametrize("name", ["vit", "swin"])
class TestModels:
    def fit(self, case: Case, recipe: Recipe) -> dict[tuple[int, str, int, int], FittedLayer]:
        calibration = calibrate(
            case.blueprint, lambda: case.images[:64].split(32), WIDTHS, observer_named("omse")
        )
        groups = fit_layers(case.blueprint, lambda: case.images[:64].split(32), calibration, PLAIN, recipe)
        return {key: layer for _, group in groups for key, layer in group.items()}

    def test_nothing_is_fitted_without_an_ingredient_that_fits(self, name: str) -> None:
        assert self.fit(small_case(name, 64), recipe_named("best", FITTING)) == {}
        assert self.fit(small_case(name, 64), recipe_named("fq-vit")) == {}

    @torch.inference_mode()
    def test_every_layer_comes_nearer_to_its_float_outputs(self, name: str) -> None:
        case = small_case(name, 128)
        observer = observer_named("omse")
        calibration = calibrate(case.blueprint, lambda: [case.images[:64]], WIDTHS, observer)
        seen: dict[str, torch.Tensor] = {}
        forward(case.blueprint, case.images[64:], lambda s, v: seen.update({s: v.flatten(0, -2)}))
        # Tokens of like weight: what matters to the prediction is not the plain error.
        found = self.fit(case, recipe_named("best", ["token-weights"]))
        assert len(found) == len(case.blueprint.encoders) * 4 * 4
        ratios = []
        for (index, layer, bits, activations), fit in found.items():
            encoder = case.blueprint.encoders[index]
            parts, site = encoder.linear()[layer], f"{encoder.name}.{LAYER_INPUTS[layer]}"
            plain = FittedLayer(quantize_weight(parts.weight, bits, "minmax"), parts.bias)
            x, u = seen[site].double(), calibration.quantized(site, activations, seen[site]).double()
            fit_error, plain_error = (
                float(
                    (u @ (f.weight.codes * f.weight.scales[:, None]).double().T + f.bias)
                    .sub(x @ parts.weight.double().T + parts.bias).square().sum()
                )
                for f in (fit, plain)
            )  # fmt: skip
            if (bits, activations) != (8, 8):
                ratios.append(fit_error / plain_error)
        assert max(ratios) < 1.05
        assert sum(ratios) / len(ratios) < 0.8
