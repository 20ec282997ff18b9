"""Every runtime keeps the contract of runtimes."""

import pytest
from runtime_contract import RuntimeContract

from bitfront.evaluators.deployment.runtimes.registry import runtime_named


class TestOnnxRuntime(RuntimeContract):
    @pytest.fixture
    def runtime(self):
        pytest.importorskip("onnxruntime")
        return runtime_named("onnxruntime")


class TestOpenVino(RuntimeContract):
    @pytest.fixture
    def runtime(self):
        pytest.importorskip("openvino")
        return runtime_named("openvino")
