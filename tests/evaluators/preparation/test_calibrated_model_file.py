"""What is kept of a calibrated model makes an equal one again, and nothing else does."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peculiar_cases import peculiar_case

from bitfront.evaluators.context import context as contexts
from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.models.families import blueprint_of
from bitfront.evaluators.preparation import calibrated_model as calibrated_models
from bitfront.evaluators.preparation import calibrated_model_file as keeping
from bitfront.evaluators.preparation.calibrated_model import CalibratedModel, calibrate_model
from bitfront.evaluators.preparation.calibrated_model_file import from_entry, to_entry
from bitfront.evaluators.preparation.recipes import RECIPES
from bitfront.evaluators.preparation.store.fingerprint import fingerprint
from bitfront.evaluators.preparation.store.store import DamagedEntryError, PreparationStore
from bitfront.evaluators.quantizers.registry import observer_named
from bitfront.spaces import BitConfig

CPU = torch.device("cpu")
SMALL = EvaluationSpec(
    model="digits_deit",
    scheme="fq-vit",
    calibration_images=8,
    search_images=10,
    test_images=4,
    batch_size=10,
    threads=1,
)
# Prepared in half the time: the keys of what is kept are the same matter with any recipe.
QUICK = dataclasses.replace(SMALL, recipe="gptq")
SECOND_PROCESS = """
import json, sys
from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.preparation import calibrated_model
from bitfront.evaluators.context.spec import EvaluationSpec

def refuse(*arguments):
    raise AssertionError("fitted again")

