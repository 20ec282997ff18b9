"""An encoder's graph computes the evaluator's numbers, in either runtime and as either dialect."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from graph_cases import DIALECT_NAMES, IMAGES, RUNTIMES, bits_of, case, model_session, prepared, steps
from quantized_cases import Bits

from bitfront.evaluators.deployment.graph.operands import DIALECTS

for runtime in RUNTIMES:
    pytest.importorskip(runtime)

NARROW = (2, 3, 5, 6, 7)
# Where floats lie on a tie, two implementations round codes to different sides, in a few of the tokens.
LARGEST_DEVIATION, LARGEST_FLIPPED = 0.02, 0.15


def check(
    folder: Path,
    name: str,
    recipe: str,
    bits: Bits,
    dialect: str,
    runtime: str,
    widths: tuple[int, ...] = (4, 8),
    deviation: float = LARGEST_DEVIATION,
) -> None:
    model = prepared(name, recipe, widths)
    found = steps(model, bits_of(model, bits), DIALECTS[dialect], runtime, folder, case(name).images[:IMAGES])
    assert len(found) == len(model.blueprint.encoders)
    for index, step in enumerate(found):
        assert step.got.shape == step.wanted.shape
        assert step.deviation < deviation, index
        assert step.flipped < LARGEST_FLIPPED, index


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("dialect", DIALECT_NAMES)
@pytest.mark.parametrize("bits", [(8, 8, 8), (4, 4, 4), "mixed 1"], ids=str)
@pytest.mark.parametrize("name", ["vit", "swin"])
def test_every_dialect_in_every_runtime(
    tmp_path: Path, name: str, bits: Bits, dialect: str, runtime: str
) -> None:
    check(tmp_path, name, "best", bits, dialect, runtime)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("bits", [(4, 8, 8), (8, 4, 8), (8, 8, 4)], ids=str)
def test_every_kind_of_bits(tmp_path: Path, bits: Bits, runtime: str) -> None:
    check(tmp_path, "vit", "best", bits, runtime, runtime)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("bits", [(4, 4, 4), "mixed 2"], ids=str)
@pytest.mark.parametrize("recipe", ["gptq", "fq-vit"])
def test_every_recipe(tmp_path: Path, recipe: str, bits: Bits, runtime: str) -> None:
    """Uniform narrow grids are clipped, which those with levels are not."""
    check(tmp_path, "vit", recipe, bits, runtime, runtime)
    assert not prepared("vit", recipe).calibration.codebooks
    assert prepared("vit", "best").calibration.codebooks


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("dialect", DIALECT_NAMES)
@pytest.mark.parametrize(("name", "bits"), [("vit", (4, 4, 4)), ("swin", (8, 4, 4)), ("vit", "mixed 2")])
def test_minifloats(tmp_path: Path, name: str, bits: Bits, dialect: str, runtime: str) -> None:
    check(tmp_path, name, "runtime", bits, dialect, runtime)


def test_minifloats_are_multiplied_as_integers(tmp_path: Path) -> None:
    model = prepared("vit", "runtime")
    for runtime in RUNTIMES:
        found = model_session(model, bits_of(model, (4, 4, 4)), DIALECTS[runtime], runtime, tmp_path)
        assert found.kernels().on_integers == found.kernels().total


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("bits", NARROW)
@pytest.mark.parametrize("recipe", ["best", "fq-vit", "runtime"])
def test_every_width(tmp_path: Path, recipe: str, bits: int, runtime: str) -> None:
    # Few and large codes: a single one that is rounded to the other side moves its token far.
    most = LARGEST_DEVIATION if bits > 3 else 0.2
    check(tmp_path, "vit", recipe, (bits,) * 3, runtime, runtime, NARROW, most)


def test_what_is_told_apart(tmp_path: Path) -> None:
    """The bounds above would catch a model of other bits."""
    model, images = prepared("vit", "best"), case("vit").images[:IMAGES]
    found = steps(
        model, bits_of(model, (8, 8, 8)), DIALECTS["onnxruntime"], "onnxruntime", tmp_path, images, [0]
    )
    others = steps(
        model, bits_of(model, (4, 8, 8)), DIALECTS["onnxruntime"], "onnxruntime", tmp_path, images, [0]
    )
    assert torch.equal(found[0].entering, others[0].entering)
    [step] = others
    assert (step.got - found[0].wanted).std() > 0.04 * (step.wanted - step.entering).std()
    assert ((step.got - found[0].wanted).abs().amax(-1) > 1e-3).float().mean() > 0.9
