"""Architecture documents: what rebuilds a model that was given as a Python object, beside its weights."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bitfront.evaluators.data.images import preprocessing_from_json, preprocessing_to_json
from bitfront.evaluators.torchvision_shim import ensure_torchvision
from bitfront.spaces import UserError
from bitfront.spaces.errors import one_line

METADATA_KEY = "bitfront_model"  # of the description in a safetensors header
DIGEST_KEY = "bitfront_digest"  # of the digest of the description and the weights
FORMAT = "bitfront/float-model"
VERSION = 1
VIT, DISTILLED, SWIN = "VisionTransformer", "VisionTransformerDistilled", "SwinTransformer"
# Of models that a name of timm's says everything of, but for the size of images and the number of classes.
NAMED = "named"

_LARGEST_SIDE = 4096
_LONGEST = 1_000_000
_LONGEST_NAME = 200
# Entries of the attention masks of a Swin's stage: 4 bytes each, and no tensor of the file limits them.
_LARGEST_MASK = 1 << 28
# Whole numbers by ranges, others by their bounds, texts by sets of them, lists by the rule of their entries,
# given twice for pairs.
_SIDE, _WIDTH, _DEPTH, _RATIO = (
    range(1, _LARGEST_SIDE + 1),
    range(1, 1 + (1 << 16)),
    range(1, 1024),
    (1e-3, 1e3),
)
_SHARED: dict[str, Any] = {
    "img_size": [_SIDE, _SIDE],
    "patch_size": [_SIDE, _SIDE],
    "in_chans": range(1, 4, 2),
    "num_classes": range(1, 1 << 24),
    "embed_dim": _WIDTH,
    "qkv_bias": bool,
    "norm_eps": (0.0, 1.0),
}
_PLAIN: dict[str, Any] = {
    **_SHARED,
    "global_pool": {"token", "avg"},
    "depth": _DEPTH,
    "num_heads": _WIDTH,
    "mlp_ratio": _RATIO,
    "proj_bias": bool,
    "init_values": (0.0, 1.0),
    "class_token": bool,
    "pos_embed": {"learn", "none"},
    "no_embed_class": bool,
    "reg_tokens": range(_LARGEST_SIDE),
    "pre_norm": bool,
    "fc_norm": bool,
    "pool_include_prefix": bool,
}
_ARGUMENTS: dict[str, dict[str, Any]] = {
    VIT: _PLAIN,
    DISTILLED: _PLAIN,
    SWIN: {
        **_SHARED,
        "depths": [_DEPTH],
        "num_heads": [_WIDTH],
        "head_dim": [_WIDTH],
        "window_size": [[_SIDE, _SIDE]],
        "always_partition": bool,
        "mlp_ratio": [_RATIO],
    },
    NAMED: {"architecture": str, **{key: _SHARED[key] for key in ("img_size", "in_chans", "num_classes")}},
}
_OPTIONAL = ("init_values", "head_dim")  # may be None


@dataclass(frozen=True)
class Architecture:
    """How a module of a supported family is constructed, and how its images are preprocessed.

    Attributes:
        name: What people call it: timm's name, or else the family's.
        family: timm's class: ``VisionTransformer``, ``VisionTransformerDistilled`` or ``SwinTransformer``;
            or ``named``, for models of other families that are what timm builds under a name.
        arguments: Of its constructor, by name, as JSON values; ``norm_eps`` is that of every LayerNorm.
        preprocessing: timm's ``input_size``, ``interpolation``, ``mean``, ``std``, ``crop_pct`` and
            ``crop_mode``.
    """

    name: str
    family: str
    arguments: Mapping[str, Any]
    preprocessing: Mapping[str, Any]

    def build(self) -> nn.Module:
        """A module with random weights, on the default device.

        Raises:
            UserError: timm cannot construct it, because the arguments contradict one another.
        """
        arguments = {key: _tupled(value) for key, value in self.arguments.items() if key != "norm_eps"}
        if self.family == SWIN and len(arguments["window_size"]) == 1:
            (arguments["window_size"],) = arguments["window_size"]
        if self.family != NAMED:
            arguments["norm_layer"] = partial(nn.LayerNorm, eps=self.arguments["norm_eps"])
        try:
            module: nn.Module = _constructor(self.family, arguments)(**arguments)
        except (AssertionError, ArithmeticError, RuntimeError, TypeError, ValueError) as error:
            kind = arguments.get("architecture", self.family)
            raise UserError(f"timm cannot construct a {kind} as described: {one_line(error, 120)}") from error
        module.pretrained_cfg = {  # type: ignore[assignment]
            **self.preprocessing,
            "architecture": self.name,
            "num_classes": self.arguments["num_classes"],
            "fixed_input_size": True,
        }
        return module

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            "family": self.family,
            "arguments": dict(self.arguments),
            "preprocessing": preprocessing_to_json(self.preprocessing),
        }

    def metadata(self, state: Mapping[str, torch.Tensor]) -> dict[str, str]:
        """What the header of a safetensors file of the model's weights says."""
        return {METADATA_KEY: json.dumps(self.to_json()), DIGEST_KEY: self.digest(state)}

    def digest(self, state: Mapping[str, torch.Tensor]) -> str:
        """SHA-256 of the description and of weights on the CPU, by name."""
        found = hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode())
        for name in sorted(state):
            found.update(f"{name}{list(state[name].shape)}".encode())
            found.update(state[name].float().contiguous().numpy().data)
        return found.hexdigest()

    @classmethod
    def from_json(cls, document: object) -> Architecture:
        """Reads a JSON value of any origin; nothing but timm's own classes can come of it.

        Raises:
            UserError: It is no such document of this version, or a value is not what it has to be.
        """
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise UserError(f"expected an architecture of format {FORMAT!r}")
        if document.get("version") != VERSION:
            raise UserError(f"its version is {document.get('version')!r:.40}; expected {VERSION}")
        name, family, arguments = (document.get(key) for key in ("name", "family", "arguments"))
        if not isinstance(name, str) or not name or not name.isprintable() or len(name) > _LONGEST_NAME:
            raise UserError(f"its name is {name!r:.40}; expected that of a model")
        if not isinstance(family, str) or family not in _ARGUMENTS:
            raise UserError(f"its family is {family!r:.40}; expected one of {', '.join(_ARGUMENTS)}")
        rules = _ARGUMENTS[family]
        if not isinstance(arguments, dict) or set(arguments) != set(rules):
            raise UserError(f"its arguments are not those of a {family}: {', '.join(rules)}")
        for key, value in arguments.items():
            if not _fits(value, rules[key]) and not (value is None and key in _OPTIONAL):
                raise UserError(f"its argument {key} is {value!r:.40}, which is out of range")
        if family == NAMED and not is_architecture(arguments["architecture"]):
            raise UserError(f"its architecture {arguments['architecture']!r:.40} is none of this timm's")
        if family == SWIN and _mask_entries(arguments) > _LARGEST_MASK:
            raise UserError("its attention masks are larger than any model needs")
        try:
            preprocessing = preprocessing_from_json(document.get("preprocessing"))
        except ValueError as error:
            raise UserError(f"its preprocessing cannot be used: {error}") from error
        if preprocessing["input_size"] != (arguments["in_chans"], *arguments["img_size"]):
            raise UserError(f"its images of {preprocessing['input_size']} do not fit its img_size, in_chans")
        return cls(name, family, arguments, preprocessing)


