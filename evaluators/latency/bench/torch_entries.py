"""Benchmark entries that need torch: a float model in torch, a packed file."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from bitfront.evaluators.context.machine import cpu_flags
from bitfront.evaluators.latency.bench.entry import Loaded, Products
from bitfront.evaluators.models.architecture import Architecture
from bitfront.evaluators.models.loading import load_model
from bitfront.evaluators.packed.file import read_packed
from bitfront.evaluators.quantized.kernels.linear import int8_kernels_are_exact
from bitfront.evaluators.quantized.kernels.vnni import vnni_available
from bitfront.evaluators.torchvision_shim import ensure_torchvision

Arithmetic = Literal["float32", "bfloat16", "dynamic"]
# By the operator that torch dispatches: matrix products in it.
_FLOAT = {
    "aten::linear": 1, "aten::matmul": 1, "aten::addmm": 1, "aten::mm": 1, "aten::bmm": 1, "aten::baddbmm": 1,
    "aten::conv2d": 1, "aten::convolution": 1, "aten::scaled_dot_product_attention": 2,
    "aten::_scaled_dot_product_flash_attention_for_cpu": 2,
}  # fmt: skip
_INTEGER = {"quantized::linear_dynamic": 1}
PRODUCTS_OF_ATTENTION = 2
# Linux's names on x86 and on ARM.
_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


@dataclass(frozen=True)
class TorchEntry:
    """See :class:`~bitfront.evaluators.latency.bench.entry.BenchEntry`.

    Attributes:
        path: The weights, safetensors.
        model: The model's name.
        arithmetic: How it computes.
        shape: Of one image.
        baseline: Whether the model is timm's, of any family.
        classes: Of such a model's head; None for as many as timm gives it.
    """

    path: Path
    model: str
    arithmetic: Arithmetic
    shape: tuple[int, ...]
    baseline: bool = False
    classes: int | None = None

    def import_libraries(self) -> None:
        """See :class:`~bitfront.evaluators.latency.bench.entry.BenchEntry`."""
        import_timm()

    def load(self, batch: int) -> Loaded:
        """See :class:`~bitfront.evaluators.latency.bench.entry.BenchEntry`."""
        torch.set_num_threads(1)
        module = converted(self.module(), self.arithmetic)
        images = torch.randn(batch, *self.shape, generator=torch.Generator().manual_seed(0))
        if self.arithmetic == "bfloat16":
            images = images.bfloat16()

        def run() -> torch.Tensor:
            with torch.inference_mode():
                logits: torch.Tensor = module(images)
            return logits

        return Loaded(run, lambda: dispatched_products(run))

    def module(self) -> nn.Module:
        """The float model of the file."""
        if not self.baseline:
            return load_model(self.model, checkpoint=self.path).module
        module = baseline_module(self.model, self.shape, self.classes)
        module.load_state_dict(load_file(self.path))
        return module


def import_timm() -> None:
    """Loads timm."""
    ensure_torchvision()
    import timm  # noqa: F401 - to have it loaded


def baseline_module(name: str, shape: tuple[int, ...], classes: int | None = None) -> nn.Module:
    """One of timm's models with random weights, for images of a shape, ready for inference."""
    ensure_torchvision()
    import timm

    head = {} if classes is None else {"num_classes": classes}
    module: nn.Module = timm.create_model(name, pretrained=False, in_chans=shape[0], **head)
    return module.eval().requires_grad_(False)


def save_weights(module: nn.Module, path: Path, architecture: Architecture | None = None) -> None:
    """Writes a module's weights and buffers as safetensors, and what rebuilds it where its name does not."""
    state = {name: tensor.contiguous().cpu() for name, tensor in module.state_dict().items()}
    save_file(state, path, None if architecture is None else architecture.metadata(state))


def converted(module: nn.Module, arithmetic: Arithmetic) -> nn.Module:
    """A float model that computes in another way; it may be changed in place."""
    if arithmetic == "bfloat16":
        return module.bfloat16()
    if arithmetic == "dynamic":
        with warnings.catch_warnings():  # it is deprecated, and what the CPU studies measure
            warnings.simplefilter("ignore")
            quantized: nn.Module = torch.ao.quantization.quantize_dynamic(  # type: ignore[no-untyped-call]
                module, {nn.Linear}, dtype=torch.qint8
            )
        return quantized
    return module


def dispatched_products(run: Any) -> Products:
    """The matrix products of one run, as torch dispatches them."""
    with _Counting() as counting:
        run()
    floats = sum(_FLOAT.get(name, 0) * count for name, count in counting.calls.items())
    integers = sum(_INTEGER.get(name, 0) * count for name, count in counting.calls.items())
    return Products(floats + integers, integers)


class _Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch does not annotate it
    """Counts operators by name."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls[func.name().partition(".")[0]] += 1
        return func(*args, **(kwargs or {}))


def saved_bytes(entry: TorchEntry, folder: Path) -> int:
    """What a torch model takes when its state is saved in its own arithmetic."""
    if entry.arithmetic == "float32":
        return entry.path.stat().st_size
    module = converted(entry.module(), entry.arithmetic)
    path = folder / entry.arithmetic
    if entry.arithmetic == "bfloat16":
        save_weights(module, path)
    else:  # codes in torch's own packing, which no other format holds
        torch.save(module.state_dict(), path)
    return path.stat().st_size


@dataclass(frozen=True)
class PackedEntry:
    """See :class:`~bitfront.evaluators.latency.bench.entry.BenchEntry`.

    Attributes:
        path: The packed file.
    """

    path: Path

    def import_libraries(self) -> None:
        """See :class:`~bitfront.evaluators.latency.bench.entry.BenchEntry`."""
        import_timm()

    def load(self, batch: int) -> Loaded:
        """See :class:`~bitfront.evaluators.latency.bench.entry.BenchEntry`."""
        torch.set_num_threads(1)
        packed = read_packed(self.path)
        model = packed.assemble()
        shape = packed.blueprint.image_shape
        images = torch.randn(batch, *shape, generator=torch.Generator().manual_seed(0))
        linear = len(packed.layers) + len(packed.outer)
        # Those before a norm of their output, and that of pooling, are multiplied in float lanes.
        normed = [encoder.context_norm is not None for encoder in packed.blueprint.encoders]
        attention, floats = (PRODUCTS_OF_ATTENTION * normed.count(kind) for kind in (False, True))
        if packed.blueprint.readout.pool is not None:
            floats += PRODUCTS_OF_ATTENTION

        def products() -> Products:
            # Where the processor has no such instructions, integers are multiplied in float lanes.
            integers = linear * int8_kernels_are_exact() + attention * vnni_available()
            return Products(linear + attention + floats, integers)

        return Loaded(lambda: model(images), products)


def computes_bfloat16() -> bool:
    """Whether the processor has products of bfloat16; elsewhere they are emulated, slower than float32."""
    return bool(_FLAGS & cpu_flags())
