"""Checkpoints as tools write them, made from scratch."""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from layout import DEIT, Layout, Weights
from safetensors.torch import save_file

from bitfront.evaluators.data.image_options import ImageOptions
from bitfront.evaluators.models.digits_models import build_digits, load_embedded

State = dict[str, torch.Tensor]


def right() -> State:
    """The weights that are meant."""
    return {name: value.clone() for name, value in load_embedded("digits_deit").state_dict().items()}


def raw() -> State:
    """Weights before they are averaged: of the same names, and worse."""
    torch.manual_seed(0)
    return {name: value + 0.1 * torch.randn_like(value) for name, value in right().items()}


def prefixed(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


def saved(
    content: Callable[[], object], name: str = "model.pth", entry: str = ""
) -> Callable[[Path], Weights]:
    """Writes what torch.save makes of ``content``."""

    def make(folder: Path) -> Weights:
        torch.save(content(), folder / name)
        return Weights({"checkpoint": f"{folder / name}{entry}"})

    return make


def tensors(
    content: Callable[[], Mapping[str, torch.Tensor]], name: str = "model.safetensors", **given: Any
) -> Callable[[Path], Weights]:
    """Writes a safetensors file."""

    def make(folder: Path) -> Weights:
        save_file(dict(content()), folder / name)
        return Weights({"checkpoint": str(folder / name), **given})

    return make


def beside(document: Mapping[str, Any], name: str = "config.json", **given: Any) -> Callable[[Path], Weights]:
    """Writes a safetensors file and a configuration beside it."""

    def make(folder: Path) -> Weights:
        (folder / name).write_text(json.dumps(document))
        return tensors(right, **given)(folder)

    return make


def written(content: bytes, name: str = "model.pth") -> Callable[[Path], Weights]:
    """Writes a file of some bytes."""

    def make(folder: Path) -> Weights:
        (folder / name).write_bytes(content)
        return Weights({"checkpoint": str(folder / name)})

    return make


def of_module(
    name: str,
    further: Mapping[str, Any],
    content: Callable[[State], object] = lambda state: state,
    options: ImageOptions | None = None,
) -> Callable[[Path], Weights]:
    """Writes what a tool has in memory: a model of another form than its name's, and its logits."""

    def make(folder: Path) -> Weights:
        torch.manual_seed(0)
        module: Any = build_digits(name, **further).eval()
        torch.save(content(dict(module.state_dict())), folder / "model.pth")
        images = torch.randn(2, 1, *module.patch_embed.img_size)
        with torch.inference_mode():
            logits = module(images)
        given = {"name": name, "checkpoint": str(folder / "model.pth")}
        return Weights({**given, **({} if options is None else {"options": options})}, logits, images)

    return make


def sharded(folder: Path) -> Weights:
    save_file(right(), folder / "model-00001-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    return Weights({"checkpoint": str(folder)})


def transformers(state: State) -> State:
    """A ViT as Hugging Face transformers writes it."""
    found: State = {}
    outside = {"cls_token": "cls_token", "pos_embed": "position_embeddings"}
    inside = {
        "attn.proj": "attention.output.dense", "mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense",
        "norm1": "layernorm_before", "norm2": "layernorm_after",
    }  # fmt: skip
    for name, value in state.items():
        stem, _, kind = name.rpartition(".")
        block, _, layer = stem.removeprefix("blocks.").partition(".")
        if layer == "attn.qkv":
            for part, of in zip(value.chunk(3), ("query", "key", "value"), strict=True):
                found[f"vit.encoder.layer.{block}.attention.attention.{of}.{kind}"] = part.clone()
        elif layer in inside and name.startswith("blocks."):
            found[f"vit.encoder.layer.{block}.{inside[layer]}.{kind}"] = value
        elif name in outside:
            found[f"vit.embeddings.{outside[name]}"] = value
        else:
            moved = {
                "patch_embed.proj": "vit.embeddings.patch_embeddings.projection",
                "norm": "vit.layernorm",
            }
            found[f"{moved.get(stem, 'classifier')}.{kind}"] = value
    return found


class _Code:
    """Unpickling it would call a function."""

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return print, ("code is run",)


def _folder(made: Weights, folder: Path) -> Weights:
    return Weights({**made.given, "checkpoint": str(folder)})


def _transformers(folder: Path) -> Weights:
    processor = {"image_mean": [0.5], "image_std": [0.5], "size": {"height": 16, "width": 16}, "resample": 2}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    (folder / "config.json").write_text('{"model_type": "vit", "image_size": 16}')
    return tensors(lambda: transformers(right()))(folder)


def _exact(state: State) -> State:
    """Tensors in narrower types where these hold the same numbers."""
    for kind in (torch.float8_e5m2, torch.bfloat16, torch.float16):
        state = {
            name: value.to(kind) if value.dtype is torch.float32 and same(value, kind) else value
            for name, value in state.items()
        }
    assert {torch.bfloat16, torch.float16} & {value.dtype for value in state.values()}
    return state


def same(value: torch.Tensor, kind: torch.dtype) -> bool:
    return torch.equal(value.to(kind).float(), value)


def _npz(folder: Path) -> Weights:
    np.savez(folder / "model.npz", kernel=np.ones(3))
    return Weights({"checkpoint": str(folder / "model.npz")})


ARGS = argparse.Namespace(model=DEIT, lr=1e-3, opt="adamw", img_size=None, output=Path("out"))
TIMMS = {"epoch": 7, "arch": DEIT, "version": 2, "args": ARGS, "metric": np.float64(98.9)}
MASKS = {"layers.0.blocks.1.attn_mask": torch.zeros(16, 16, 16)}

CHECKPOINTS = (
    Layout("torch", "`torch.save(model.state_dict())`", saved(right)),
    Layout("safetensors", "`save_file(model.state_dict())`", tensors(right)),
    Layout("torch DDP", "every name begins with `module.`", saved(lambda: prefixed("module.", right()))),
    Layout(
        "torch.compile, DDP",
        "prefixes `module.`, `_orig_mod.`, `model.` in any order and repeated",
        saved(lambda: {"model": prefixed("_orig_mod.module._orig_mod.model.", right())}),
    ),
    Layout(
        "timm `train.py`",
        "`state_dict` beside `args`, an `argparse.Namespace`, and numpy scalars",
        saved(lambda: {**TIMMS, "state_dict": right()}, "model_best.pth.tar"),
    ),
    Layout(
        "timm `train.py --model-ema`",
        "`state_dict` beside `state_dict_ema`",
        saved(lambda: {**TIMMS, "state_dict": raw(), "state_dict_ema": right()}, "last.pth.tar"),
        said="state_dict_ema is taken, not state_dict",
    ),
    Layout(
        "timm `train.py --model-ema`",
        "the same, `--checkpoint FILE:state_dict`",
        saved(lambda: {**TIMMS, "state_dict": right(), "state_dict_ema": raw()}, "l.pth.tar", ":state_dict"),
        said="state_dict is taken, not state_dict_ema",
    ),
    Layout(
        "DeiT's `main.py`",
        "`model` beside `model_ema` and `args`",
        saved(lambda: {"model": raw(), "model_ema": right(), "args": ARGS, "epoch": 299}),
        said="model_ema is taken, not model",
    ),
    Layout(
        "distillation without labels",
        "`student` beside `teacher`, its average",
        saved(lambda: {"student": prefixed("module.", raw()), "teacher": right()}),
        said="teacher is taken, not student",
    ),
    Layout(
        "Lightning",
        "`state_dict` of a module: `model.`, and a criterion beside it",
        saved(
            lambda: {
                "state_dict": {**prefixed("model.", right()), "criterion.weight": torch.ones(10)},
                "pytorch-lightning_version": "2.5.0",
                "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}}],
            },
            "epoch=9.ckpt",
        ),
        said="criterion.weight",
    ),
    Layout(
        "Lightning",
        "`state_dict` of a module: `model.` and `ema_model.`",
        saved(
            lambda: {"state_dict": {**prefixed("model.", raw()), **prefixed("ema_model.", right())}}, "l.ckpt"
        ),
        said="state_dict.ema_model is taken, not state_dict.model",
    ),
    Layout(
        "torch `AveragedModel`",
        "`n_averaged`, and names that begin with `module.`",
        saved(lambda: {"n_averaged": torch.tensor(5), **prefixed("module.", right())}),
    ),
    Layout("a person", "one set of weights under any name", saved(lambda: {"net": right(), "loss": 0.1})),
    Layout(
        "a person",
        "two sets of weights under names that say nothing",
        saved(lambda: {"first": raw(), "second": right()}),
        refused="several sets of weights (first, second)",
    ),
    Layout(
        "a person",
        "an entry that is not there",
        saved(lambda: {"model": raw(), "model_ema": right()}, entry=":ema"),
        refused="has no weights under 'ema'; its entries are model, model_ema",
    ),
    Layout("safetensors", "under the suffix `.pth`", tensors(right, "model.pth")),
    Layout("torch", "under the suffix `.safetensors`", saved(right, "model.safetensors")),
    Layout("timm hub folder", "a folder with `model.safetensors`", lambda f: _folder(tensors(right)(f), f)),
    Layout(
        "timm `save_for_hf`",
        "`config.json` beside the weights, with another mean",
        beside({"architecture": DEIT, "pretrained_cfg": {"mean": [0.5], "std": [0.5]}}),
        said="mean, std from config.json beside the weights",
    ),
    Layout(
        "timm `save_for_hf`",
        "`config.json` of another model",
        beside({"architecture": "vit_tiny_patch16_224", "pretrained_cfg": {"mean": [0.5]}}),
        said="is of vit_tiny_patch16_224",
    ),
    Layout(
        "transformers",
        "`ViTForImageClassification`, with `preprocessor_config.json`",
        _transformers,
        said="mean, std, crop_mode from preprocessor_config.json beside the weights",
    ),
    Layout("transformers", "weights in several files and an index", sharded, refused="in several files"),
    Layout("torch", "bfloat16, float16 or float8, on the right numbers", saved(lambda: _exact(right()))),
    Layout(
        "timm",
        "positions for another image size",
        of_module(DEIT, {"img_size": 24}),
        said="image size: 24x24, for which",
    ),
    Layout(
        "timm",
        "positions for images that are no squares, without an option",
        of_module(DEIT, {"img_size": (24, 32)}),
        refused="give its image size with --image-size HxW",
    ),
    Layout(
        "timm",
        "the same, `--image-size 24x32`",
        of_module(DEIT, {"img_size": (24, 32)}, options=ImageOptions(image_size=(24, 32))),
    ),
    Layout(
        "authors of Swin",
        "masks of the windows for another image size",
        of_module("digits_swin", {"img_size": 32}, lambda state: {"model": {**state, **MASKS}}),
        said="image size: 32x32, which",
    ),
    Layout(
        "timm `train.py --img-size`",
        "a Swin of another image size, known by `args`",
        of_module(
            "digits_swin",
            {"img_size": 32},
            lambda state: {"state_dict": state, "args": argparse.Namespace(img_size=32)},
        ),
        said="image size: 32x32, which",
    ),
    Layout(
        "timm",
        "a Swin of other windows, whose image size is not known",
        of_module("digits_swin", {"img_size": 32, "window_size": 8}),
        refused="pass the --model that it was trained as, or its image size with --image-size",
    ),
    Layout(
        "timm",
        "the same, `--image-size 32`",
        of_module(
            "digits_swin", {"img_size": 32, "window_size": 8}, options=ImageOptions(image_size=(32, 32))
        ),
        said="windows: 8x8",
    ),
    Layout(
        "MAE fine-tuning",
        "`fc_norm` in place of `norm`: tokens are averaged",
        of_module(DEIT, {"global_pool": "avg", "fc_norm": True}),
        said="pooling: the average of the tokens",
    ),
    Layout(
        "self-supervised training",
        "no classifier",
        saved(lambda: {name: value for name, value in right().items() if "head" not in name}),
        refused="has no classifier (head.weight)",
    ),
    Layout(
        "quantization in torch",
        "`int8` tensors",
        saved(lambda: {**right(), "norm.bias": torch.ones(32, dtype=torch.int8)}),
        refused="norm.bias holds torch.int8 values",
    ),
    Layout(
        "pruning",
        "sparse tensors",
        saved(lambda: {**right(), "head.weight": right()["head.weight"].to_sparse()}),
        refused="head.weight holds sparse torch.float32 values",
    ),
    Layout(
        "training that diverged",
        "NaN",
        saved(lambda: {**right(), "norm.bias": torch.full((32,), torch.nan)}),
        refused="values that are not finite",
    ),
    Layout(
        "`torch.save(model)`",
        "a whole module, which is code",
        saved(lambda: torch.nn.Linear(2, 2)),
        refused="loading it would run code",
    ),
    Layout(
        "anyone",
        "a pickle that calls a function",
        saved(lambda: {"state_dict": right(), "extra": _Code()}),
        refused="loading it would run code",
    ),
    Layout(
        "git", "a pointer of git-lfs", written(b"version https://git-lfs.github.com/spec/v1\n"), "git-lfs"
    ),
    Layout("a browser", "a web page in place of the file", written(b"<!DOCTYPE html>"), "it is a web page"),
    Layout("a person", "a file in gzip", written(gzip.compress(b"weights")), "it is compressed (gzip)"),
    Layout("JAX", "`.npz`", _npz, "NumPy arrays (.npz)"),
    Layout("Keras", "`.h5`", written(b"\x89HDF\r\n\x1a\n" + b"0" * 99, "model.h5"), "an HDF5 file"),
    Layout("a full disk", "an empty file", written(b""), "it is empty"),
)
