"""Models given as Python objects: their architecture read from the module, and a file that rebuilds them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bitfront.evaluators.data.images import preprocessing_from_json
from bitfront.evaluators.models.architecture import DISTILLED, SWIN, Architecture, family_of
from bitfront.evaluators.models.checkpoint import write_weights
from bitfront.evaluators.models.digits_models import DIGITS_MODELS
from bitfront.evaluators.models.families import EXPECTED, check_family
from bitfront.evaluators.models.loading import load_model
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.spaces import UserError
from bitfront.spaces.errors import one_line

DTYPES = (torch.float32, torch.bfloat16, torch.float16)  # of weights that float32 holds as they are
_WRAPPERS = nn.DataParallel, nn.parallel.DistributedDataParallel
PROBES = 4  # random images
# Largest deviation of the logits of the rebuilt model, relative to their largest magnitude: attention may be
# computed by another kernel there.
TOLERANCE = 1e-5


def write_model(path: Path, module: nn.Module) -> Architecture:
    """Writes a model so that :func:`~bitfront.evaluators.models.loading.load_model` rebuilds it exactly.

    The file is read again, and the logits of both models on random images are compared: what the file
    cannot say, such as a hook or another forward pass, is refused. The module itself is left as it is.

    Args:
        path: The ``.safetensors`` file to write, in a folder that exists.
        module: A timm ``VisionTransformer`` (ViT, DeiT, distilled DeiT) or ``SwinTransformer``, which may be
            compiled or in ``DataParallel``; on any device, in float32, bfloat16 or float16.

    Returns:
        What describes the model; its ``name`` is the one to load it by.

    Raises:
        UserError: The model is of another family, has no classifier, does not say how its images are
            normalised, or cannot be rebuilt; or the file cannot be written.
        BitfrontError: The disk is full.
    """
    plain = _plain_copy(module)
    name = _name(plain)
    check_family(name, plain)
    architecture = _architecture_of(name, plain)
    whole = torch.contiguous_format
    state = {key: value.clone(memory_format=whole) for key, value in plain.state_dict().items()}
    write_weights(state, path, architecture.metadata(state))
    try:
        _check_rebuilt(architecture, plain, path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return architecture


def _plain_copy(module: object) -> Any:
    """A copy without wrappers, on the CPU, in float32 and in evaluation mode."""
    found: Any = module
    while isinstance(found, _WRAPPERS) or hasattr(found, "_orig_mod"):  # the latter by torch.compile
        found = found.module if isinstance(found, _WRAPPERS) else found._orig_mod
    if not isinstance(found, nn.Module):
        raise UserError(f"the model is a {type(module).__name__}, not a torch module; {EXPECTED}")
    for name, value in (*found.named_parameters(), *found.named_buffers()):
        if value.is_meta:
            raise UserError(f"the model's {name} is on the meta device: load its weights first")
        if value.is_floating_point() and value.dtype not in DTYPES:
            raise UserError(f"the model's {name} is {value.dtype}: give model.float()")
    try:
        return copy.deepcopy(found).cpu().float().eval().requires_grad_(False)
    except Exception as error:  # a part that cannot be copied raises any type
        raise UserError(f"the model cannot be copied ({one_line(error, 160)}); {EXPECTED}") from error


def _name(module: Any) -> str:
    """The architecture that the module says it is, where there is such a name, or else its family's."""
    ensure_torchvision()
    import timm

    config = _configuration(module)
    named = config.get("architecture")
    if isinstance(named, str) and (named in DIGITS_MODELS or timm.is_model(named)):
        return named
    return family_of(module) or type(module).__name__


def _configuration(module: Any) -> Mapping[str, Any]:
    found = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None) or {}
    return found if isinstance(found, Mapping) else vars(found)


def _architecture_of(name: str, module: Any) -> Architecture:
    """Describes a module of a supported family."""
    family = family_of(module)
    assert family is not None, "check_family has looked"
    if module.num_classes < 1:
        raise UserError("the model has no classifier (num_classes is 0); give a fine-tuned model")
    arguments = _swin_arguments(module) if family == SWIN else _vit_arguments(module)
    if family == DISTILLED:
        arguments["global_pool"] = "token"
    described = Architecture(name, family, arguments, _preprocessing(module, arguments))
    return Architecture.from_json(described.to_json())  # tells what no file could say


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

    config, channels = _configuration(module), arguments["in_chans"]
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


def _check_rebuilt(architecture: Architecture, plain: Any, path: Path) -> None:
    channels, *sides = architecture.preprocessing["input_size"]
    images = torch.randn(PROBES, channels, *sides, generator=torch.Generator().manual_seed(0))
    try:
        rebuilt = load_model(architecture.name, checkpoint=path).module
        with torch.inference_mode():
            found = rebuilt(images)
    except UserError as error:
        reason = str(error).replace(str(path), "the file")
        raise UserError(f"the model cannot be rebuilt: {reason}") from error
    try:
        with torch.inference_mode():
            expected = plain(images)
    except Exception as error:  # a forward pass of its own raises any type
        raise UserError(
            f"the model cannot classify images of shape {list(images.shape[1:])}: {one_line(error, 160)}"
        ) from error
    if not isinstance(expected, torch.Tensor) or expected.shape != found.shape:
        raise UserError(
            f"the model gives no logits of shape {list(found.shape)}: its forward pass is not timm's; "
            f"{EXPECTED}"
        )
    if not bool(expected.isfinite().all()):
        raise UserError("the model's logits on random images are not finite; expected numbers")
    deviation = float((found - expected).abs().max())
    if not deviation <= TOLERANCE * max(1.0, float(expected.abs().max())):
        raise UserError(
            f"the model cannot be rebuilt: logits deviate by {deviation:.2g}: something other "
            "than architecture and weights, such as a hook, changes its forward pass; give it without that"
        )
