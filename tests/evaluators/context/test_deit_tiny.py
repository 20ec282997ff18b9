"""DeiT-Tiny with its real weights on real photographs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from shared_data import SHARED

from bitfront.evaluators.context.context import EvaluationContext, SplitName
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.data.images import PreprocessedImages
from bitfront.evaluators.preparation import calibrated_model, layer_fit
from bitfront.evaluators.tasks.quality import PairedComparison, standard_error
from bitfront.spaces import SCHEMES, BitConfig

WEIGHTS = SHARED / "deit_tiny" / "deit_tiny_patch16_224.pth"
PHOTOS = SHARED / "imagenet-compatible" / "labels.csv"

pytestmark = [
    pytest.mark.data,
    pytest.mark.slow,
    pytest.mark.thorough,
    pytest.mark.timeout(1200),  # one busy core prepares a model of this size for minutes
    pytest.mark.skipif(
        not (WEIGHTS.is_file() and PHOTOS.is_file()), reason="the shared data folder is absent"
    ),
]


def called_once(function: Callable[..., object]) -> Callable[..., object]:
    found: list[object] = []

    def call(*arguments: object) -> object:
        if not found:
            found.append(function(*arguments))
        return found[0]

    return call


@pytest.fixture(scope="module")
def photographs() -> Iterator[dict[SplitName, PreprocessedImages]]:
    """Those that were decoded; what both schemes begin with is found once: they share model and recipe."""
    float_run = EvaluationContext._float_run
    found: dict[SplitName, tuple[torch.Tensor, float]] = {}

    def run_once(context: EvaluationContext, split: SplitName) -> tuple[torch.Tensor, float]:
        if split not in found:
            found[split] = float_run(context, split)
        return found[split]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EvaluationContext, "_float_run", run_once)
        for module, name in (
            (calibrated_model, "equalize"),
            (calibrated_model, "search_log_steps"),
            (layer_fit, "token_weights"),
        ):
            patch.setattr(module, name, called_once(getattr(module, name)))
        yield {}


@pytest.fixture(scope="module", params=SCHEMES)
def context(
    request: pytest.FixtureRequest, photographs: dict[SplitName, PreprocessedImages]
) -> EvaluationContext:
    """Calibrated on 64 photographs; half of the other 936 are looked at."""
    context = EvaluationContext.from_spec(
        EvaluationSpec(
            model="deit_tiny_patch16_224",
            checkpoint=str(WEIGHTS),
            data=str(PHOTOS),
            scheme=request.param,
            calibration_images=64,
            batch_size=16,
            threads=1,
        )
    )
    for split, images in photographs.items():
        context.take_images(split, images)
    photographs["test"] = context.images("test")
    return context


def uniform(context: EvaluationContext, bits: tuple[int, int, int]) -> BitConfig:
    return BitConfig.uniform(context.spec.model, context.spec.scheme, context.encoders, bits)


def test_the_float_model_recognises_photographs(context: EvaluationContext) -> None:
    found = context.float_quality("test")
    assert found.images == 468
    assert found["top1"] > 80.0
    assert found["top5"] > 90.0


# By scheme and configuration the largest drop in percentage points and the smallest share of equal
# predictions. Another CPU rounds sums of floats in another order, which moves as many images as 8-bit
# quantization does: a drop may exceed its limit by three standard errors, an agreement miss it by two.
LIMITS = {
    "deploy": {
        (8, 8, 8): (0.3, 97.0),
        (8, 8, 4): (0.6, 95.0),
        (4, 8, 8): (1.5, 91.0),
        (8, 4, 8): (4.0, 87.0),
        (4, 4, 4): (9.0, 83.0),
    },
    "fq-vit": {
        (8, 8, 8): (0.8, 95.0),
        (8, 8, 4): (0.8, 94.0),
        (4, 8, 8): (1.5, 90.0),
        (8, 4, 8): (4.0, 86.0),
        (4, 4, 4): (9.0, 82.0),
    },
}


@pytest.mark.parametrize("bits", LIMITS["deploy"])
def test_quantized_models_stay_close_to_it(context: EvaluationContext, bits: tuple[int, int, int]) -> None:
    drop, agreement = LIMITS[context.spec.scheme][bits]
    seen = context.quality(uniform(context, bits), "test")
    assert seen.images == 468
    found = PairedComparison(seen.images, seen.lost, seen.won)
    assert -found.difference <= drop + 3 * found.difference_standard_error
    assert seen["agreement"] >= agreement - 2 * standard_error(agreement, seen.images)


def test_the_packed_file_is_a_quarter_of_the_float_file(context: EvaluationContext) -> None:
    assert 3.5 < context.size.float_bytes() / context.size.size_bytes(uniform(context, (8, 8, 8))) < 4.0
