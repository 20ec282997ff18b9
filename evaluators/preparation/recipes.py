"""Quantization recipes: which ingredients a model is prepared with, by name.

An ingredient changes how grids and weights are chosen, never what a scheme computes with them: every recipe
runs on the same integer kernels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bitfront.spaces import UserError

ROTATED_STREAM = "rotated-stream"
NORM_CHANNELS = "norm-channels"
HEAD_CHANNELS = "head-channels"
HIDDEN_CHANNELS = "hidden-channels"
FITTED_RANGES = "fitted-ranges"
SIGMA_NORMS = "sigma-norms"
GELU_LEVELS = "gelu-levels"
ACTIVATION_LEVELS = "activation-levels"
LOG_BASE = "log-base"
GELU_MINIFLOATS = "gelu-minifloats"
ATTENTION_MINIFLOATS = "attention-minifloats"
SIGMA_WEIGHTS = "sigma-weights"
CLIPPED_WEIGHTS = "clipped-weights"
GROUPED_WEIGHTS = "grouped-weights"
COMPENSATED_ROUNDING = "compensated-rounding"
TOKEN_WEIGHTS = "token-weights"  # noqa: S105 - not a password
REGRESSED_WEIGHTS = "regressed-weights"
CORRECTED_BIASES = "corrected-biases"

# In the order in which a preparation takes them.
INGREDIENTS: dict[str, str] = {
    ROTATED_STREAM: "the residual stream in a rotated basis in which no channel sticks out "
    "(QuaRot, arXiv 2404.00456, for LayerNorm)",
    NORM_CHANNELS: "a scale and an offset for each channel of a LayerNorm output, folded into its affine "
    "part and the weights that follow (RepQ-ViT, arXiv 2212.08254)",
    HEAD_CHANNELS: "queries, keys and values balanced, centred and rotated within each head, folded into "
    "the weights around them",
    HIDDEN_CHANNELS: "hidden channels of massive activations, where there are some, scaled down to the "
    "others, taken back by the weights that follow (scheme deploy)",
    FITTED_RANGES: "activation ranges by squared error, by the rule that fits each kind of tensor "
    "(OMSE, arXiv 1902.06822)",
    SIGMA_NORMS: "ranges of LayerNorm outputs by their largest magnitude and a fitted multiple of their "
    "standard deviation, the others' whole (VQ-ViT)",
    GELU_LEVELS: "GELU outputs of up to 4 bits on the levels that fit their one-sided tail (Lloyd-Max), "
    "read from a table of 8-bit values",
    ACTIVATION_LEVELS: "the other activations of up to 4 bits on such levels, too; leave it out for hardware "
    "that multiplies 4-bit integers",
    LOG_BASE: "the base of 4-bit logarithmic attention codes searched for each encoder "
    "(AdaLog, arXiv 2407.12951)",
    GELU_MINIFLOATS: "GELU outputs of up to 4 bits on floats of two significant bits, to which an addition "
    "and a subtraction round",
    ATTENTION_MINIFLOATS: "attention of up to 4 bits on such floats instead of powers of a base, multiplied "
    "as 8-bit integers",
    SIGMA_WEIGHTS: "scales of output channels by their largest weight and a fitted multiple of their "
    "standard deviation (VQ-ViT)",
    CLIPPED_WEIGHTS: "weight ranges of each output channel clipped for the least squared error",
    GROUPED_WEIGHTS: "an integer factor for each group of 16 inputs of narrow weights, multiplied into 8-bit "
    "integers before any product",
    COMPENSATED_ROUNDING: "rounding errors of weights made up for by later inputs (GPTQ, arXiv 2210.17323), "
    "for the quantized inputs that the layer will see",
    TOKEN_WEIGHTS: "tokens weighted by how much their error moves the prediction "
    "(Fisher information as in FIMA-Q, arXiv 2506.11543)",
    REGRESSED_WEIGHTS: "weights corrected by ridge regression for the error of narrow activations "
    "(ERQ, arXiv 2407.06794)",
    CORRECTED_BIASES: "biases that take back the mean error of quantized weights and activations "
    "(arXiv 1906.04721)",
}


# What VQ-ViT chooses by other rules than the ingredients of recipe `best`.
VQ_VIT = (SIGMA_NORMS, SIGMA_WEIGHTS)
# What costs runtimes that multiply 8-bit integers little, and what it stands in the place of.
MINIFLOATS = (GELU_MINIFLOATS, ATTENTION_MINIFLOATS)
_SLOW_IN_RUNTIMES = (GELU_LEVELS, ACTIVATION_LEVELS, LOG_BASE)


@dataclass(frozen=True)
class Recipe:
    """A named set of ingredients.

    Attributes:
        name: As given by the user.
        ingredients: Names from :data:`INGREDIENTS`, in their order.
    """

    name: str
    ingredients: tuple[str, ...]

    def __contains__(self, ingredient: str) -> bool:
        """Whether the recipe has an ingredient."""
        return ingredient in self.ingredients

    @property
    def observer(self) -> str:
        """Name of the observer of its activation ranges."""
        if SIGMA_NORMS in self:
            return "sigma"
        if FITTED_RANGES not in self:
            return "minmax"
        # Equalized channels leave no outliers that a rule of their own would have to keep.
        return "omse" if NORM_CHANNELS in self else "auto"

    @property
    def weight_ranges(self) -> str:
        """How the range of a weight is found; see :func:`quantize_weight`."""
        if CLIPPED_WEIGHTS in self:
            return "mse"
        return "sigma" if SIGMA_WEIGHTS in self else "minmax"

    @property
    def codebook_roles(self) -> frozenset[str]:
        """Roles of the activation sites that take a codebook where they are narrow (see ``site_roles``)."""
        gelu = {"gelu"} if GELU_LEVELS in self and GELU_MINIFLOATS not in self else set()
        others = {"norm1", "qkv", "context", "norm2"} if ACTIVATION_LEVELS in self else set()
        return frozenset(gelu | others)

    @property
    def minifloat_roles(self) -> frozenset[str]:
        """Roles of the sites that are on floats of two significant bits where they are narrow."""
        gelu = {"gelu"} if GELU_MINIFLOATS in self else set()
        return frozenset(gelu | ({"softmax"} if ATTENTION_MINIFLOATS in self else set()))

    def without(self, left_out: Iterable[str]) -> Recipe:
        """The same recipe without some ingredients.

        Raises:
            UserError: One of them is unknown.
        """
        names = tuple(left_out)
        for name in names:
            if name not in INGREDIENTS:
                raise UserError(f"unknown ingredient {name!r}: choose from {', '.join(INGREDIENTS)}")
        return Recipe(self.name, tuple(i for i in self.ingredients if i not in names))


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("best", tuple(name for name in INGREDIENTS if name not in (*VQ_VIT, *MINIFLOATS))),
        Recipe("runtime", tuple(name for name in INGREDIENTS if name not in (*VQ_VIT, *_SLOW_IN_RUNTIMES))),
        Recipe("gptq", (FITTED_RANGES, CLIPPED_WEIGHTS, COMPENSATED_ROUNDING)),
        # The published method (arXiv 2111.13824): min-max ranges, weights rounded to nearest.
        Recipe("fq-vit", ()),
        Recipe("vq-vit", VQ_VIT),
    )
}


def recipe_named(name: str, without: Iterable[str] = ()) -> Recipe:
    """The recipe of that name less some ingredients; raises :class:`UserError` for unknown names."""
    if name not in RECIPES:
        raise UserError(f"unknown recipe {name!r}: choose one of {', '.join(RECIPES)}")
    return RECIPES[name].without(without)
