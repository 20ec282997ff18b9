"""Packed files: the model that is read has the logits of the one that was written, in the promised size."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from peculiar_cases import INTEGER, PECULIAR, QUICKLY, peculiar_case
from quantized_cases import SMALL, WIDTHS, Bits, Case, config_of, small_case

from bitfront.evaluators.models.digits_models import build_digits
from bitfront.evaluators.models.families import blueprint_of
from bitfront.evaluators.models.sites import trace_sites
from bitfront.evaluators.packed import file as packed
from bitfront.evaluators.packed.file import read_packed, write_packed
from bitfront.evaluators.packed.layout import SizeModel
from bitfront.evaluators.preparation.calibrated_model import CalibratedModel, calibrate_model
from bitfront.evaluators.preparation.recipes import INGREDIENTS, recipe_named
from bitfront.evaluators.quantized.kernels.portable import PortableKernels
from bitfront.evaluators.quantized.prepared import PreparedModel
from bitfront.evaluators.quantizers.registry import observer_named
from bitfront.spaces import SCHEMES, BitConfig, BitfrontError, UserError

NARROW = (2, 3, 5, 8)


@cache
def case(name: str) -> Case:
    return peculiar_case(name, 24) if name in PECULIAR else small_case(name, 64)


@cache
def calibrated(name: str, scheme: str, recipe: str, without: str = "") -> CalibratedModel:
    return case(name).calibrated(scheme, recipe_named(recipe, without.split()))


def prepared(found: CalibratedModel, scheme: str, **options: Any) -> PreparedModel:
    return PreparedModel(
        found.blueprint,
        found.calibration,
        scheme,
        options.pop("widths", WIDTHS),
        options.pop("ranges", "mse"),
        found.layers,
        found.log_steps,
        keep_codes=True,
        **options,
    )


@pytest.fixture
def outlined(monkeypatch: pytest.MonkeyPatch) -> Callable[[torch.nn.Module], None]:
    """Makes a module that has no name of its own the architecture of every name."""

    def outline(module: torch.nn.Module) -> None:
        bare = copy.deepcopy(module).to("meta")
        monkeypatch.setattr(packed, "model_outline", lambda name, classes, architecture: bare)

    return outline


def written(path: Path, model: PreparedModel, config: BitConfig, recipe: str, without: str = "") -> int:
    named = recipe_named(recipe, without.split())
    return write_packed(path, model, config, named, config.to_json({"top1": 71.5}, {"run": "a run"}))


def without_metadata(content: bytes) -> int:
    """Bytes of a safetensors file, were there no metadata in its header."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    del header["__metadata__"]
    text = json.dumps(header, separators=(",", ":"))
    return len(content) - length + math.ceil(len(text) / 8) * 8


def check(path: Path, name: str, scheme: str, recipe: str, bits: Bits, without: str = "") -> None:
    """Writes and reads a case, and compares logits, sizes and what the file says."""
    model = prepared(calibrated(name, scheme, recipe, without), scheme)
    config = config_of(model.blueprint, scheme, bits)
    size = written(path, model, config, recipe, without)
    found = read_packed(path)
    images = case(name).images[:8]
    assert torch.equal(found.assemble()(images), model.assemble(config)(images))
    sites = trace_sites(model.blueprint, scheme)
    content = path.read_bytes()
    named = recipe_named(recipe, without.split())
    assert size == len(content)
    assert without_metadata(content) == SizeModel(model.blueprint, sites, scheme, named).size_bytes(config)
    assert found.config.digest == BitConfig.from_json(config.to_json()).digest
    assert found.document == config.to_json({"top1": 71.5}, {"run": "a run"})
    assert found.recipe == named
    assert found.classes == 7


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", SMALL)
def test_every_kind_of_model(tmp_path: Path, outlined: Any, name: str, scheme: str) -> None:
    outlined(case(name).module)
    check(tmp_path / "m.safetensors", name, scheme, "best", "mixed 1")


@pytest.mark.parametrize("name", QUICKLY)
def test_every_peculiarity(tmp_path: Path, outlined: Any, name: str) -> None:
    outlined(case(name).module)
    check(tmp_path / "m.safetensors", name, "deploy", "best", "mixed 1")


@pytest.mark.parametrize("name", INTEGER)
def test_every_peculiarity_of_an_integer_scheme(tmp_path: Path, outlined: Any, name: str) -> None:
    outlined(case(name).module)
    check(tmp_path / "m.safetensors", name, "fq-vit", "best", "mixed 1")


@pytest.mark.parametrize("name", ["aimv2", "swin v2"])
def test_every_peculiarity_without_a_recipe(tmp_path: Path, outlined: Any, name: str) -> None:
    outlined(case(name).module)
    check(tmp_path / "m.safetensors", name, "deploy", "fq-vit", (8, 8, 8))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("bits", [(8, 8, 8), (4, 8, 8), (8, 4, 8), (4, 4, 4), "mixed 2"], ids=str)
