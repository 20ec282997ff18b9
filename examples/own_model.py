"""Search a model and a data set that are Python objects: a timm module, and images and labels in arrays.

    python examples/own_model.py

Takes about a minute on two cores. Here the module is the embedded one; yours is any of timm's vision
transformers with weights that you have trained.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from bitfront.evaluators.models.loading import load_model
from bitfront.search import EvaluationSpec, RunSpec, search


class Scans:
    """Scikit-learn's scans of digits as a map-style data set, as torch and torchvision have them.

    Images come before normalisation, uint8 ``[height, width]`` here: how they are normalised the model says.
    """

    classes = tuple("0123456789")

    def __init__(self) -> None:
        digits = load_digits()
        self.images: NDArray[np.uint8] = np.rint(digits.images * (255 / 16)).astype(np.uint8)
        self.labels = digits.target

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], int]:
        return self.images[index], int(self.labels[index])


def your_model() -> torch.nn.Module:
    """Stands for your own module."""
    return load_model("digits_deit").module


def main() -> None:
    """Searches under a limit of accuracy, and exports the smallest point as ONNX."""
    spec = RunSpec(
        evaluation=EvaluationSpec(scheme="deploy"), evaluations=30, latency="model:bops", max_drop=2.0
    )
    run = search(spec, model=your_model(), data=Scans(), workers=0)
    print(run.front[["trial", "top1", "test_top1", "latency_ms", "size_bytes"]].to_string(index=False))
    exported = run.export("size", format="onnx")
    print(f"\nthe smallest, verified in ONNX Runtime: {exported.path}")


if __name__ == "__main__":
    main()
