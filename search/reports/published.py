"""The figures that PoMQ-ViT published, and whether ours may stand beside them."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from bitfront.spaces.quantities import count_of

DRY_RUN = "random weights: a dry run, accuracies mean nothing"


@dataclass(frozen=True)
class PublishedModel:
    """What was published of a model.

    Attributes:
        name: As the paper calls it.
        eight_bit: Top-1 of the uniform 8-bit model, in percent.
        stochastic: That of a stochastic assignment of the size of the search's.
        search: That of the search.
        eight_bit_size: Size of the uniform 8-bit model, in the paper's unit M.
        search_size: That of the search.
        after: Top-1 by generations.
    """

    name: str
    eight_bit: float
    stochastic: float
    search: float
    eight_bit_size: float
    search_size: float
    after: Mapping[int, float]


@dataclass(frozen=True)
class Published:
    """A paper's figures.

    Attributes:
        title: What the paper is called.
        reference: Where it stands.
        data: What it evaluated on.
        images: How many images these are.
        models: By timm's name.
    """

    title: str
    reference: str
    data: str
    images: int
    models: Mapping[str, PublishedModel]

    @property
    def where(self) -> str:
        """The paper and where it stands."""
        return f"{self.title} ({self.reference})"


@functools.cache
def published() -> Published:
    """The figures that are shipped."""
    text = resources.files("bitfront.search.reports").joinpath("published.toml").read_text(encoding="utf-8")
    known = tomllib.loads(text)
    marks = known["generations"]
    models = {
        name: PublishedModel(**{**entry, "after": dict(zip(marks, entry["after"], strict=True))})
        for name, entry in known["models"].items()
    }
    return Published(known["title"], known["reference"], known["data"], known["images"], models)


def published_model(name: str) -> PublishedModel | None:
    """What was published of a model by its name in timm, which may carry a tag or a hub's name before it."""
    return published().models.get(name.rpartition("/")[2].partition(".")[0])


def comparable(figures: Mapping[str, Any]) -> PublishedModel | None:
    """What was published of the model of a comparison, if the data are those too and the weights trained."""
    usual = figures["imagenet_validation"] and not figures["random_weights"]
    return published_model(figures["model"]) if usual else None


def statement(figures: Mapping[str, Any], data: str) -> str:
    """How a comparison stands to the published figures, in a sentence.

    Args:
        figures: Of the comparison.
        data: What its data are called.
    """
    paper, found, images = published(), published_model(figures["model"]), figures["images"]["test"]
    if figures["random_weights"]:
        return DRY_RUN
    if found is None:
        return f"{paper.where} has no figures of {figures['model']}"
    whole = f"{paper.data} ({paper.images:,} images)"
    if comparable(figures) is None:
        ours = f"{data} with {count_of(images, 'image')}"
        return f"published for {found.name} on {whole}, ours on {ours}: not comparable digit by digit"
    return (
        f"published for {found.name} on all of {whole}, ours on {images:,} of these, which were neither "
        "calibrated on nor searched with; the published times come from simulated quantization, and the "
        "published sizes are not packed sizes: they are not ours"
    )
