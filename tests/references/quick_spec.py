"""An evaluation spec that is prepared in seconds, for tests of what is done with it."""

from bitfront.evaluators.context.spec import EvaluationSpec

QUICK = EvaluationSpec(
    model="digits_deit",
    scheme="fq-vit",
    recipe="fq-vit",
    calibration_images=32,
    search_images=64,
    test_images=32,
    batch_size=64,
    threads=1,
)
