"""Checkpoints of Hugging Face transformers: timm's tensors come back, whole and in their order."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from bitfront.evaluators.models.digits_models import build_digits
from bitfront.evaluators.models.loading import load_model
from bitfront.evaluators.models.transformers_names import from_transformers, of_transformers
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.spaces import UserError

State = dict[str, torch.Tensor]
# timm's names in transformers' (compared with transformers 5.24, whose logits are the same).
_RENAMED = (
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^patch_embed\.norm\.", "embeddings.norm."),
    (r"^cls_token$", "embeddings.cls_token"),
    (r"^dist_token$", "embeddings.distillation_token"),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^blocks\.", "encoder.layer."),
    (r"^layers\.(\d+)\.", r"encoder.layers.\1."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.relative", ".attention.self.relative"),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"^norm\.", "layernorm."),
)


def of_timm(state: State, root: str, distilled: bool = False) -> State:
    """A state dict of timm as transformers writes it."""
    found: State = {}
    for name, value in state.items():
        head = re.match(r"^(head|head_dist)(\.fc)?\.(weight|bias)$", name)
        if head is not None:
            plain = "cls_classifier" if distilled else "classifier"
            found[f"{'distillation_classifier' if head[1] == 'head_dist' else plain}.{head[3]}"] = value
            continue
        merged = re.match(r"^layers\.(\d+)\.downsample\.(.*)$", name)
        if merged is not None:
            found[f"{root}.encoder.layers.{int(merged[1]) - 1}.downsample.{merged[2]}"] = value
            continue
        for pattern, text in _RENAMED:
            name = re.sub(pattern, text, name)
        if ".attn.qkv." in name:
            inner = "self" if root == "swin" else "attention"
            for part, kind in zip(value.chunk(3), ("query", "key", "value"), strict=True):
                found[f"{root}.{name.replace('attn.qkv', f'attention.{inner}.{kind}')}"] = part.clone()
        else:
            found[f"{root}.{name}"] = value
    return found


def module_of(name: str) -> Any:
    torch.manual_seed(0)
    if name.startswith("digits"):
        return build_digits(name).eval()
    ensure_torchvision()
    import timm

    return timm.create_model(name, num_classes=3).eval()


@pytest.mark.parametrize(
    ("name", "root"),
    [
        ("digits_deit", "vit"),
        ("digits_deit", "deit"),
        ("digits_swin", "swin"),
        ("deit_tiny_distilled_patch16_224", "deit"),
    ],
)
def test_they_are_the_same_model(tmp_path: Path, name: str, root: str) -> None:
    module = module_of(name)
    theirs = of_timm(module.state_dict(), root, "distilled" in name)
    assert of_transformers(theirs)
    assert not of_transformers(module.state_dict())
    save_file({key: value.contiguous() for key, value in theirs.items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": root}))
    found = load_model(name, checkpoint=tmp_path)
    assert found.classes == module.num_classes
    for key, value in module.state_dict().items():
        assert torch.equal(found.module.state_dict()[key], value), key


def test_the_configuration_tells_the_image_size_of_a_swin(tmp_path: Path) -> None:
    module = build_digits("digits_swin", img_size=32).eval()
    save_file(of_timm(module.state_dict(), "swin"), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "swin", "image_size": 32}))
    found = load_model("digits_swin", checkpoint=tmp_path / "model.safetensors")
    images = torch.randn(2, 1, 32, 32)
    with torch.inference_mode():
        assert torch.equal(found.module(images), module(images))


def test_a_lost_projection_and_foreign_parts() -> None:
    state = of_timm(module_of("digits_deit").state_dict(), "vit")
    lacking = {name: value for name, value in state.items() if "layer.3.attention.attention.key" not in name}
    with pytest.raises(
        UserError, match=r"blocks\.3\.attn\.qkv\.weight cannot be joined: .* query, value alone"
    ):
        from_transformers(lacking)
    with pytest.raises(
        UserError, match=r"vit\.decoder\.weight|decoder\.weight of transformers has no counterpart"
    ):
        from_transformers({**state, "vit.decoder.weight": torch.ones(1)})
    # A mask token and a pooler are of no use to a classifier.
    further = {"vit.embeddings.mask_token": torch.ones(1), "vit.pooler.dense.weight": torch.ones(1)}
    assert from_transformers({**state, **further}).keys() == from_transformers(state).keys()


def test_without_a_classifier(tmp_path: Path) -> None:
    state = of_timm(module_of("digits_deit").state_dict(), "vit")
    bare = {name.removeprefix("vit."): value for name, value in state.items() if "classifier" not in name}
    torch.save(bare, tmp_path / "c.pth")
    with pytest.raises(UserError, match="has no classifier"):
        load_model("digits_deit", checkpoint=tmp_path / "c.pth")
