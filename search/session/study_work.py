"""The work of a study, step by step; every step that is paid for is read from its record."""

from __future__ import annotations

from typing import Any

from bitfront.evaluators.latency.bench.baselines import NetworkFiles
from bitfront.evaluators.models.classifiers import load_classifier
from bitfront.evaluators.models.loading import LoadedModel
from bitfront.evaluators.training.judging import outputs_of
from bitfront.search.session.reporter import Reporter
from bitfront.search.session.study_figures import Figures
from bitfront.search.session.study_folder import StudyFolder
from bitfront.search.session.study_judging import Judging, SplitImages
from bitfront.search.session.study_networks import Networks
from bitfront.search.session.study_spec import StudySpec
from bitfront.search.session.study_timing import PACKED, Timing, network_candidates, student_candidates
from bitfront.search.session.study_trainings import DISTILLED, TEACHER, Trained, Trainings, weights_of
from bitfront.search.session.study_variants import REFINES, Students

_VERIFIED = "verified"


class StudyWork:
    """Carries a study out.

    Args:
        spec: What is studied, with its runtimes.
        folder: Where; what it holds already is taken.
        reporter: Is told of the steps.
    """

    def __init__(self, spec: StudySpec, folder: StudyFolder, reporter: Reporter) -> None:
        self._spec, self._folder, self._reporter = spec, folder, reporter
        self._runtimes = spec.runtimes or ()
        self._trainings = Trainings(spec, folder, reporter)
        self._judging = Judging(folder, spec.student.recipe.threads, reporter)
        self._students = Students(spec, folder, self._trainings, self._judging, reporter)

    def run(self) -> dict[str, Any]:
        """Trains, judges, refines and times; gives the figures."""
        for place in range(self._spec.seeds):
            self._students.judge(place)
        student = self._trainings.student(DISTILLED, 0)
        model = student.load(weights_of(averaged=True))
        self._judge_teacher(student, model)
        baselines = self._trainings.baselines()
        runtime = self._runtimes[0] if self._runtimes else None
        networks = Networks(baselines, self._folder, self._judging, runtime, self._reporter)
        files = networks.judge()
        for place in range(self._spec.seeds):
            self._students.refined(place)
        verified = self._time(student, files)
        notes = [f"{name} is left out: {why}" for name, why in self._trainings.left_out.items()]
        notes += [*networks.notes, *self._about_starts(student, baselines)]
        shape = model.data_config["input_size"]
        parameters = {student.evaluation.model: _parameters(model)}
        parameters |= {name: _parameters(each.load(each.best)) for name, each in baselines.items()}
        figures = Figures(self._spec, self._folder, self._judging)
        times = Timing(self._folder, None, self._reporter).figures(self._spec.batches)
        document = figures.document(student, baselines, notes, shape, parameters, times)
        return {**document, "verified": verified, "runtimes": list(self._runtimes)}

    def _judge_teacher(self, student: Trained, model: LoadedModel) -> None:
        """Keeps the teacher's outputs on the same images, where it takes such ones."""
        if self._judging.known(TEACHER):
            return
        spec = self._trainings.teacher()
        teacher = load_classifier(spec.model, checkpoint=spec.checkpoint, pretrained=spec.pretrained)
        if teacher.classes != model.classes:
            return
        images = SplitImages(student.evaluation, teacher.data_config)
        self._judging.keep(TEACHER, TEACHER, lambda part: outputs_of(teacher.module, part), images)

    def _time(self, student: Trained, files: dict[str, NetworkFiles]) -> dict[str, Any] | None:
        """Times all files, and runs the student's INT8 file on the test images; what that came to."""
        timing = Timing(self._folder, self._spec.budget_s, self._reporter)
        known = self._folder.record(_VERIFIED)
        if timing.missing(self._spec.batches) or (known is None and self._runtimes):
            spec = student.spec_of(weights_of(averaged=True))
            context = self._students.context(spec, keep_codes=True)
            candidates = student_candidates(context, self._runtimes, self._folder.models, self._reporter)
            if self._runtimes:
                runtime = self._runtimes[0]
                [path] = [
                    each.entry.path
                    for each in candidates
                    if (each.label.variant, each.label.runtime) == (PACKED, runtime)
                ]
                images = SplitImages(spec, context.model.data_config)
                classify = self._judging.in_runtime(path, runtime)
                share = self._judging.agreement(REFINES.name(0), classify, images)
                self._folder.write_record(_VERIFIED, {"runtime": runtime, "same_class_percent": share})
            for network in files.values():
                candidates += network_candidates(network, self._runtimes)
            timing.measure(candidates, self._spec.batches)
        return self._folder.record(_VERIFIED)

    def _about_starts(self, student: Trained, baselines: dict[str, Trained]) -> list[str]:
        """Whether networks began as the student did, in a sentence."""
        begun = _begins_with_weights(student)
        unlike = [name for name, each in baselines.items() if _begins_with_weights(each) != begun]
        if not unlike:
            return []
        ours, theirs = ("trained", "random") if begun else ("random", "trained")
        return [
            f"the student begins with {ours} weights and {', '.join(unlike)} with {theirs} ones: their "
            "accuracies do not compare the architectures"
        ]


def _begins_with_weights(trained: Trained) -> bool:
    spec = trained.record["spec"]["evaluation"]
    return bool(spec["checkpoint"] or spec["pretrained"])


def _parameters(model: LoadedModel) -> int:
    return sum(parameter.numel() for parameter in model.module.parameters())
