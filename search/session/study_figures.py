"""The figures of a study: everything that its records say, as one document that tables are made of."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bitfront.evaluators.training.folder import AVERAGE, MODEL
from bitfront.search.session.study_folder import SPLITS, StudyFolder
from bitfront.search.session.study_judging import METRICS, Judging
from bitfront.search.session.study_networks import FLOAT as NETWORK_FLOAT
from bitfront.search.session.study_networks import INT8 as NETWORK_INT8
from bitfront.search.session.study_spec import StudySpec
from bitfront.search.session.study_trainings import ALONE, DISTILLED, TEACHER, Trained
from bitfront.search.session.study_variants import DYNAMIC, FLOAT, INT8, REFINED, REFINES, VARIANTS, Variant

Document = dict[str, Any]
# Each step of the ablation beside the one before it.
_STEPS = (
    ("alone", Variant(ALONE, False, FLOAT)),
    ("distilled", Variant(DISTILLED, False, FLOAT)),
    ("+ EMA", Variant(DISTILLED, True, FLOAT)),
    ("+ INT8", REFINES),
)
# Of an arithmetic, what times call it.
_KINDS = {FLOAT: "float32", DYNAMIC: "dynamic", INT8: "quantized"}
_REFINED_STEP = "+ refined, label-free"


def file_bytes(times: Sequence[Mapping[str, Any]], model: str, kind: str) -> int | None:
    """Bytes of a model's file of a kind: torch's or bitfront's own, or if there is none that of a graph."""
    rows = [row for timed in times[:1] for row in timed["rows"]]
    own = [row for row in rows if (row["model"], row["kind"]) == (model, kind)]
    sizes = {row["runtime"]: int(row["file_bytes"]) for row in own}
    return sizes.get("torch", next(iter(sizes.values()), None))


def mean_of(pairs: Sequence[Sequence[float | None]]) -> list[float | None]:
    """Mean over seeds of values and their errors: value, error of the images, error of the seeds.

    All seeds classify the same images, so that their errors are taken as one and not averaged away.

    Args:
        pairs: Value and its standard error over images, for each seed.
    """
    values = [pair[0] for pair in pairs if pair[0] is not None]
    errors = [pair[1] for pair in pairs if pair[1] is not None]
    if not values:
        return [None, None, None]
    seeds = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return [statistics.fmean(values), statistics.fmean(errors) if errors else None, seeds]


class Figures:
    """Puts the document together.

    Args:
        spec: What is studied.
        folder: Where.
        judging: Has the figures of the outputs.
    """

    def __init__(self, spec: StudySpec, folder: StudyFolder, judging: Judging) -> None:
        self._spec, self._folder, self._judging = spec, folder, judging
        self._places = range(spec.seeds)

    def document(
        self,
        student: Trained,
        networks: Mapping[str, Trained],
        notes: Sequence[str],
        shape: Sequence[int],
        parameters: Mapping[str, int],
        times: Sequence[Document],
    ) -> Document:
        """Everything that is known.

        Args:
            student: The distilled one with the first seed.
            networks: By timm's name.
            notes: What the reader must know.
            shape: Channels, height and width of the student's images.
            parameters: Of every model.
            times: What was measured, by batch.
        """
        record, spec = student.record, student.evaluation
        teacher = self._spec.teacher
        return {
            "folder": self._folder.path.name,
            "model": spec.model,
            "teacher": teacher.model,
            "data": spec.data,
            "source": record["data"],
            "evaluation": student.spec_of(AVERAGE).to_json(),
            "image_size": list(shape),
            "epochs": record["settled"]["recipe"]["epochs"],
            "train_images": record["train_images"],
            "seeds": self._spec.seeds,
            "images": self._judging.images(VARIANTS[0].name(0)),
            "metrics": list(METRICS),
            "parameters": dict(parameters),
            "variants": [*self._variants(spec.model, times), *self._networks(networks, times)],
            "ablation": self._ablation(),
            "refined": [self._folder.record(f"refined-{place}") for place in self._places],
            "times": list(times),
            "notes": list(notes),
        }

    def _variants(self, model: str, times: Sequence[Document]) -> list[Document]:
        found = []
        for variant in VARIANTS:
            named = {"name": variant.title, "arithmetic": variant.arithmetic, "model": model}
            size = file_bytes(times, model, _KINDS[variant.arithmetic])
            names = [variant.name(place) for place in self._places]
            found.append({**named, "baseline": False, "file_bytes": size, **self._quality(names)})
            if variant == REFINES:
                found.append(self._refined(found[-1]))
        return found

    def _refined(self, quantized: Document) -> Document:
        """The refined model, whose file is as large as before; of its values no errors are recorded."""
        records = [self._folder.record(f"refined-{place}") for place in self._places]
        known = [record for record in records if record is not None and "left_out" not in record]
        splits: Document = {}
        for split in SPLITS:
            splits[split] = {
                metric: [mean_of([[record[split]["after"][metric], None] for record in known])[0], None, None]
                for metric in METRICS
            }
        named = {"name": f"{REFINES.title}, refined", "arithmetic": REFINED}
        kept = sum(bool(record["helped"]) for record in known)
        return {**quantized, **named, **splits, "kept": kept, "of": len(known)}

    def _networks(self, networks: Mapping[str, Trained], times: Sequence[Document]) -> list[Document]:
        found = []
        for model, trained in networks.items():
            shared = {"name": model + " + EMA" * (trained.best != MODEL), "model": model, "baseline": True}
            for arithmetic, name in ((FLOAT, f"{model}-{NETWORK_FLOAT}"), (INT8, f"{model}-{NETWORK_INT8}")):
                if self._judging.known(name):
                    size = file_bytes(times, model, _KINDS[arithmetic])
                    known = {"arithmetic": arithmetic, "file_bytes": size}
                    found.append({**shared, **known, **self._quality([name])})
        if self._judging.known(TEACHER):
            shared = {"name": TEACHER, "model": self._spec.teacher.model, "baseline": True}
            found.append({**shared, "arithmetic": FLOAT, "file_bytes": None, **self._quality([TEACHER])})
        return found

    def _quality(self, names: Sequence[str]) -> Document:
        """By split and metric: mean, error of the images, error of the seeds."""
        figures = [self._judging.figures(name) for name in names if self._judging.known(name)]
        return {
            split: {metric: mean_of([each[split][metric] for each in figures]) for metric in METRICS}
            for split in SPLITS
        }

    def _ablation(self) -> list[Document]:
        found: list[Document] = [{"step": _STEPS[0][0], **self._quality(self._named(_STEPS[0][1]))}]
        for (_, before), (step, variant) in itertools.pairwise(_STEPS):
            pairs = [
                self._judging.differences(variant.name(place), before.name(place)) for place in self._places
            ]
            found.append({"step": step, **self._quality(self._named(variant)), "difference": _means(pairs)})
        refined = [self._folder.record(f"refined-{place}") for place in self._places]
        known = [record for record in refined if record is not None and "left_out" not in record]
        if known:
            pairs = [{split: record[split]["differences"] for split in SPLITS} for record in known]
            after = self._refined({})
            quality = {split: after[split] for split in SPLITS}
            found.append({"step": _REFINED_STEP, **quality, "difference": _means(pairs)})
        return found

    def _named(self, variant: Variant) -> list[str]:
        return [variant.name(place) for place in self._places]


def _means(pairs: Sequence[Mapping[str, Any]]) -> Document:
    """By split and metric: mean difference, error of the images, error of the seeds."""
    return {
        split: {metric: mean_of([each[split][metric] for each in pairs]) for metric in METRICS}
        for split in SPLITS
    }
