"""The networks of a study: their files in float32 and INT8, and what both are worth."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

from torch import nn

from bitfront.evaluators.latency.bench.baselines import NetworkFiles, export_float, quantize
from bitfront.evaluators.training.judging import outputs_of
from bitfront.search.session.reporter import Reporter
from bitfront.search.session.study_folder import StudyFolder
from bitfront.search.session.study_judging import Judging, SplitImages
from bitfront.search.session.study_trainings import Trained
from bitfront.spaces import BitfrontError

FLOAT, INT8 = "float32", "int8"


class Networks:
    """Writes and judges the networks that bitfront does not quantize.

    Their INT8 is ONNX Runtime's static one: unsigned activations with ranges from the images that calibrate,
    signed weights with a scale for each channel.

    Args:
        trained: By timm's name.
        folder: Of the study.
        judging: Keeps outputs and figures.
        runtime: What runs INT8 graphs; None where nothing is installed that does.
        reporter: Is told of the steps.
    """

    def __init__(
        self,
        trained: Mapping[str, Trained],
        folder: StudyFolder,
        judging: Judging,
        runtime: str | None,
        reporter: Reporter,
    ) -> None:
        self._trained, self._folder, self._judging = trained, folder, judging
        self._runtime, self._reporter = runtime, reporter
        self.notes: list[str] = []

    def judge(self) -> dict[str, NetworkFiles]:
        """Keeps the outputs of every network in float32 and in INT8; gives their files."""
        return {name: self._judge(name, trained) for name, trained in self._trained.items()}

    def _judge(self, name: str, trained: Trained) -> NetworkFiles:
        model = trained.load(trained.best)
        images = SplitImages(trained.evaluation, model.data_config)
        shape = tuple(map(int, model.data_config["input_size"]))
        files = NetworkFiles(name, shape, self._folder.models, model.classes)
        if not files.weights.exists():
            with self._folder.placing(files.weights) as part:
                shutil.copyfile(trained.folder / trained.best, part)
        own, title = f"{name}-{FLOAT}", f"{name}, float32"
        self._judging.keep(own, title, lambda part: outputs_of(model.module, part), images)
        if self._runtime is None:
            return files
        try:
            self._write_graphs(files, model.module, images)
        except BitfrontError as error:
            self.notes.append(f"{name} has no INT8: {error}")
            return files
        classify = self._judging.in_runtime(files.quantized, self._runtime)
        self._judging.keep(f"{name}-{INT8}", f"{name}, INT8 in {self._runtime}", classify, images)
        return files

    def _write_graphs(self, files: NetworkFiles, module: nn.Module, images: SplitImages) -> None:
        placing, stage = self._folder.placing, self._reporter.stage
        if not files.whole.exists():
            with stage(f"exporting {files.name}"), placing(files.whole) as part:
                export_float(module, files.shape, part)
        if not files.quantized.exists():
            with stage(f"quantizing {files.name}"), placing(files.quantized) as part:
                quantize(files.whole, part, images.calibrating())
