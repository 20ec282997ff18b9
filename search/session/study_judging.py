"""What models of a study make of the validation and the test images, and what that is worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch

from bitfront.evaluators.context.machine import available_cpus
from bitfront.evaluators.context.preparing import source_of, splits_of
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.context.throughput import torch_threads
from bitfront.evaluators.data.images import PreprocessedImages, load_images
from bitfront.evaluators.data.splits import Splits
from bitfront.evaluators.deployment.runtimes.registry import runtime_named
from bitfront.evaluators.tasks.classification.figures import JUDGE, ClassOutputs, top1_per_image
from bitfront.evaluators.tasks.classification.linearized import macro_f1_per_image, roc_auc_per_image
from bitfront.evaluators.tasks.metric import Outputs
from bitfront.evaluators.training.judging import BATCH
from bitfront.search.session.reporter import Reporter
from bitfront.search.session.study_folder import SPLITS, StudyFolder

METRICS = ("top1", "macro_f1", "roc_auc")
# Logits ``[n, classes]`` of some preprocessed images.
Classify = Callable[[PreprocessedImages], torch.Tensor]
_CALIBRATION = "calibration"


class SplitImages:
    """The images of the splits as a model sees them.

    Args:
        spec: Of the data and the splits.
        data_config: timm's resolved preprocessing of the model.
    """

    def __init__(self, spec: EvaluationSpec, data_config: Mapping[str, Any]) -> None:
        self._source, self._config = source_of(spec), data_config
        self._splits: Splits = splits_of(spec, self._source)

    def of(self, split: str) -> PreprocessedImages:
        """Those of ``search``, ``test`` or ``calibration``."""
        return load_images(self._source, getattr(self._splits, split), self._config)

    def calibrating(self) -> list[Any]:
        """Normalised float32 batches of the images that calibrate, for a quantizer."""
        return [images.numpy() for images, _ in self.of(_CALIBRATION).batches(16)]


class Judging:
    """Keeps outputs of models and their figures, each computed once.

    Args:
        folder: Of the study.
        threads: Of torch and of a runtime; None for all CPUs.
        reporter: Is told of the steps.
    """

    def __init__(self, folder: StudyFolder, threads: int | None, reporter: Reporter) -> None:
        self._folder, self._reporter = folder, reporter
        self._threads = threads or available_cpus()

    def known(self, name: str) -> bool:
        """Whether the outputs of a model are there."""
        return self._folder.has_outputs(name)

    def keep(self, name: str, title: str, classify: Classify, images: SplitImages) -> None:
        """Classifies both splits, and keeps the outputs."""
        if self.known(name):
            return
        outputs: dict[str, torch.Tensor] = {}
        with self._reporter.stage(f"classifying: {title}") as share_done, torch_threads(self._threads):
            for done, split in enumerate(SPLITS, start=1):
                found = images.of(split)
                outputs |= {split: classify(found).float(), f"{split}_labels": found.labels}
                share_done(done / len(SPLITS))
        self._folder.write_outputs(name, outputs)

    def in_runtime(self, path: Path, runtime: str) -> Classify:
        """Classifies by a file in a runtime."""
        session = runtime_named(runtime).load(path, threads=self._threads)

        def classify(images: PreprocessedImages) -> torch.Tensor:
            parts = [torch.from_numpy(session(part.numpy())) for part, _ in images.batches(BATCH)]
            return torch.cat(parts)

        return classify

    def figures(self, name: str) -> dict[str, Any]:
        """By split, each metric of a model with its standard error over the images."""
        return {
            split: {key: _with_error(part) for key, part in by_image(judged).items()}
            for split, judged in self._judged(name).items()
        }

    def images(self, name: str) -> dict[str, int]:
        """Images of each split, of a model that was judged."""
        return {split: len(judged) for split, judged in self._judged(name).items()}

    def differences(self, name: str, other: str) -> dict[str, Any]:
        """By split, by how much each metric is above that of another model, with its paired error."""
        ours, theirs = self._judged(name), self._judged(other)
        found: dict[str, Any] = {}
        for split in SPLITS:
            base = by_image(theirs[split])
            values = by_image(ours[split]).items()
            found[split] = {key: _with_error(part - base[key]) for key, part in values}
        return found

    def agreement(self, name: str, classify: Classify, images: SplitImages) -> float:
        """Share of the test images that get the class of a model's kept outputs, in percent."""
        found = classify(images.of("test")).argmax(-1)
        same = found == self._folder.outputs(name)["test"].argmax(-1)
        return 100.0 * float(same.double().mean())

    def _judged(self, name: str) -> dict[str, ClassOutputs]:
        found = self._folder.outputs(name)
        parts = {split: (found[split], found[f"{split}_labels"]) for split in SPLITS}
        return {
            split: cast(ClassOutputs, JUDGE.outputs(Outputs(values, values, labels)))
            for split, (values, labels) in parts.items()
        }


def by_image(outputs: ClassOutputs) -> dict[str, torch.Tensor]:
    """By metric, values by image whose mean it is, float64 ``[images]``, in percent."""
    figures = (top1_per_image, macro_f1_per_image, roc_auc_per_image)
    return {name: figure(outputs) for name, figure in zip(METRICS, figures, strict=True)}


def _with_error(values: torch.Tensor) -> list[float]:
    """A mean and its standard error."""
    return [float(values.mean()), float(values.std(correction=0)) / math.sqrt(len(values))]
