"""The figures that VQ-ViT published, to stand beside a benchmark whose accuracies are known."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class PublishedVqVit:
    """What was published.

    Attributes:
        title: What the method is called.
        reference: Who published it.
        model: Its model.
        data: What that was trained and tested on.
        claim: What is said of the whole.
        rows: By precision: ``name``, ``top1`` (percent), ``file`` and ``memory`` (MB), ``time`` (ms).
    """

    title: str
    reference: str
    model: str
    data: str
    claim: str
    rows: tuple[Mapping[str, Any], ...]

    def lines(self, model: str, data: str, machine: str) -> list[str]:
        """The figures in words, and what differs from a benchmark of a model on data and a machine."""
        told = "{name}: {top1:g} %, {file} MB, {time:g} ms, {memory} MB of memory"
        shown = "; ".join(told.format(**row) for row in self.rows)
        return [
            f"published ({self.title}, {self.reference}; {self.model} on {self.data}): {shown}; claimed: "
            f"{self.claim}",
            f"not comparable digit by digit: here {model} on {data}, one thread of {machine}; machine and "
            "batch of the published times are not named",
        ]


@functools.cache
def published_vq_vit() -> PublishedVqVit:
    """The figures that are shipped."""
    text = resources.files("bitfront.search.reports").joinpath("vq_vit.toml").read_text(encoding="utf-8")
    known = tomllib.loads(text)
    return PublishedVqVit(**{**known, "rows": tuple(known["rows"])})