calibrated_model.fit_layers = refuse
EvaluationContext.from_spec(EvaluationSpec.from_json(json.loads(sys.argv[1])))
"""


def lay(
    blueprint: Blueprint, images: torch.Tensor, recipe: str = "best", scheme: str = "fq-vit"
) -> CalibratedModel:
    return calibrate_model(
        blueprint,
        lambda: images.split(3),
        (3, 4, 8),
        RECIPES[recipe],
        observer_named(RECIPES[recipe].observer),
        scheme,
        lambda share: None,
    )


def content(calibrated: CalibratedModel) -> str:
    """A fingerprint of all that a calibrated model holds."""
    calibration = calibrated.calibration
    tables = (calibration.affine, calibration.power_of_two, calibration.outermost, calibration.codebooks)
    by_name = [{repr(key): value for key, value in table.items()} for table in tables]
    layers = {repr(key): layer for key, layer in calibrated.layers.items()}
    kinds = {repr(key): type(grid).__name__ for key, grid in calibration.affine.items()}
    return fingerprint([calibrated.blueprint, by_name, kinds, layers, calibrated.log_steps])


def through_json(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(document))
    return found


@pytest.fixture(scope="module")
def laid(blueprint: Blueprint, images: torch.Tensor) -> CalibratedModel:
    return lay(blueprint, images)


@pytest.fixture
def entry(laid: CalibratedModel, blueprint: Blueprint) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    tensors, document = to_entry(laid, blueprint)
    return tensors, through_json(document)


class TestRoundTrip:
    @pytest.mark.parametrize("recipe", RECIPES)
    @pytest.mark.parametrize("scheme", ["fq-vit", "deploy"])
    def test_it_is_exact(self, blueprint: Blueprint, images: torch.Tensor, recipe: str, scheme: str) -> None:
        before = lay(blueprint, images, recipe, scheme)
        tensors, document = to_entry(before, blueprint)
        assert content(from_entry(tensors, through_json(document), blueprint, CPU)) == content(before)

    @pytest.mark.parametrize("name", ["siglip", "rope mixed", "inner norms", "massive", "swin v2"])
    def test_so_it_is_of_peculiar_models(self, name: str) -> None:
        case = peculiar_case(name, 6)
        before = lay(case.blueprint, case.images, scheme="deploy")
        tensors, document = to_entry(before, case.blueprint)
        after = from_entry(tensors, through_json(document), case.blueprint, CPU)
        assert content(after) == content(before)

    def test_windows_and_merges_come_from_the_float_model(self, small_swin: Any) -> None:
        blueprint = blueprint_of("small", small_swin(0))
        pictures = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(1))
        before = lay(blueprint, pictures)
        tensors, document = to_entry(before, blueprint)
        after = from_entry(tensors, through_json(document), blueprint, CPU)
        assert content(after) == content(before)
        assert not [name for name in tensors if "window" in name or name.endswith(".rows")]
        window = after.blueprint.encoders[1].window
        assert window is not None
        assert window.rows is blueprint.encoders[1].window.rows  # type: ignore[union-attr]

    def test_a_model_that_nothing_equalized_is_not_kept(
        self, blueprint: Blueprint, images: torch.Tensor
    ) -> None:
        tensors, document = to_entry(lay(blueprint, images, "gptq"), blueprint)
        assert document["blueprint"] == []
        assert not [name for name in tensors if name.startswith("blueprint")]

    def test_names_can_be_read(self, entry: tuple[dict[str, torch.Tensor], dict[str, Any]]) -> None:
        tensors, _ = entry
        assert tensors["layers.2.attn.qkv.w3a8.codes"].dtype == torch.int8
        assert {"blueprint.encoders.0.qkv.weight", "exponents.blocks.1.residual1"} <= set(tensors)
        assert all(tensor.is_contiguous() for tensor in tensors.values())


class TestDamage:
    @pytest.mark.parametrize(
        "change",
        [
            {"format": 0},
            {"format": None},
            {"affine": [["image", 8, 0.1]]},
            {"affine": [["image", 8, None, 0, 255]]},
            {"affine": None},
            {"minifloats": None},
            {"power_of_two": [["nowhere", 0.1, 0, 255]]},
            {"outermost": {"image": 0.1}},
            {"levels": [["nowhere", 4]]},
            {"layers": [[99, "attn.qkv", 4, 4, True]]},
            {"layers": [[0, "attn.q", 4, 4, True]]},
            {"layers": [[0, "attn.qkv", 5, 4, False]]},
            {"layers": [[0, "attn.qkv", 8, 4, True]]},
            {"layers": [[0, "attn.qkv", 4, 4]]},
            {"layers": 3},
            {"log_steps": [[0, "wide"]]},
            {"blueprint": ["blueprint.encoders.0.window.bias", "blueprint.embed_norm.bias"]},
        ],
        ids=str,
    )
    def test_a_document_that_is_no_calibration_is_refused(
        self,
        entry: tuple[dict[str, torch.Tensor], dict[str, Any]],
        blueprint: Blueprint,
        change: dict[str, Any],
    ) -> None:
        tensors, document = entry
        with pytest.raises(DamagedEntryError):
            from_entry(tensors, {**document, **change}, blueprint, CPU)

    @pytest.mark.parametrize("part", ["format", "blueprint", "affine", "power_of_two", "outermost", "levels"])
    def test_a_document_without_a_part_is_refused(
        self, entry: tuple[dict[str, torch.Tensor], dict[str, Any]], blueprint: Blueprint, part: str
    ) -> None:
        tensors, document = entry
        with pytest.raises(DamagedEntryError):
            from_entry(
                tensors, {key: value for key, value in document.items() if key != part}, blueprint, CPU
            )

    @pytest.mark.parametrize(
        "name",
        [
            "layers.0.attn.qkv.w4a4.codes",
            "layers.0.attn.qkv.w4a4.factors",
            "layers.0.mlp.fc1.w8a3.bias",
            "blueprint.encoders.1.norm2.weight",
        ],
    )
    def test_tensors_of_another_model_are_refused(
        self, entry: tuple[dict[str, torch.Tensor], dict[str, Any]], blueprint: Blueprint, name: str
    ) -> None:
        tensors, document = entry
        for other in ({name: tensors[name][:-1]}, {name: tensors[name].double()}):
            with pytest.raises(DamagedEntryError, match=name):
                from_entry({**tensors, **other}, document, blueprint, CPU)
        with pytest.raises(DamagedEntryError, match=name):
            from_entry(
                {key: value for key, value in tensors.items() if key != name}, document, blueprint, CPU
            )


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("BITFRONT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def laying(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one with every model that is calibrated."""
    laid: list[str] = []
    original = calibrated_models.fit_layers

    def counted(blueprint: Blueprint, *arguments: Any) -> Any:
        laid.append(blueprint.name)
        return original(blueprint, *arguments)

    monkeypatch.setattr(calibrated_models, "fit_layers", counted)
    return laid