def read_architecture(path: Path) -> Architecture | None:
    """The architecture in the header of a weights file; None where it has none.

    Raises:
        UserError: There is one that cannot be used.
    """
    text = _header(path).get(METADATA_KEY)
    if text is None:
        return None
    try:
        if len(text) > _LONGEST:
            raise UserError("its description is too long")
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError("its description is not JSON") from error
        return Architecture.from_json(document)
    except UserError as error:
        raise UserError(f"{path} describes a model that cannot be rebuilt: {error}") from error


def check_digest(path: Path, architecture: Architecture, state: Mapping[str, torch.Tensor]) -> None:
    """Compares what was read from a file with the digest in its header, where it has one.

    Raises:
        UserError: They differ.
    """
    digest = _header(path).get(DIGEST_KEY)
    if digest is not None and digest != architecture.digest(state):
        raise UserError(
            f"{path} has changed since it was written: its digest differs; bring it back, or search again"
        )


def _header(path: Path) -> Mapping[str, str]:
    """The metadata of a safetensors file; none where it cannot be read: reading the weights tells why."""
    from safetensors import SafetensorError, safe_open

    if not os.path.isfile(path):
        return {}
    try:
        with safe_open(path, "pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError):
        return {}


def architecture_in(document: Mapping[str, Any]) -> Architecture | None:
    """The architecture in the provenance of a document; None where its model has a name that rebuilds it.

    Raises:
        UserError: There is one that cannot be used.
    """
    provenance = document.get("provenance")
    found = provenance.get("architecture") if isinstance(provenance, dict) else None
    return None if found is None else Architecture.from_json(found)


def family_of(module: nn.Module) -> str | None:
    """Which of the families a module belongs to; None for any other."""
    return next((name for name in (DISTILLED, VIT, SWIN) if isinstance(module, _class_of(name))), None)


def is_architecture(name: str) -> bool:
    """Whether timm has a model of that name."""
    ensure_torchvision()
    import timm

    return len(name) <= _LONGEST_NAME and timm.is_model(name)


def _constructor(family: str, arguments: dict[str, Any]) -> Callable[..., nn.Module]:
    """What constructs a module; the name of an architecture is taken out of the arguments."""
    if family != NAMED:
        return _class_of(family)
    import timm

    create: Callable[..., nn.Module] = partial(timm.create_model, arguments.pop("architecture"))
    return create


def _class_of(family: str) -> type[nn.Module]:
    ensure_torchvision()
    from timm.models.deit import VisionTransformerDistilled
    from timm.models.swin_transformer import SwinTransformer
    from timm.models.vision_transformer import VisionTransformer

    classes: tuple[type[nn.Module], ...] = (VisionTransformer, VisionTransformerDistilled, SwinTransformer)
    return {found.__name__: found for found in classes}[family]


def _tupled(value: Any) -> Any:
    return tuple(map(_tupled, value)) if isinstance(value, list) else value


def _mask_entries(arguments: Mapping[str, Any]) -> int:
    """Tokens of the first stage times the tokens of the largest window."""
    (height, width), (rows, columns) = arguments["img_size"], arguments["patch_size"]
    return int((height // rows) * (width // columns) * max(map(math.prod, arguments["window_size"])))


def _fits(value: Any, rule: Any) -> bool:
    """Whether a JSON value is what a rule of ``_ARGUMENTS`` says."""
    if isinstance(rule, range):
        return type(value) is int and value in rule
    if isinstance(rule, tuple):
        return type(value) in (int, float) and rule[0] <= value <= rule[1]
    if isinstance(rule, set):
        return isinstance(value, str) and value in rule
    if isinstance(rule, list):
        lengths = range(1, _LARGEST_SIDE) if len(rule) == 1 else range(2, 3)
        return isinstance(value, list) and len(value) in lengths and all(_fits(v, rule[0]) for v in value)
    return type(value) is rule
