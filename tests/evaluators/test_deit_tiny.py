"""DeiT-Tiny with its real weights on real photographs."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitfront.evaluators.context import EvaluationContext
from bitfront.evaluators.spec import EvaluationSpec
from bitfront.spaces import BitConfig, Triple

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
WEIGHTS = SHARED / "deit_tiny" / "deit_tiny_patch16_224.pth"
PHOTOS = SHARED / "imagenet-compatible" / "labels.csv"

pytestmark = [
    pytest.mark.data,
    pytest.mark.slow,
    pytest.mark.skipif(
        not (WEIGHTS.is_file() and PHOTOS.is_file()), reason="the shared data folder is absent"
    ),
]


@pytest.fixture(scope="module")
def context() -> EvaluationContext:
    return EvaluationContext.from_spec(
        EvaluationSpec(
            model="deit_tiny_patch16_224",
            checkpoint=str(WEIGHTS),
            data=str(PHOTOS),
            calibration_images=64,
            search_images=100,
            test_images=100,
        )
    )


def test_the_float_model_recognises_photographs(context: EvaluationContext) -> None:
    found = context.float_accuracy("test")
    assert found.images == 100
    assert found.top1 > 80.0
    assert found.top5 > 90.0


# Agreement with the float model varies less between splits than accuracy does.
@pytest.mark.parametrize(("bits", "agreement"), [((8, 8, 8), 90.0), ((8, 8, 4), 87.0), ((4, 8, 8), 82.0)])
def test_quantized_models_agree_with_it(context: EvaluationContext, bits: Triple, agreement: float) -> None:
    config = BitConfig.uniform(context.spec.model, "fq-vit", context.encoders, bits)
    assert context.accuracy(config, "test").agreement >= agreement


def test_the_packed_file_is_a_quarter_of_the_float_file(context: EvaluationContext) -> None:
    config = BitConfig.uniform(context.spec.model, "fq-vit", context.encoders, (8, 8, 8))
    assert 3.5 < context.size.float_bytes() / context.size.size_bytes(config) < 4.0