def logits(context: EvaluationContext) -> torch.Tensor:
    """Logits of a few images at several precisions."""
    spec, (images, _) = context.spec, next(context.images("search").batches(10))
    return torch.stack(
        [
            context.prepared.assemble(BitConfig.uniform(spec.model, spec.scheme, context.encoders, bits))(
                images
            )
            for bits in ((8, 8, 8), (4, 8, 8), (8, 4, 8), (4, 4, 4))
        ]
    )


class TestCache:
    @pytest.mark.parametrize(
        "change", [{}, {"scheme": "deploy"}, {"recipe": "gptq"}, {"recipe": "fq-vit"}], ids=str
    )
    def test_logits_are_the_same_without_it_with_it_empty_and_from_it(
        self, cache: Path, laying: list[str], monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
    ) -> None:
        spec = dataclasses.replace(SMALL, **change)
        with monkeypatch.context() as patch:
            patch.setenv("BITFRONT_CACHE", "off")
            without = logits(EvaluationContext.from_spec(spec))
        assert not cache.exists()
        empty = logits(EvaluationContext.from_spec(spec))
        assert len(list(cache.iterdir())) == 1
        assert len(laying) == 2
        assert torch.equal(logits(EvaluationContext.from_spec(spec)), empty)
        assert torch.equal(empty, without)
        assert len(laying) == 2

    def test_progress_ends_at_one_and_the_log_says_where_from(
        self, cache: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, logger=keeping.__name__)
        cold, warm = [], []
        EvaluationContext.from_spec(QUICK, cold.append)
        EvaluationContext.from_spec(QUICK, warm.append)
        assert len(cold) > 12
        assert cold == sorted(cold)
        assert (cold[-1], warm) == (1.0, [1.0])
        laid, taken = caplog.messages
        assert laid.startswith("prepared digits_deit in ")
        assert taken.endswith(f"of digits_deit from {cache}")

    def test_other_settings_are_prepared_anew(self, cache: Path, laying: list[str]) -> None:
        changes: list[dict[str, Any]] = [
            {},
            {"scheme": "deploy"},
            {"widths": (4, 6)},
            {"recipe": "best"},
            {"recipe": "best", "without": ("log-base",)},
            {"observer": "minmax"},
            {"seed": 1},
            {"calibration_images": 9},
        ]
        for count, change in enumerate(changes, 1):
            EvaluationContext.from_spec(dataclasses.replace(QUICK, **change))
            assert len(laying) == len(list(cache.iterdir())) == count, change

    def test_settings_that_do_not_matter_are_not(self, cache: Path, laying: list[str]) -> None:
        EvaluationContext.from_spec(QUICK)
        EvaluationContext.from_spec(
            dataclasses.replace(QUICK, widths=(4,), threads=2, batch_size=5, search_images=20)
        )
        assert len(laying) == 1

    def test_other_threads_of_the_machine_prepare_anew(
        self, cache: Path, laying: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        EvaluationContext.from_spec(QUICK)
        monkeypatch.setattr(contexts, "preparing_threads", lambda blueprint: 2)
        EvaluationContext.from_spec(QUICK)
        assert len(laying) == len(list(cache.iterdir())) == 2

    def test_other_code_prepares_anew(
        self, cache: Path, laying: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        EvaluationContext.from_spec(QUICK)
        monkeypatch.setattr(keeping, "sources_digest", lambda: "other")
        EvaluationContext.from_spec(QUICK)
        assert len(laying) == 2

    def test_a_damaged_document_in_a_whole_file_is_replaced(self, cache: Path, laying: list[str]) -> None:
        expected = logits(EvaluationContext.from_spec(QUICK))
        (path,) = cache.iterdir()
        store, key = PreparationStore(cache), path.stem
        entry = store.load(key)
        assert entry is not None
        tensors, document = entry
        whole = copy.deepcopy(document)
        del document["affine"]
        store.save(key, tensors, document)
        assert torch.equal(logits(EvaluationContext.from_spec(QUICK)), expected)
        assert len(laying) == 2
        mended = store.load(key)
        assert mended is not None
        assert mended[1] == whole

    @pytest.mark.slow
    def test_another_process_finds_what_this_one_kept(self, cache: Path) -> None:
        command = [sys.executable, "-c", SECOND_PROCESS, QUICK.canonical()]
        empty = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "fitted again" in empty.stderr  # so that the next one shows something
        EvaluationContext.from_spec(QUICK)
        subprocess.run(command, capture_output=True, check=True)
