"""Descriptions of modules: the architecture document of a vision transformer, read from its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from bitfront.evaluators.data.images import preprocessing_from_json
from bitfront.evaluators.models.architecture import (
    DISTILLED,
    NAMED,
    SWIN,
    Architecture,
    family_of,
    is_architecture,
)
from bitfront.evaluators.models.families import blueprint_outline
from bitfront.spaces import UserError


def described(name: str, module: Any, preprocessing: Mapping[str, Any] | None = None) -> Architecture:
    """Describes a module of a supported family.

    Args:
        name: What it is called.
        module: With its weights.
        preprocessing: timm's data configuration; None for what the module itself says.

    Raises:
        UserError: It has no classifier, does not say how its images are normalised, or has a part that no
            document can say.
    """
    family = family_of(module)
    if module.num_classes < 1:
        raise UserError("the model has no classifier (num_classes is 0); give a fine-tuned model")
    # Documents of timm's classes have the arguments of plain encoders alone.
    if family is None or blueprint_outline(name, module).peculiarities():
        return _named(name, module, preprocessing)
    arguments = _swin_arguments(module) if family == SWIN else _vit_arguments(module)
    if family == DISTILLED:
        arguments["global_pool"] = "token"
    described = Architecture(name, family, arguments, preprocessing or _preprocessing(module, arguments))
    return Architecture.from_json(described.to_json())  # tells what no file could say


def _named(name: str, module: Any, preprocessing: Mapping[str, Any] | None) -> Architecture:
    """Describes a module as what timm builds under the name of its own configuration, where it is that."""
    architecture = str(configuration_of(module).get("architecture", ""))
    if not is_architecture(architecture):
        raise UserError(
            f"the model is a {type(module).__name__} with parts that no document can say, and its "
            "pretrained_cfg names no architecture of timm's: make it with timm.create_model, or set "
            'model.pretrained_cfg = {"architecture": NAME, ...}'
        )
    embedding = module.patch_embed
    arguments: dict[str, Any] = {
        "architecture": architecture,
        "img_size": [int(side) for side in embedding.img_size],
        "in_chans": int(embedding.proj.in_channels),
        "num_classes": int(module.num_classes),
    }
    found = Architecture(name, NAMED, arguments, preprocessing or _preprocessing(module, arguments))
    found = Architecture.from_json(found.to_json())
    with torch.random.fork_rng(devices=[]):
        rebuilt = found.build().eval()
    size = (1, arguments["in_chans"], *arguments["img_size"])
    images = torch.randn(size, generator=torch.Generator().manual_seed(0))
    try:
        rebuilt.load_state_dict(module.state_dict())
        with torch.inference_mode():
            alike = torch.allclose(rebuilt(images), module.cpu().eval()(images), rtol=1e-3, atol=1e-4)
    except RuntimeError:  # other tensors
        alike = False
    if not alike:
        raise UserError(
            f"the model is not what timm builds as {architecture}, so that no document can describe it: give "
            "it by a name of timm's and --checkpoint"
        )
    return found


def _shared_arguments(module: Any, block: Any) -> dict[str, Any]:
    embedding = module.patch_embed
    return {
        "img_size": [int(side) for side in embedding.img_size],
        "patch_size": [int(side) for side in embedding.patch_size],
        "in_chans": int(embedding.proj.in_channels),
        "num_classes": int(module.num_classes),
        "embed_dim": int(embedding.proj.out_channels),
        "qkv_bias": block.attn.qkv.bias is not None,
        "norm_eps": float(block.norm1.eps),
    }


def _vit_arguments(module: Any) -> dict[str, Any]:
    block = module.blocks[0]
    return {
        **_shared_arguments(module, block),
        "global_pool": module.global_pool,
        "depth": len(module.blocks),
        "num_heads": int(block.attn.num_heads),
        "mlp_ratio": _mlp_ratio(block),
        "proj_bias": block.attn.proj.bias is not None,
        "init_values": None if isinstance(block.ls1, nn.Identity) else 1e-5,
        "class_token": module.cls_token is not None,
        "pos_embed": "none" if module.pos_embed is None else "learn",
        "no_embed_class": bool(module.no_embed_class),
        "reg_tokens": 0 if module.reg_token is None else int(module.reg_token.shape[1]),
        "pre_norm": not isinstance(module.norm_pre, nn.Identity),
        "fc_norm": not isinstance(module.fc_norm, nn.Identity),
        "pool_include_prefix": bool(module.pool_include_prefix),
    }


def _swin_arguments(module: Any) -> dict[str, Any]:
    first = [stage.blocks[0] for stage in module.layers]
    head_dims = [block.attn.qkv.out_features // (3 * block.attn.num_heads) for block in first]
    usual = [block.dim // block.attn.num_heads for block in first]
    return {
        **_shared_arguments(module, first[0]),
        "depths": [len(stage.blocks) for stage in module.layers],
        "num_heads": [int(block.attn.num_heads) for block in first],
        "head_dim": None if head_dims == usual else head_dims,
        "window_size": _windows(first),
        "always_partition": bool(first[0].always_partition),
        "mlp_ratio": [_mlp_ratio(block) for block in first],
    }


def _windows(blocks: list[Any]) -> list[list[int]]:
    """One window where the stages' grids alone make it smaller, or else that of every stage."""
    found = [[int(side) for side in block.window_size] for block in blocks]
    largest = [max(sides) for sides in zip(*found, strict=True)]
    clipped = [
        largest
        if block.always_partition
        else [min(side, grid) for side, grid in zip(largest, block.input_resolution, strict=True)]
        for block in blocks
    ]
    return [largest] if clipped == found else found


def _mlp_ratio(block: Any) -> float:
    """The ratio that timm makes this very number of hidden channels of: it rounds their product down."""
    hidden, width = int(block.mlp.fc1.out_features), int(block.mlp.fc1.in_features)
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else (hidden + 0.5) / width


def _preprocessing(module: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """As timm resolves it, for images of the size that the module takes."""
    import timm.data

    config, channels = configuration_of(module), arguments["in_chans"]
    if config.get("mean") is None or config.get("std") is None:
        raise UserError(
            "the model does not say how its images are normalised: set model.pretrained_cfg = "
            '{"mean": (...), "std": (...)} as in its training, of values from 0 to 1'
        )
    found = timm.data.resolve_data_config({}, pretrained_cfg=dict(config))
    found["input_size"] = (channels, *arguments["img_size"])
    for name in ("mean", "std"):
        values = tuple(map(float, found[name]))
        found[name] = values * channels if len(values) == 1 else values
        if len(found[name]) != channels:
            raise UserError(
                f"the model takes {channels} channels and its pretrained_cfg has {len(values)} values of "
                f'{name}: set model.pretrained_cfg["{name}"] as in its training'
            )
    try:
        return preprocessing_from_json(found)
    except ValueError as error:
        raise UserError(f"the model's pretrained_cfg cannot be used: {error}") from error


def configuration_of(module: Any) -> Mapping[str, Any]:
    """What a module says of its own pretraining, by timm's names; empty where it says nothing."""
    found = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None) or {}
    return found if isinstance(found, Mapping) else vars(found)