@pytest.mark.parametrize("recipe", ["fq-vit", "best", "runtime"])
@pytest.mark.parametrize("name", ["vit", "swin"])
def test_every_kind_of_configuration(
    tmp_path: Path, outlined: Any, name: str, recipe: str, bits: Bits, scheme: str
) -> None:
    outlined(case(name).module)
    check(tmp_path / "m.safetensors", name, scheme, recipe, bits)


@pytest.mark.parametrize("ingredient", INGREDIENTS)
def test_recipes_without_an_ingredient(tmp_path: Path, outlined: Any, ingredient: str) -> None:
    outlined(case("vit").module)
    check(tmp_path / "m.safetensors", "vit", "deploy", "best", (4, 4, 4), without=ingredient)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_other_widths(tmp_path: Path, outlined: Any, scheme: str) -> None:
    model, recipe = case("vit"), recipe_named("best")
    outlined(model.module)
    images, observer = model.images, observer_named(recipe.observer)
    found = calibrate_model(
        model.blueprint, lambda: [images], NARROW, recipe, observer, scheme, lambda share: None
    )
    whole = prepared(found, scheme, widths=NARROW)
    for bits in ((2, 3, 5), (3, 5, 2), (5, 2, 3)):
        config = config_of(model.blueprint, scheme, bits)
        written(tmp_path / "m.safetensors", whole, config, "best")
        read = read_packed(tmp_path / "m.safetensors").assemble()
        assert torch.equal(read(images[:8]), whole.assemble(config)(images[:8]))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["distilled", "swin"])
def test_other_kernels(tmp_path: Path, outlined: Any, name: str, scheme: str) -> None:
    outlined(case(name).module)
    kernels = PortableKernels(torch.device("cpu"))
    model = prepared(calibrated(name, scheme, "best"), scheme, kernels=kernels)
    config = config_of(model.blueprint, scheme, "mixed 1")
    written(tmp_path / "m.safetensors", model, config, "best")
    found = read_packed(tmp_path / "m.safetensors").assemble(PortableKernels(torch.device("cpu")))
    images = case(name).images[:8]
    assert torch.equal(found(images), model.assemble(config)(images))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("digits_deit", 10),
        ("digits_vit", 7),
        ("digits_swin", 10),
        pytest.param("deit_tiny_distilled_patch16_224.fb_in1k", 1000, marks=pytest.mark.slow),
        pytest.param("swin_tiny_patch4_window7_224", 3, marks=pytest.mark.slow),
    ],
)
def test_architectures_by_name(tmp_path: Path, timm: Any, name: str, classes: int, scheme: str) -> None:
    check_named(tmp_path, timm, name, classes, scheme)


@pytest.mark.parametrize(
    "name",
    [
        "test_vit4",
        "test_vit_relpos",
        pytest.param("eva02_tiny_patch14_224", marks=[pytest.mark.slow, pytest.mark.thorough]),
        pytest.param("vit_small_patch16_dinov3", marks=[pytest.mark.slow, pytest.mark.thorough]),
        pytest.param("vit_small_patch16_rope_mixed_224", marks=[pytest.mark.slow, pytest.mark.thorough]),
        pytest.param("swinv2_tiny_window8_256", marks=[pytest.mark.slow, pytest.mark.thorough]),
    ],
)
def test_peculiar_architectures_by_name(tmp_path: Path, timm: Any, name: str) -> None:
    check_named(tmp_path, timm, name, 6, "deploy")


def check_named(tmp_path: Path, timm: Any, name: str, classes: int, scheme: str) -> None:
    torch.manual_seed(1)
    digits = name.startswith("digits")
    module = build_digits(name, classes=classes) if digits else timm.create_model(name, num_classes=classes)
    blueprint = blueprint_of(name, module.eval())
    images = torch.randn(2, *blueprint.image_shape, generator=torch.Generator().manual_seed(2))
    recipe = recipe_named("fq-vit")
    observer = observer_named(recipe.observer)
    found = calibrate_model(blueprint, lambda: [images], WIDTHS, recipe, observer, scheme, lambda share: None)
    model = prepared(found, scheme, ranges="minmax")  # found at once, however large the model
    config = config_of(blueprint, scheme, "mixed 3")
    written(tmp_path / "m.safetensors", model, config, "fq-vit")
    read = read_packed(tmp_path / "m.safetensors")
    assert torch.equal(read.assemble()(images), model.assemble(config)(images))
    assert read.blueprint.name == name
    assert read.classes == classes
    assert read.data_config == timm.data.resolve_data_config({}, model=module)
    assert read.blueprint.patch.weight.is_meta


