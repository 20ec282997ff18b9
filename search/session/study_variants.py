"""The models of a study: each way of training and each arithmetic, and what their outputs are called."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from bitfront.evaluators.context.machine import available_cpus
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.models.loading import LoadedModel
from bitfront.evaluators.training.judging import outputs_of
from bitfront.evaluators.training.refinement.recipe import RefinementSpec
from bitfront.search.session.refine import refine
from bitfront.search.session.refine_checks import place_in
from bitfront.search.session.reporter import Reporter
from bitfront.search.session.study_folder import StudyFolder
from bitfront.search.session.study_judging import METRICS, Judging, SplitImages
from bitfront.search.session.study_spec import StudySpec
from bitfront.search.session.study_trainings import ALONE, DISTILLED, Trained, Trainings, weights_of
from bitfront.spaces import BitConfig, UserError
from bitfront.spaces.errors import one_line
from bitfront.spaces.schemes import DEPLOY

if TYPE_CHECKING:
    from bitfront.evaluators.context.context import EvaluationContext, SplitName

BITS = (8, 8, 8)
FLOAT, INT8, DYNAMIC, REFINED = "float32", "INT8", "dynamic", "refined"


class Variant(NamedTuple):
    """A model of the student's architecture.

    Attributes:
        way: ``alone`` or ``distilled``.
        averaged: Whether its weights are the averaged ones.
        arithmetic: How it computes.
    """

    way: str
    averaged: bool
    arithmetic: str

    def name(self, place: int) -> str:
        """What its outputs are called, with the seed at a place."""
        return f"{self.way}{'-ema' * self.averaged}-{self.arithmetic.lower()}-{place}"

    @property
    def title(self) -> str:
        """What it is called in tables."""
        return self.way + " + EMA" * self.averaged


# In the order of the tables; the refined one has no outputs of its own to keep.
VARIANTS = (
    Variant(ALONE, False, FLOAT),
    Variant(ALONE, True, FLOAT),
    Variant(DISTILLED, False, FLOAT),
    Variant(DISTILLED, False, DYNAMIC),
    Variant(DISTILLED, False, INT8),
    Variant(DISTILLED, True, FLOAT),
    Variant(DISTILLED, True, DYNAMIC),
    Variant(DISTILLED, True, INT8),
)
REFINES = Variant(DISTILLED, True, INT8)


class Students:
    """Judges all variants of the student.

    Args:
        spec: What is studied.
        folder: Where.
        trainings: Of the study.
        judging: Keeps outputs and figures.
        reporter: Is told of the steps.
    """

    def __init__(
        self, spec: StudySpec, folder: StudyFolder, trainings: Trainings, judging: Judging, reporter: Reporter
    ) -> None:
        self._spec, self._folder, self._trainings = spec, folder, trainings
        self._judging, self._reporter = judging, reporter

    def judge(self, place: int) -> None:
        """Keeps the outputs of every variant with the seed at a place."""
        for way in (ALONE, DISTILLED):
            trained = self._trainings.student(way, place)
            for averaged in (False, True):
                wanted = [v for v in VARIANTS if (v.way, v.averaged) == (way, averaged)]
                if all(self._judging.known(variant.name(place)) for variant in wanted):
                    continue
                model = trained.load(weights_of(averaged))
                images = SplitImages(trained.evaluation, model.data_config)
                for variant in wanted:
                    self._judge(variant, place, trained, model, images)

    def _judge(
        self, variant: Variant, place: int, trained: Trained, model: LoadedModel, images: SplitImages
    ) -> None:
        name, title = variant.name(place), f"{variant.title}, {variant.arithmetic}, seed {place}"
        if self._judging.known(name):
            return
        if variant.arithmetic == INT8:
            self._judge_integers(name, trained.spec_of(weights_of(variant.averaged)))
            return
        module = model.module
        if variant.arithmetic == DYNAMIC:
            from bitfront.evaluators.latency.bench.torch_entries import converted

            module = converted(copy.deepcopy(module), "dynamic")
        self._judging.keep(name, title, lambda part: outputs_of(module, part), images)

    def _judge_integers(self, name: str, spec: EvaluationSpec) -> None:
        """Keeps what the integers of the uniform 8-bit model say."""
        context = self.context(spec)
        config = uniform(context)
        outputs: dict[str, torch.Tensor] = {}
        with self._reporter.stage(f"classifying: {name}"):
            splits: tuple[SplitName, ...] = ("search", "test")
            for split in splits:
                outputs[split] = context.logits(config, split)
                outputs[f"{split}_labels"] = context.images(split).labels
        self._folder.write_outputs(name, outputs)

    def context(self, spec: EvaluationSpec, keep_codes: bool = False) -> EvaluationContext:
        """The student at 8 bits."""
        from bitfront.evaluators.context.context import EvaluationContext

        spec = self.quantized(spec)
        with self._reporter.stage(f"preparing {spec.model} at 8 bits") as share_done:
            return EvaluationContext.from_spec(spec, share_done, keep_codes)

    def quantized(self, spec: EvaluationSpec) -> EvaluationSpec:
        """What is evaluated at 8 bits: by bitfront's scheme of CPU runtimes."""
        threads = self._spec.student.recipe.threads or available_cpus()
        return dataclasses.replace(
            spec,
            scheme=DEPLOY,
            widths=(BITS[0],),
            metrics=METRICS[1:],
            allow_chance=True,
            batch_size=32,
            threads=threads,
            first_images=1,
        )

    def refined(self, place: int) -> dict[str, Any]:
        """What refining the distilled, averaged student at 8 bits came to, with the seed at a place."""
        name = f"refined-{place}"
        if (known := self._folder.record(name)) is not None:
            return known
        trained = self._trainings.student(DISTILLED, place)
        spec = self.quantized(trained.spec_of(weights_of(averaged=True)))
        output = self._folder.refined(str(place))
        try:
            document = self._refined(spec, output, place)
        except UserError as error:  # such as too few images: the study is worth having without
            document = {"left_out": one_line(error, 200)}
            self._reporter.note(f"refining is left out: {document['left_out']}")
        self._folder.write_record(name, document)
        return self._folder.record(name) or document

    def _refined(self, spec: EvaluationSpec, output: Path, place: int) -> dict[str, Any]:
        if place_in(output).begun:
            return refine(output=output, resume=True, progress=self._reporter).to_json()
        recipe = self._spec.student.recipe
        learning = RefinementSpec(
            passes=self._spec.refine_passes, seed=recipe.seed + place, threads=recipe.threads
        )
        found = refine(
            spec,
            uniform(self.context(spec)),
            output,
            images=self._spec.refine_images,
            learning=learning,
            force=True,
            progress=self._reporter,
        )
        return found.to_json()


def uniform(context: EvaluationContext) -> BitConfig:
    """8 bits throughout."""
    return BitConfig.uniform(context.spec.model, context.spec.scheme, context.encoders, BITS)
