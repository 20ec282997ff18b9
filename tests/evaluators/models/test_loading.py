"""Loading models: the embedded default, names, families, weights of every origin."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from shared_data import SHARED

from bitfront.evaluators.data.image_options import ImageOptions
from bitfront.evaluators.data.images import load_images
from bitfront.evaluators.data.registry import open_source
from bitfront.evaluators.models import digits_models
from bitfront.evaluators.models.digits_models import build_digits
from bitfront.evaluators.models.families import blueprint_of
from bitfront.evaluators.models.float_forward import forward
from bitfront.evaluators.models.loading import load_model
from bitfront.evaluators.models.transformers_names import SAME_MODELS
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.spaces import BitfrontError, UserError

DEIT_TINY = SHARED / "deit_tiny" / "deit_tiny_patch16_224.pth"
PHOTOS = SHARED / "imagenet-compatible" / "labels.csv"
needs_shared_data = pytest.mark.skipif(not DEIT_TINY.is_file(), reason="the shared data folder is absent")


@torch.inference_mode()
def top1(module: torch.nn.Module, data: str, indices: list[int], config: dict[str, object]) -> float:
    images = load_images(open_source(data), indices, config)
    hits = sum(int((module(batch).argmax(-1) == labels).sum()) for batch, labels in images.batches(50))
    return 100.0 * hits / len(images)


def refused(match: str, name: str, **options: object) -> str:
    with pytest.raises(UserError, match=match) as caught:
        load_model(name, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestEmbeddedDefault:
    def test_held_out_accuracy(self) -> None:
        loaded = load_model("digits_deit")
        source = open_source("digits")
        assert source.partition is not None
        held_out = [i for i, side in enumerate(source.partition) if side == "held-out"]
        assert top1(loaded.module, "digits", held_out, loaded.data_config) >= 98.5

    def test_it_is_ready_to_be_evaluated(self) -> None:
        loaded = load_model("digits_deit")
        assert loaded.classes == 10
        assert loaded.weights == "embedded"
        assert loaded.data_config["input_size"] == (1, 16, 16)
        assert not loaded.module.training
        assert len(loaded.module.blocks) == 12  # type: ignore[arg-type]
        for parameter in loaded.module.parameters():
            assert parameter.dtype == torch.float32
            assert not parameter.requires_grad

    def test_the_file_is_small_and_says_where_it_comes_from(self) -> None:
        path = Path(digits_models.__file__).parent / "weights" / "digits_deit.safetensors"
        assert path.stat().st_size <= 3_000_000
        with safe_open(path, framework="pt") as file:
            header = file.metadata()
            assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.float16}  # noqa: SIM118
        assert header["architecture"] == "digits_deit"
        assert float(header["held_out_top1"]) >= 98.5
        assert {"seed", "epochs"} <= set(header)

    def test_a_checkpoint_replaces_the_weights(self, tmp_path: Path) -> None:
        module = build_digits("digits_deit")
        save_file(module.state_dict(), tmp_path / "mine.safetensors")
        loaded = load_model("digits_deit", checkpoint=tmp_path / "mine.safetensors")
        assert torch.equal(loaded.module.state_dict()["head.weight"], module.state_dict()["head.weight"])
        assert loaded.weights == f"checkpoint {tmp_path / 'mine.safetensors'}"

    def test_it_has_ten_classes(self) -> None:
        refused("digits_deit has 10 classes; expected 100", "digits_deit", num_classes=100)


class TestDigitsModels:
    @pytest.mark.parametrize("name", ["digits_vit", "digits_swin"])
    def test_they_have_no_weights_of_their_own(self, name: str) -> None:
        expected = f"{name} has no embedded weights: make some with `bitfront train --model {name}`"
        refused(expected, name)
        refused(expected, name, pretrained=True)

    @pytest.mark.parametrize("name", ["digits_vit", "digits_swin"])
    def test_trained_ones_recognise_digits(self, name: str, digits_checkpoint: Callable[[str], Path]) -> None:
        loaded = load_model(name, checkpoint=digits_checkpoint(name))
        source = open_source("digits")
        assert source.partition is not None
        held_out = [i for i, side in enumerate(source.partition) if side == "held-out"]
        assert top1(loaded.module, "digits", held_out, loaded.data_config) > 85.0
        blueprint = blueprint_of(name, loaded.module)
        images = torch.randn(4, *blueprint.image_shape, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            torch.testing.assert_close(
                forward(blueprint, images), loaded.module(images), rtol=1e-4, atol=1e-4
            )

    def test_their_structures(self) -> None:
        vit = blueprint_of("digits_vit", build_digits("digits_vit").requires_grad_(False))
        assert (vit.image_shape, vit.patch_size, vit.tokens, len(vit.prefix)) == ((1, 20, 20), (5, 5), 19, 3)
        assert (vit.readout.average, vit.readout.norm_first) == (3, False)
        swin = blueprint_of("digits_swin", build_digits("digits_swin").requires_grad_(False))
        assert [encoder.tokens for encoder in swin.encoders] == [64, 64, 16, 16, 16, 16]
        shifted = [
            encoder.window is not None and encoder.window.mask is not None for encoder in swin.encoders
        ]
        assert shifted == [False, True, False, False, False, False]
        assert list(swin.merges) == [2]

    def test_any_number_of_classes(self, tmp_path: Path) -> None:
        save_file(build_digits("digits_swin", classes=3).state_dict(), tmp_path / "three.safetensors")
        assert load_model("digits_swin", checkpoint=tmp_path / "three.safetensors").classes == 3


class TestFolders:
    """Models of the hub and of folders, as timm writes them."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        ensure_torchvision()
        import timm
        from timm.models import save_for_hf

        module = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=5)
        save_for_hf(module, str(tmp_path / "model"))
        return tmp_path / "model"

    @torch.inference_mode()
    def test_the_name_brings_its_weights(self, folder: Path) -> None:
        import timm

        name = f"local-dir:{folder}"
        loaded = load_model(name)
        expected = timm.create_model(name, pretrained=True).eval()
        images = torch.randn(2, 3, 64, 64)
        assert torch.equal(loaded.module(images), expected(images))
        assert loaded.weights == f"pretrained {name}"
        assert loaded.data_config == timm.data.resolve_data_config({}, model=expected)
        assert loaded.architecture is not None
        assert loaded.architecture.name == name

    @torch.inference_mode()
    def test_so_does_the_folder_as_a_checkpoint(self, folder: Path) -> None:
        loaded = load_model("vit_tiny_patch16_224", checkpoint=folder)
        images = torch.randn(2, 3, 64, 64)
        assert torch.equal(loaded.module(images), load_model(f"local-dir:{folder}").module(images))
        assert loaded.classes == 5

    @torch.inference_mode()
    def test_another_image_size(self, folder: Path) -> None:
        import timm

        options = ImageOptions(image_size=(96, 64))
        loaded = load_model(f"local-dir:{folder}", options=options)
        expected = timm.create_model(f"local-dir:{folder}", pretrained=True, img_size=(96, 64)).eval()
        images = torch.randn(2, 3, 96, 64)
        assert torch.equal(loaded.module(images), expected(images))
        assert loaded.data_config["input_size"] == (3, 96, 64)

    @torch.inference_mode()
    def test_the_hub_from_its_cache(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from huggingface_hub import constants

        commit = "0" * 40
        repository = tmp_path / "cache" / "models--someone--vit"
        snapshot = repository / "snapshots" / commit
        shutil.copytree(folder, snapshot)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(commit)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        loaded = load_model("hf-hub:someone/vit")
        images = torch.randn(2, 3, 64, 64)
        assert torch.equal(loaded.module(images), load_model(f"local-dir:{folder}").module(images))

    def test_without_the_folder(self, tmp_path: Path) -> None:
        refused("cannot be had .*expected one of timm, with its config.json", f"local-dir:{tmp_path}")

    def test_of_another_family(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text('{"architecture": "resnet18", "pretrained_cfg": {}}')
        refused("it is a ResNet, of none of the families", f"local-dir:{tmp_path}")


class TestNames:
    @pytest.mark.parametrize(
        ("name", "nearest"),
        [
            ("deit_tinny_patch16_224", "deit_tiny_patch16_224"),
            ("DeiT_Tiny_Patch16_224", "deit_tiny_patch16_224"),
            ("digit_deit", "digits_deit"),
            ("deit_tiny_patch16_224.fb_in22k", "deit_tiny_patch16_224.fb_in1k"),
            ("vit_tiny", "vit_tiny_patch16_224"),
            ("digits_swim", "digits_swin"),
            ("swin_tiny_patch4_224", "swin_tiny_patch4_window7_224"),
        ],
    )
    def test_unknown_names_get_the_nearest(self, name: str, nearest: str) -> None:
        message = refused("unknown model .*the nearest names are ", name, pretrained=True)
        assert nearest in message.split("the nearest names are ")[1].split(", ")

    @pytest.mark.parametrize("name", ["https://someone/model", "file:model", "../deit", ""])
    def test_addresses_and_paths_are_no_names(self, name: str) -> None:
        refused("unknown model", name, pretrained=True)

    def test_names_of_transformers_get_timms(self) -> None:
        message = refused("unknown model", "facebook/deit-tiny-distilled-patch16-224", pretrained=True)
        assert message.endswith("pass --model deit_tiny_distilled_patch16_224")
        ensure_torchvision()
        import timm

        assert all(map(timm.is_model, SAME_MODELS.values()))

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("resnet18", "it is a ResNet, of none of the families VisionTransformer, SwinTransformer"),
            ("swinv2_cr_tiny_ns_224", "it is a SwinTransformerV2Cr, of none of the families"),
            ("vit_small_patch16_18x2_224", "encoder 0 is a ParallelThingsBlock, not one attention"),
            ("vit_dwee_patch16_reg1_gap_256", "encoder 0 has DiffAttention"),
        ],
    )
    def test_other_models_are_refused_without_a_download(
        self, name: str, reason: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ensure_torchvision()
        import timm

        create, requests = timm.create_model, []

        def watched(*args: object, **options: object) -> object:
            requests.append(options.get("pretrained"))
            return create(*args, **options)

        monkeypatch.setattr(timm, "create_model", watched)
        refused(f"{name} cannot be quantized: {reason}", name, pretrained=True)
        assert requests == [False]


class TestOrigins:
    def test_weights_must_come_from_somewhere(self) -> None:
        refused("pass --checkpoint FILE, or --pretrained", "deit_tiny_patch16_224")

    def test_weights_come_from_one_place(self, tmp_path: Path) -> None:
        options = {"checkpoint": tmp_path / "any.pth", "pretrained": True}
        refused("both --checkpoint and --pretrained", "deit_tiny_patch16_224", **options)

    def test_an_unreachable_hub_is_a_failure_with_a_remedy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import huggingface_hub.constants

        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", "no-such-cache")
        with pytest.raises(
            BitfrontError, match=r"cannot be downloaded .*; offline, pass --checkpoint"
        ) as caught:
            load_model("vit_tiny_patch16_224.augreg_in21k", pretrained=True)
        assert caught.value.exit_status == 1
        assert "\n" not in str(caught.value)

    def test_weights_without_a_classifier_are_refused_before_the_download(self) -> None:
        refused("has no classifier", "vit_small_patch14_dinov2", pretrained=True)

    def test_the_hubs_classes_are_checked_before_the_download(self) -> None:
        refused("has 1000 classes; expected 10", "deit_tiny_patch16_224", pretrained=True, num_classes=10)


@pytest.mark.data
@needs_shared_data
class TestDeitTiny:
    def test_it_recognises_photographs(self) -> None:
        loaded = load_model("deit_tiny_patch16_224", checkpoint=DEIT_TINY)
        assert loaded.classes == 1000
        assert loaded.data_config["input_size"] == (3, 224, 224)
        assert top1(loaded.module, str(PHOTOS), list(range(100)), loaded.data_config) > 75.0

    @pytest.mark.parametrize(
        ("name", "match"),
        [
            ("deit_small_patch16_224", r"cls_token has shape \[1, 1, 192\] in the file and \[1, 1, 384\]"),
            ("digits_deit", r"cls_token has shape \[1, 1, 192\] in the file and \[1, 1, \d+\]"),
            (
                "deit_tiny_distilled_patch16_224",
                r"has one classifier, and .* has two \(head_dist\): leave _distilled out",
            ),
        ],
    )
    def test_it_does_not_fit_other_models(self, name: str, match: str) -> None:
        refused(match, name, checkpoint=DEIT_TINY)
