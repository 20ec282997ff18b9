"""What every runtime keeps: subclass it with a fixture ``runtime`` to test one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from graph_cases import case

from bitfront.evaluators.deployment.graph.model import float_graph
from bitfront.evaluators.deployment.runtimes.runtime import Runtime
from bitfront.spaces import BitfrontError


class RuntimeContract:
    """Loads ONNX files, classifies batches of any size, reports its kernels, and refuses what is no model."""

    @pytest.fixture
    def runtime(self) -> Runtime:
        """The runtime under test."""
        raise NotImplementedError("a subclass gives its runtime")

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        """A small float model."""
        onnx.save(float_graph(case("vit").blueprint), tmp_path / "model.onnx")
        return tmp_path / "model.onnx"

    def test_it_says_what_it_is(self, runtime: Runtime) -> None:
        assert runtime.name
        assert runtime.version
        assert all(suffix.startswith(".") for suffix in runtime.suffixes)
        assert "f32" in runtime.precisions

    def test_logits_are_the_models(self, runtime: Runtime, file: Path) -> None:
        images = case("vit").images[:3]
        with torch.inference_mode():
            wanted = case("vit").module(images).numpy()
        found = runtime.load(file)(images.numpy())
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())

    def test_batches_of_any_size_and_logits_that_stay(self, runtime: Runtime, file: Path) -> None:
        session, images = runtime.load(file), case("vit").images[:5].numpy()
        parts = [session(images[start : start + 2]) for start in range(0, 5, 2)]
        np.testing.assert_allclose(np.concatenate(parts), session(images), atol=1e-4)

    def test_it_reports_every_product(self, runtime: Runtime, file: Path) -> None:
        blueprint = case("vit").blueprint
        products = len(blueprint.outer()) + sum(len(e.linear()) + 2 for e in blueprint.encoders)
        found = runtime.load(file).kernels()
        assert (found.total, found.on_integers) == (products, 0)

    @pytest.mark.parametrize("content", [None, b"", b"\x00\xff garbage \n" * 100])
    def test_what_is_no_model_is_refused_in_one_line(
        self, runtime: Runtime, tmp_path: Path, content: bytes | None
    ) -> None:
        path = tmp_path / "damaged.onnx"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(BitfrontError, match=r"damaged\.onnx") as caught:
            runtime.load(path)
        assert len(str(caught.value).splitlines()) == 1

    @pytest.mark.parametrize("shape", [(2, 3, 16, 13), (2, 1, 16, 16), (2, 3, 32, 32), (3, 16, 16)])
    def test_other_images_are_refused_in_one_line(
        self, runtime: Runtime, file: Path, shape: tuple[int, ...]
    ) -> None:
        with pytest.raises(BitfrontError) as caught:
            runtime.load(file)(np.zeros(shape, np.float32))
        assert len(str(caught.value).splitlines()) == 1
