"""Weights as each format stores them: constants of an OpenVINO model, and what makes floats of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitfront.spaces.part_formats import FORMATS

# Values that share a scale at 4 bits, where the length allows; the whole row where it does not.
GROUPS = (64, 32)
_TYPES = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}
Floats = NDArray[np.float32]


def rounded(values: Floats, axes: tuple[int, ...], name: str) -> tuple[NDArray[np.int8], Floats]:
    """Integers and scales of weights, symmetric, by output channel or by groups of it.

    Args:
        values: Float32 weights.
        axes: Of output channels.
        name: ``int8w`` or ``int4w``.

    Returns:
        Integers ``[channels, groups, length]``, and scales ``[channels, groups, 1]``.
    """
    top = 2 ** (FORMATS[name].bits - 1) - 1
    rows = _rows(values, axes)
    grouped = rows.reshape(len(rows), -1, group_length(rows.shape[1], name))
    scale = np.maximum(np.abs(grouped).max(-1, keepdims=True), 1e-12).astype(np.float32) / top
    return np.clip(np.rint(grouped / scale), -top - 1, top).astype(np.int8), scale


def group_length(length: int, name: str) -> int:
    """How many values of a row share a scale."""
    if name != "int4w":
        return length
    return next((group for group in GROUPS if length % group == 0), length)


def restored(values: Floats, axes: tuple[int, ...], name: str) -> Floats:
    """The float32 weights that a format's stored ones stand for, in the shape of the weights."""
    if name in _TYPES:
        import torch

        kind = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[name]
        found: Floats = torch.from_numpy(values).to(kind).float().numpy()
        return found
    integers, scale = rounded(values, axes, name)
    rows = (integers * scale).astype(np.float32).reshape(_rows(values, axes).shape)
    moved = np.moveaxis(values, axes, range(len(axes)))
    back: Floats = np.moveaxis(rows.reshape(moved.shape), range(len(axes)), axes)
    return back


def stored_bytes(values: Floats, axes: tuple[int, ...], name: str) -> int:
    """Bytes of weights in a format, with their scales; of integer products like those of integer weights."""
    bits = FORMATS[name].bits
    if name in _TYPES:
        return values.size * bits // 8
    rows = _rows(values, axes)
    scales = rows.size // group_length(rows.shape[1], name)
    return (rows.size * bits + 7) // 8 + 4 * scales


def stored_weight(values: Floats, axes: tuple[int, ...], name: str) -> Any:
    """The output of a subgraph that holds weights in a format and gives float32."""
    from openvino import Type
    from openvino import opset13 as ops

    if name == "fp32":
        return ops.constant(values, dtype=Type.f32).output(0)
    if name in _TYPES:
        stored = ops.constant(values, dtype=Type.f16) if name == "fp16" else ops.constant(_half(values))
        return ops.convert(stored, "f32").output(0)
    integers, scale = rounded(values, axes, name)
    moved = np.moveaxis(values, axes, range(len(axes))).shape
    kind = Type.i4 if name == "int4w" else Type.i8
    if integers.shape[1] == 1:  # a scale for each channel: the shape of the weights stays as it is
        integers, scale = (
            _in_place(integers, moved, axes),
            _in_place(scale, moved[: len(axes)], axes, values.ndim),
        )
        whole = ops.multiply(ops.convert(ops.constant(integers, dtype=kind), "f32"), ops.constant(scale))
        return whole.output(0)
    whole = ops.multiply(ops.convert(ops.constant(integers, dtype=kind), "f32"), ops.constant(scale))
    shaped = ops.reshape(whole, ops.constant(np.array(moved, dtype=np.int64)), False)
    if axes == tuple(range(len(axes))):
        return shaped.output(0)
    order = np.argsort([*axes, *(i for i in range(values.ndim) if i not in axes)]).astype(np.int64)
    return ops.transpose(shaped, ops.constant(order)).output(0)


def _half(values: Floats) -> Any:
    """A tensor of bfloat16, rounded to the nearest: OpenVINO's own conversion cuts digits off."""
    from openvino import Tensor, Type

    bits = np.ascontiguousarray(values).view(np.uint32)
    nearest = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    held = Tensor(
        Type.bf16, list(values.shape)
    )  # of its own memory: an array would be gone before it is read
    held.data[...] = nearest.view(np.float16)
    return held


def _rows(values: Floats, axes: tuple[int, ...]) -> Floats:
    """Weights with a row for each output channel."""
    moved = np.moveaxis(values, axes, range(len(axes)))
    channels = int(np.prod(moved.shape[: len(axes)]))
    found: Floats = np.ascontiguousarray(moved.reshape(channels, -1))
    return found


def _in_place(
    rows: NDArray[Any], moved: tuple[int, ...], axes: tuple[int, ...], dimensions: int | None = None
) -> NDArray[Any]:
    """Rows, or one number a row, in the order of the weights' dimensions."""
    shape = moved if dimensions is None else (*moved, *(1,) * (dimensions - len(axes)))
    return np.ascontiguousarray(np.moveaxis(rows.reshape(shape), range(len(axes)), axes))
