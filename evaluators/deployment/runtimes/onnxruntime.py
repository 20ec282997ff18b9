"""ONNX Runtime on a CPU."""

from __future__ import annotations

import tempfile
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitfront.evaluators.deployment.runtimes.runtime import (
    FloatPrecision,
    Images,
    KernelReport,
    Product,
    Session,
    check_file,
    not_a_model,
    not_run,
)
from bitfront.spaces import UserError

PROVIDERS = ["CPUExecutionProvider"]
_INTEGER = {
    "MatMulIntegerToFloat", "MatMulInteger", "QLinearMatMul", "DynamicQuantizeMatMul", "QGemm", "QAttention",
    "QLinearConv", "ConvInteger",
}  # fmt: skip
_FLOAT = {"MatMul", "FusedMatMul", "Gemm", "FusedGemm", "Conv", "FusedConv", "MatMulNBits", "Attention"}
_ERRORS_ONLY = 3


class _OnnxRuntimeSession:
    """See :class:`Session`; the file is loaded again where its optimized graph is asked for."""

    def __init__(self, session: Any, path: Path) -> None:
        self._session, self._path = session, path
        self._input = session.get_inputs()[0].name

    def __call__(self, images: Images) -> NDArray[np.float32]:
        try:
            found: NDArray[np.float32] = self._session.run(None, {self._input: images})[0]
        # Its exceptions have no common base but this one.
        except Exception as error:
            raise not_run(OnnxRuntime.name, error) from error
        return found

    def kernels(self) -> KernelReport:
        """The nodes of the graph as it was optimized for execution."""
        import onnx

        with tempfile.TemporaryDirectory() as folder:
            optimized = Path(folder) / "optimized.onnx"
            _session(self._path, 1, optimized)
            nodes = onnx.load(optimized, load_external_data=False).graph.node
        counts = Counter(node.op_type for node in nodes if node.op_type in _INTEGER | _FLOAT)
        return KernelReport(
            tuple(Product(kernel, kernel in _INTEGER, count) for kernel, count in counts.most_common())
        )


def _session(path: Path, threads: int, optimized: Path | None = None) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    return onnxruntime.InferenceSession(str(path), options, providers=PROVIDERS)


class OnnxRuntime:
    """See :class:`Runtime`."""

    name = "onnxruntime"
    suffixes: tuple[str, ...] = (".onnx",)
    precisions: tuple[FloatPrecision, ...] = ("f32",)

    def __init__(self) -> None:
        self.version = version("onnxruntime")

    def load(
        self,
        path: Path,
        *,
        threads: int = 1,
        batch: int | None = None,  # noqa: ARG002 - shapes may stay open at no cost
        precision: FloatPrecision = "f32",
    ) -> Session:
        """See :class:`Runtime`."""
        check_file(path, self.suffixes)
        if precision not in self.precisions:
            raise UserError(f"onnxruntime computes in f32 here, not in {precision}")
        try:
            return _OnnxRuntimeSession(_session(path, threads), path)
        # Its exceptions have no common base but this one.
        except Exception as error:
            raise not_a_model(path, self.name, error) from error
