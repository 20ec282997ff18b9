"""Checkpoints of another image size, other windows or pooling than the name's: timm's logits, or refused."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from bitfront.evaluators.context.bundle import bundle_of, context_of_bundle
from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.data.image_options import ImageOptions
from bitfront.evaluators.models.digits_models import build_digits, load_embedded
from bitfront.evaluators.models.families import blueprint_of
from bitfront.evaluators.models.float_forward import forward
from bitfront.evaluators.models.loading import LoadedModel, load_model
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.spaces import UserError


def made(name: str = "digits_deit", **further: Any) -> Any:
    torch.manual_seed(0)
    module = build_digits(name, **further).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module


def saved(content: object, folder: Path) -> Path:
    torch.save(content, folder / "c.pth")
    return folder / "c.pth"


@torch.inference_mode()
def check_same(found: LoadedModel, expected: Any) -> None:
    """The same logits, also of the module that the architecture document rebuilds."""
    images = torch.randn(2, *found.data_config["input_size"])
    assert torch.equal(found.module(images), expected(images))
    if found.architecture is not None:
        rebuilt = found.architecture.build().eval()
        rebuilt.load_state_dict(found.module.state_dict())
        assert torch.equal(rebuilt(images), expected(images))


def resized(name: str, state: Mapping[str, torch.Tensor], **further: Any) -> Any:
    """As timm interpolates."""
    from timm.models import swin_transformer, vision_transformer

    module: Any = build_digits(name, **further).eval()
    resample = swin_transformer if name == "digits_swin" else vision_transformer
    module.load_state_dict(resample.checkpoint_filter_fn(dict(state), module))
    return module


class TestVit:
    def test_positions_tell_the_image_size(self, tmp_path: Path) -> None:
        module = made(img_size=24)
        found = load_model("digits_deit", checkpoint=saved(module.state_dict(), tmp_path))
        check_same(found, module)
        assert found.data_config["input_size"] == (1, 24, 24)
        assert found.notes == (
            f"image size: 24x24, for which {tmp_path / 'c.pth'} has positions (digits_deit alone: 16x16)",
        )
        assert found.decided == {"image_size": (24, 24)}
        assert found.adapted

    @pytest.mark.parametrize("size", [(16, 16), (32, 32), (24, 40)])
    def test_an_option_interpolates_as_timm_does(self, tmp_path: Path, size: tuple[int, int]) -> None:
        state = made(img_size=24).state_dict()
        found = load_model(
            "digits_deit", checkpoint=saved(state, tmp_path), options=ImageOptions(image_size=size)
        )
        check_same(found, resized("digits_deit", state, img_size=size))
        assert "with positions interpolated from those of 24x24" in found.notes[0]
        assert found.decided == {}

    def test_the_embedded_weights_too(self) -> None:
        found = load_model("digits_deit", options=ImageOptions(image_size=(24, 24)))
        check_same(found, resized("digits_deit", load_embedded("digits_deit").state_dict(), img_size=24))

    def test_grids_that_are_no_squares(self, tmp_path: Path) -> None:
        module = made(img_size=(24, 32))
        path = saved(module.state_dict(), tmp_path)
        with pytest.raises(
            UserError, match=r"positions for 192 patches, which are no square .*--image-size HxW"
        ):
            load_model("digits_deit", checkpoint=path)
        check_same(load_model("digits_deit", checkpoint=path, options=ImageOptions((24, 32))), module)
        trained = {"model": module.state_dict(), "args": argparse.Namespace(input_size=(1, 24, 32))}
        found = load_model("digits_deit", checkpoint=saved(trained, tmp_path))
        check_same(found, module)
        assert found.decided == {"image_size": (24, 32)}

    def test_sizes_that_patches_do_not_fill(self) -> None:
        odd, even = (
            load_model("digits_deit", options=ImageOptions(image_size=(side, side))) for side in (15, 14)
        )
        images = torch.randn(2, 1, 15, 15, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            assert torch.equal(odd.module(images), even.module(images[:, :, :14, :14]))
            assert torch.allclose(
                forward(blueprint_of("odd", odd.module), images), odd.module(images), atol=1e-4
            )

    def test_deit_tiny_of_384(self, tmp_path: Path) -> None:
        ensure_torchvision()
        import timm

        module = timm.create_model("deit_tiny_patch16_224", img_size=384, num_classes=3).eval()
        assert module.pos_embed.shape[1] == 577
        found = load_model("deit_tiny_patch16_224", checkpoint=saved(module.state_dict(), tmp_path))
        check_same(found, module)
        assert found.data_config["input_size"] == (3, 384, 384)
        assert found.data_config["crop_pct"] == 0.9

    @pytest.mark.parametrize(
        "further", [{"global_pool": "avg", "fc_norm": True}, {"global_pool": "avg", "class_token": False}]
    )
    def test_pooling_is_that_of_the_tensors(self, tmp_path: Path, further: dict[str, Any]) -> None:
        module = made(**further)
        found = load_model("digits_deit", checkpoint=saved(module.state_dict(), tmp_path))
        check_same(found, module)
        assert found.notes[0].startswith("pooling: the average of the tokens, as the weights show")

    def test_weights_without_a_classifier(self, tmp_path: Path) -> None:
        state = {name: value for name, value in made().state_dict().items() if "head" not in name}
        with pytest.raises(UserError, match=r"has no classifier \(head\.weight\)"):
            load_model("digits_deit", checkpoint=saved(state, tmp_path))

    def test_distilled_models_and_others(self, tmp_path: Path) -> None:
        ensure_torchvision()
        import timm

        plain, distilled = "deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"
        path = saved(timm.create_model(distilled, num_classes=3).state_dict(), tmp_path)
        with pytest.raises(
            UserError, match=r"two classifiers of a distilled DeiT .* pass --model with _distilled"
        ):
            load_model(plain, checkpoint=path)
        path = saved(timm.create_model(plain, num_classes=3).state_dict(), tmp_path)
        with pytest.raises(UserError, match=r"has one classifier, and .* has two .*: leave _distilled out"):
            load_model(distilled, checkpoint=path)


class TestSwin:
    def state(self, module: nn.Module, side: int, window: int = 4) -> dict[str, torch.Tensor]:
        """As authors write it: with masks of the shifted windows of the first stage."""
        windows = (side // 2 // window) ** 2
        return {
            **module.state_dict(),
            "layers.0.blocks.1.attn_mask": torch.zeros(windows, window**2, window**2),
        }

    def test_masks_tell_the_image_size(self, tmp_path: Path) -> None:
        module = made("digits_swin", img_size=32)
        found = load_model("digits_swin", checkpoint=saved({"model": self.state(module, 32)}, tmp_path))
        check_same(found, module)
        assert found.data_config["input_size"] == (1, 32, 32)
        assert found.notes == (
            f"image size: 32x32, which {tmp_path / 'c.pth'} was made for (digits_swin alone: 16x16)",
        )
        assert found.decided == {"image_size": (32, 32)}

    def test_so_do_the_arguments_of_a_training(self, tmp_path: Path) -> None:
        module = made("digits_swin", img_size=32)
        content = {"state_dict": module.state_dict(), "args": argparse.Namespace(img_size=32)}
        found = load_model("digits_swin", checkpoint=saved(content, tmp_path))
        check_same(found, module)
        assert found.decided == {"image_size": (32, 32)}

    def test_an_option_takes_another(self, tmp_path: Path) -> None:
        state = self.state(made("digits_swin", img_size=32), 32)
        path = saved(state, tmp_path)
        found = load_model("digits_swin", checkpoint=path, options=ImageOptions(image_size=(16, 16)))
        check_same(found, resized("digits_swin", state))
        assert found.notes == (f"image size: 16x16, as given ({path} was made for 32x32)",)

    def test_windows_of_another_size(self, tmp_path: Path) -> None:
        module = made("digits_swin", img_size=32, window_size=8)
        path = saved(module.state_dict(), tmp_path)
        with pytest.raises(
            UserError, match=r"tables for windows of 8x8, and digits_swin has none such at 16x16"
        ):
            load_model("digits_swin", checkpoint=path)
        found = load_model("digits_swin", checkpoint=path, options=ImageOptions(image_size=(32, 32)))
        check_same(found, module)
        assert found.notes[1] == f"windows: 8x8, for which {path} has tables"
        found = load_model("digits_swin", checkpoint=saved(self.state(module, 32, 8), tmp_path))
        check_same(found, module)

    def test_tables_are_interpolated_as_timm_does(self, tmp_path: Path) -> None:
        state = made("digits_swin", img_size=24, window_size=6).state_dict()
        path = saved(state, tmp_path)
        found = load_model("digits_swin", checkpoint=path, options=ImageOptions(image_size=(16, 16)))
        check_same(found, resized("digits_swin", state))
        assert "with tables interpolated from 6x6" in found.notes[0]


class TestFurtherOn:
    def test_a_context_on_another_machine(self, tmp_path: Path) -> None:
        """A bundle holds what its tensors alone do not say."""
        module = made("digits_swin", img_size=32)
        state = {**module.state_dict(), "layers.0.blocks.1.attn_mask": torch.zeros(16, 16, 16)}
        spec = EvaluationSpec(scheme="fq-vit",
            model="digits_swin", checkpoint=str(saved(state, tmp_path)), recipe="fq-vit", batch_size=16,
            calibration_images=16, search_images=16, test_images=16, threads=1, first_images=16,
        )  # fmt: skip
        context = EvaluationContext.from_spec(spec)
        assert context.spec.image_size == (32, 32)
        (tmp_path / "b.bundle").write_bytes(bundle_of(context))
        sent = context_of_bundle(tmp_path / "b.bundle", context.spec)
        assert sent.prepared.blueprint.image_shape == (1, 32, 32)
        assert sent.float_quality().values == context.float_quality().values


@settings(
    derandomize=True,
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    swin=st.booleans(),
    side=st.sampled_from([16, 24, 32, 40]),
    asked=st.sampled_from([None, (16, 16), (32, 32), (24, 32), (18, 18)]),
    masks=st.booleans(),
    classes=st.sampled_from([2, 10]),
)
def test_it_is_timms_or_refused(
    tmp_path: Path, swin: bool, side: int, asked: tuple[int, int] | None, masks: bool, classes: int
) -> None:
    name = "digits_swin" if swin else "digits_deit"
    module = made(name, img_size=side, classes=classes)
    state = dict(module.state_dict())
    if swin and masks and side > 16:
        tokens = int(module.layers[0].blocks[1].window_size[0]) ** 2
        state["layers.0.blocks.1.attn_mask"] = torch.zeros((side // 2) ** 2 // tokens, tokens, tokens)
    try:
        found = load_model(name, checkpoint=saved(state, tmp_path), options=ImageOptions(image_size=asked))
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017 - both outcomes are right
        return
    size = found.data_config["input_size"][1:]
    assert size == (asked or ((side, side) if not swin or masks else (16, 16)))
    state.pop("layers.0.blocks.1.attn_mask", None)
    check_same(found, resized(name, state, img_size=size, classes=classes))
