"""The figures that the CPU-centric study of ViTs published, and whether ours may stand beside them."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

Document = Mapping[str, Any]


@dataclass(frozen=True)
class PublishedStudy:
    """What was published.

    Attributes:
        title: What the study is about.
        reference: Who published it.
        data: What its models were trained on.
        model: Its student, by timm's name.
        teacher: Its teacher.
        side: Rows and columns of its images.
        machine: What it timed on.
        variants: Metrics and file sizes of the student's variants.
        times: Times of all models, by batch.
    """

    title: str
    reference: str
    data: str
    model: str
    teacher: str
    side: int
    machine: str
    variants: tuple[Document, ...]
    times: tuple[Document, ...]

    @property
    def where(self) -> str:
        """The study and who published it."""
        return f"{self.title} ({self.reference})"

    def variant(self, name: str, arithmetic: str) -> Document | None:
        """What was published of a variant."""
        return next((v for v in self.variants if (v["name"], v["arithmetic"]) == (name, arithmetic)), None)

    def timed(self, model: str, kind: str) -> Document | None:
        """What was published of a model's times: ``float32``, or torch's ``dynamic`` INT8."""
        return next((t for t in self.times if (t["model"], t["kind"]) == (_plain(model), kind)), None)


@functools.cache
def published_study() -> PublishedStudy:
    """The figures that are shipped."""
    text = resources.files("bitfront.search.reports").joinpath("cpu_study.toml").read_text(encoding="utf-8")
    known = tomllib.loads(text)
    return PublishedStudy(**{**known, "variants": tuple(known["variants"]), "times": tuple(known["times"])})


def data_name(figures: Document) -> str:
    """What the data of a study are called, without the folders of this machine."""
    return re.sub(r"[^:]*[/\\]", "", str(figures["source"]))


def quality_comparable(figures: Document) -> bool:
    """Whether model, teacher, size and data are those published; the data as far as their name tells."""
    paper = published_study()
    return (
        times_comparable(figures)
        and _plain(figures["model"]) == paper.model
        and _plain(figures["teacher"]) == paper.teacher
        and re.search(paper.data, figures["data"], re.IGNORECASE) is not None
    )


def times_comparable(figures: Document) -> bool:
    """Whether images are as large as those published: times depend on shapes, not on what was trained."""
    return list(figures["image_size"][1:]) == [published_study().side] * 2


def statements(figures: Document) -> list[str]:
    """How a study stands to the published figures, a sentence each."""
    paper = published_study()
    size = "x".join(map(str, figures["image_size"][1:]))
    ours = f"{figures['model']} at {size} from {figures['teacher']} on {data_name(figures)}"
    theirs = f"{paper.model} at {paper.side}x{paper.side} from {paper.teacher} on {paper.data}"
    if not quality_comparable(figures):
        found = [f"{paper.where} published {theirs}; ours are {ours}: accuracies do not stand beside theirs"]
    else:
        found = [
            f"published: {paper.where}, {theirs}; our data are taken for theirs by their name "
            f"({data_name(figures)}): splits and preparation may differ"
        ]
    if not times_comparable(figures):
        return [
            *found,
            f"nor do times, which are published at {paper.side}x{paper.side} of an {paper.machine}",
        ]
    machines = {each["machine"] for each in figures["times"]}
    where = " and ".join(sorted(machines)) or "this machine"
    return [
        *found,
        f"published times are those of an {paper.machine}, ours of one thread of {where}: ratios compare, "
        "milliseconds do not",
    ]


def _plain(name: str) -> str:
    return str(name).rpartition("/")[2].partition(".")[0]
