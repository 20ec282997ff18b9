"""The tensors of a nested value, such as a blueprint, each replaced by another."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch

from bitfront.evaluators.models.blueprint import Blueprint

T = TypeVar("T")
Visit = Callable[[str, torch.Tensor], torch.Tensor]


def map_tensors(value: T, visit: Visit, name: str) -> T:
    """A copy of a nested value with every tensor replaced by what ``visit`` gives for its name and itself.

    Args:
        value: Dataclasses, mappings and tuples of tensors; anything else in it stays as it is.
        visit: Called with (name, tensor), the name being the way to the tensor, with dots.
        name: Where the way begins.
    """
    mapped: T = _mapped(value, visit, name)
    return mapped


def _mapped(value: Any, visit: Visit, name: str) -> Any:
    if isinstance(value, torch.Tensor):
        return visit(name, value)
    if isinstance(value, Mapping):
        return {key: _mapped(part, visit, f"{name}.{key}") for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_mapped(part, visit, f"{name}.{index}") for index, part in enumerate(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return type(value)(**{key: _mapped(part, visit, f"{name}.{key}") for key, part in fields.items()})
    return value


def blueprint_on(blueprint: Blueprint, device: torch.device) -> Blueprint:
    """A blueprint on another device; tensors on the meta device, which have no values, stay there."""
    return map_tensors(blueprint, lambda _, tensor: tensor if tensor.is_meta else tensor.to(device), "")