def test_the_same_model_is_the_same_file(tmp_path: Path) -> None:
    model = prepared(calibrated("vit", "deploy", "best"), "deploy")
    config = config_of(model.blueprint, "deploy", "mixed 1")
    for name in "abcd":
        written(tmp_path / name, model, config, "best")
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_codes_and_factors_by_hand(tmp_path: Path) -> None:
    """The tensors of one layer, taken out of the bytes of the file with no code of the writer's."""
    model = prepared(calibrated("vit", "deploy", "best"), "deploy")
    config = config_of(model.blueprint, "deploy", (4, 8, 8))
    written(tmp_path / "m.safetensors", model, config, "best")
    content = (tmp_path / "m.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    entry = json.loads(content[8 : 8 + length])["blocks.1.mlp.fc1.weight"]
    begin, end = (8 + length + offset for offset in entry["data_offsets"])
    expected = model.fitted(1, "mlp.fc1", 4, 8).weight
    nibbles = [nibble for byte in content[begin:end] for nibble in (byte & 15, byte >> 4)]
    outputs, inputs = expected.codes.shape
    codes = [nibble - 16 * (nibble > 7) for nibble in nibbles[: outputs * inputs]]
    factors = [nibble + 1 for nibble in nibbles[outputs * inputs :]]
    assert len(factors) == outputs * inputs // 16
    spread = torch.tensor(factors).view(outputs, -1).repeat_interleave(16, 1)
    assert torch.equal(torch.tensor(codes).view(outputs, inputs) * spread, expected.codes.long())
    assert {*codes} == {*range(-8, 8)}
    assert len({*factors}) > 4


def test_a_model_that_kept_no_codes(tmp_path: Path) -> None:
    found = calibrated("vit", "deploy", "fq-vit")
    model = PreparedModel(found.blueprint, found.calibration, "deploy", WIDTHS)
    config = config_of(found.blueprint, "deploy", (8, 8, 8))
    with pytest.raises(BitfrontError, match="were not kept"):
        written(tmp_path / "m.safetensors", model, config, "fq-vit")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("without", "what"),
    [
        ("grouped-weights", r"groups of blocks\.0\.attn\.qkv\.weight"),
        ("gelu-levels", r"levels of blocks\.0\.mlp\.gelu"),
        ("head-channels", "scales of heads"),
        ("log-base", "bases of attention codes"),
    ],
)
def test_another_recipe_is_refused(tmp_path: Path, without: str, what: str) -> None:
    """What the recipe does not have a place for would be missing in the file."""
    model = prepared(calibrated("vit", "deploy", "best"), "deploy")
    assert set(model.log_steps.values()) != {1.0}
    config = config_of(model.blueprint, "deploy", (4, 4, 4))
    with pytest.raises(BitfrontError, match=f"not prepared with this recipe: its {what} do not fit"):
        written(tmp_path / "m.safetensors", model, config, "best", without)
    assert not list(tmp_path.iterdir())


def test_numbers_that_a_file_cannot_hold_exactly(tmp_path: Path) -> None:
    found = calibrated("vit", "deploy", "best")
    model = PreparedModel(
        found.blueprint,
        found.calibration,
        "deploy",
        WIDTHS,
        layers=found.layers,
        log_steps={0: 0.9},
        keep_codes=True,
    )
    config = config_of(found.blueprint, "deploy", (4, 4, 4))
    with pytest.raises(BitfrontError, match="log_steps is no float32 number"):
        written(tmp_path / "m.safetensors", model, config, "best")


def test_configurations_and_documents_must_fit(tmp_path: Path) -> None:
    model = prepared(calibrated("vit", "deploy", "fq-vit"), "deploy")
    config = config_of(model.blueprint, "deploy", (8, 8, 8))
    other = config_of(model.blueprint, "fq-vit", (8, 8, 8))
    with pytest.raises(UserError, match="the bit config is for scheme 'fq-vit'"):
        written(tmp_path / "m.safetensors", model, other, "fq-vit")
    with pytest.raises(ValueError, match="the document is of another configuration"):
        write_packed(tmp_path / "m.safetensors", model, config, recipe_named("fq-vit"), other.to_json())
    narrow = config_of(model.blueprint, "deploy", (3, 8, 8))
    with pytest.raises(
        BitfrontError, match=r"prepared without layer attn\.qkv of encoder 0 at 3-bit weights"
    ):
        written(tmp_path / "m.safetensors", model, narrow, "fq-vit")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    model = prepared(calibrated("vit", "deploy", "fq-vit"), "deploy")
    config = config_of(model.blueprint, "deploy", (8, 8, 8))
    (tmp_path / "folder").mkdir()
    for place in (tmp_path / "nowhere" / "m.safetensors", tmp_path / "folder"):
        with pytest.raises(UserError, match=r"^cannot write .*; choose a folder that can hold it$"):
            written(place, model, config, "fq-vit")
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]
