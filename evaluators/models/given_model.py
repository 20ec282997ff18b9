"""Models given as Python objects: their architecture read from the module, and a file that rebuilds them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bitfront.evaluators.models.architecture import Architecture, family_of
from bitfront.evaluators.models.checkpoint import write_weights
from bitfront.evaluators.models.description import configuration_of, described
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
        module: Of one of :data:`~bitfront.evaluators.models.families.FAMILIES`, which may be compiled or in
            ``DataParallel``; on any device, in float32, bfloat16 or float16.

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
    architecture = described(name, plain)
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

    config = configuration_of(module)
    named = config.get("architecture")
    if isinstance(named, str) and (named in DIGITS_MODELS or timm.is_model(named)):
        return named
    return family_of(module) or type(module).__name__


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
