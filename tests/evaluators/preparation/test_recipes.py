"""Recipes by name, what may be left out of them, and which observer they take."""

from __future__ import annotations

import pytest

from bitfront.evaluators.preparation.recipes import (
    ACTIVATION_LEVELS,
    CLIPPED_WEIGHTS,
    COMPENSATED_ROUNDING,
    FITTED_RANGES,
    GELU_LEVELS,
    GELU_MINIFLOATS,
    HEAD_CHANNELS,
    INGREDIENTS,
    LOG_BASE,
    MINIFLOATS,
    NORM_CHANNELS,
    RECIPES,
    SIGMA_NORMS,
    SIGMA_WEIGHTS,
    VQ_VIT,
    Recipe,
    recipe_named,
)
from bitfront.evaluators.quantizers.registry import OBSERVERS
from bitfront.evaluators.quantizers.weights import WEIGHT_RANGES
from bitfront.spaces import UserError


def test_the_published_method_has_no_ingredient() -> None:
    assert recipe_named("fq-vit").ingredients == ()


def test_gptq_fits_ranges_and_rounding_alone() -> None:
    assert set(recipe_named("gptq").ingredients) == {FITTED_RANGES, CLIPPED_WEIGHTS, COMPENSATED_ROUNDING}


def test_the_best_one_has_every_ingredient_but_those_of_other_rules() -> None:
    assert recipe_named("vq-vit").ingredients == VQ_VIT
    others = (*VQ_VIT, *MINIFLOATS)
    assert recipe_named("best").ingredients == tuple(name for name in INGREDIENTS if name not in others)


def test_the_one_for_runtimes_has_minifloats_instead_of_tables_and_logarithms() -> None:
    best, runtime = (set(recipe_named(name).ingredients) for name in ("best", "runtime"))
    assert runtime - best == set(MINIFLOATS)
    assert best - runtime == {GELU_LEVELS, ACTIVATION_LEVELS, LOG_BASE}
    assert not recipe_named("runtime").codebook_roles
    assert recipe_named("runtime").minifloat_roles == {"gelu", "softmax"}
    assert recipe_named("runtime", [GELU_MINIFLOATS]).minifloat_roles == {"softmax"}


def test_minifloats_go_before_levels() -> None:
    both = Recipe("both", (GELU_LEVELS, ACTIVATION_LEVELS, GELU_MINIFLOATS))
    assert "gelu" not in both.codebook_roles
    assert both.minifloat_roles == {"gelu"}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_knows_its_name_and_keeps_the_order_of_preparation(name: str) -> None:
    recipe = recipe_named(name)
    assert recipe.name == name
    places = [list(INGREDIENTS).index(ingredient) for ingredient in recipe.ingredients]
    assert places == sorted(places)


@pytest.mark.parametrize("ingredient", INGREDIENTS)
def test_each_ingredient_can_be_left_out(ingredient: str) -> None:
    others = {**dict.fromkeys(VQ_VIT, "vq-vit"), **dict.fromkeys(MINIFLOATS, "runtime")}
    whole = RECIPES[others.get(ingredient, "best")]
    recipe = recipe_named(whole.name, [ingredient])
    assert ingredient not in recipe
    assert recipe.name == whole.name
    assert set(recipe.ingredients) == set(whole.ingredients) - {ingredient}
    assert ingredient in whole


def test_what_a_recipe_does_not_have_can_be_left_out_of_it() -> None:
    assert recipe_named("gptq", [HEAD_CHANNELS]) == RECIPES["gptq"]
    assert recipe_named("best", INGREDIENTS).ingredients == RECIPES["fq-vit"].ingredients
    assert recipe_named("best", iter([HEAD_CHANNELS, HEAD_CHANNELS])).without([NORM_CHANNELS]) == Recipe(
        "best", tuple(i for i in RECIPES["best"].ingredients if i not in (HEAD_CHANNELS, NORM_CHANNELS))
    )


def test_unknown_names_are_refused_in_one_line() -> None:
    with pytest.raises(
        UserError, match=r"^unknown recipe 'bets': choose one of best, runtime, gptq, fq-vit, vq-vit$"
    ):
        recipe_named("bets")
    with pytest.raises(
        UserError, match=r"^unknown ingredient 'gelu': choose from rotated-stream, "
    ) as caught:
        recipe_named("best", [NORM_CHANNELS, "gelu"])
    assert "\n" not in str(caught.value)
    assert all(name in str(caught.value) for name in INGREDIENTS)


@pytest.mark.parametrize(
    ("recipe", "left_out", "observer"),
    [
        ("fq-vit", [], "minmax"),
        ("gptq", [], "auto"),
        ("gptq", [FITTED_RANGES], "minmax"),
        ("best", [], "omse"),
        ("vq-vit", [], "sigma"),
        ("vq-vit", [SIGMA_NORMS], "minmax"),
        ("best", [NORM_CHANNELS], "auto"),
        ("best", [FITTED_RANGES], "minmax"),
        ("best", [FITTED_RANGES, NORM_CHANNELS], "minmax"),
    ],
)
def test_fitted_ranges_take_the_rule_that_suits_the_tensors(
    recipe: str, left_out: list[str], observer: str
) -> None:
    assert recipe_named(recipe, left_out).observer == observer
    assert observer in OBSERVERS


@pytest.mark.parametrize(
    ("recipe", "left_out", "ranges"),
    [
        ("fq-vit", [], "minmax"),
        ("best", [], "mse"),
        ("vq-vit", [], "sigma"),
        ("vq-vit", [SIGMA_WEIGHTS], "minmax"),
    ],
)
def test_ranges_of_weights_are_those_of_the_recipe(recipe: str, left_out: list[str], ranges: str) -> None:
    assert recipe_named(recipe, left_out).weight_ranges == ranges
    assert ranges in WEIGHT_RANGES


def test_every_ingredient_says_what_it_is() -> None:
    for text in INGREDIENTS.values():
        assert text[0].islower() or text.startswith("GELU")
        assert "\n" not in text
        assert not text.endswith(".")
