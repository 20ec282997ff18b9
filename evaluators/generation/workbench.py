"""The workbench of a pipeline: graphs and float pictures made once; what assignments of formats are worth."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from bitfront.evaluators.generation.compiled import CompiledPart, precision_of
from bitfront.evaluators.generation.distances import frechet_distance, kernel_distance
from bitfront.evaluators.generation.features import FeatureSource
from bitfront.evaluators.generation.graphs import Arrays, PartGraph
from bitfront.evaluators.generation.jobs import Job, Sampling
from bitfront.evaluators.generation.lpips import PerceptualDistance
from bitfront.evaluators.generation.parts import Part
from bitfront.evaluators.generation.pipeline import Call, Pipeline
from bitfront.evaluators.progress import ShareDone, unreported
from bitfront.evaluators.tasks.generation.figures import mse_per_image, psnr_per_image, ssim_per_image
from bitfront.evaluators.tasks.metric import Outputs
from bitfront.evaluators.tasks.quality import Quality
from bitfront.spaces import BitfrontError, UserError
from bitfront.spaces.part_formats import FLOAT, INTEGER

# Calls of a part that NNCF finds ranges on, evenly spread over the steps and pictures.
CALIBRATION_CALLS = 24
# Pixels of pictures that are made at a time.
PIXELS_AT_ONCE = 1 << 21
# Parts that stay compiled, so that a candidate compiles what changed alone; of a pipeline of so many bytes in
# float32 only those of one assignment.
_KEPT, LARGE_BYTES = 12, 500_000_000


@dataclass(frozen=True)
class PictureFigures:
    """What the pictures of an assignment are worth against those of the float pipeline.

    Attributes:
        psnr: In dB, by picture.
        ssim: By picture.
        mse: By picture.
        fid: Of all, by the features of the workbench; None where it has none.
        kid: The same.
        seconds: Time of making them.
        lpips: By picture; None where the workbench has no weights for it.
    """

    psnr: tuple[float, ...]
    ssim: tuple[float, ...]
    mse: tuple[float, ...]
    fid: float | None
    kid: float | None
    seconds: float
    lpips: tuple[float, ...] | None = None

    def quality(self) -> Quality:
        """The means, as engine and study take them."""
        count = len(self.psnr)
        values = {name: sum(getattr(self, name)) / count for name in ("psnr", "ssim", "mse")}
        values |= {name: found for name in ("fid", "kid") if (found := getattr(self, name)) is not None}
        if self.lpips is not None:
            values["lpips"] = sum(self.lpips) / count
        return Quality(count, values, 0, 0, self.seconds)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> PictureFigures:
        """The inverse of :meth:`to_json`; KeyError or TypeError where it is none."""
        psnr, ssim, mse = (tuple(map(float, document[name])) for name in ("psnr", "ssim", "mse"))
        lpips = None if document.get("lpips") is None else tuple(map(float, document["lpips"]))
        return cls(psnr, ssim, mse, document["fid"], document["kid"], float(document["seconds"]), lpips)


@dataclass
class Workbench:
    """What evaluations share.

    Attributes:
        pipeline: In float.
        jobs: The pictures that are compared.
        calibration: Others, on which ranges of activations are found.
        sampling: How all are sampled.
        formats: Names of the formats that will be asked for.
        threads: That compute.
        features: For FID and KID; None for none.
        perceptual: For LPIPS; None for none.
        timed_together: Pictures made at a time where times are measured.
        graphs: Of every part, by name.
        reference: Pictures of the float pipeline.
    """

    pipeline: Pipeline
    jobs: Sequence[Job]
    calibration: Sequence[Job]
    sampling: Sampling
    formats: Sequence[str]
    threads: int = 1
    features: FeatureSource | None = None
    perceptual: PerceptualDistance | None = None
    timed_together: int = 1
    graphs: dict[str, PartGraph] = field(default_factory=dict)
    reference: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    _compiled: dict[tuple[str, ...], CompiledPart] = field(default_factory=dict)
    _reference_features: torch.Tensor | None = None

    def prepare(self, share_done: ShareDone = unreported) -> None:
        """Converts and calibrates every part, and makes the float pictures.

        Raises:
            UserError: A part cannot be converted, or float pictures are not finite.
        """
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            calls = self._recorded()
        finally:
            torch.set_num_threads(before)
        for place, part in enumerate(self.pipeline.parts, start=1):
            self.graphs[part.name] = PartGraph(part, calls[part.name], INTEGER in self.formats)
            share_done(place / (len(self.pipeline.parts) + 1))
        self.refer_to(self.jobs)
        share_done(1.0)

    def refer_to(self, jobs: Sequence[Job]) -> None:
        """Makes the float pictures of jobs, by which assignments are compared from now on.

        Raises:
            UserError: They are not finite.
        """
        self.jobs = jobs
        self.reference = self.pictures(self.everywhere(FLOAT), jobs)
        if self.features is not None:
            self._reference_features = self.features(self.reference)

    @property
    def genes(self) -> tuple[str, ...]:
        """Names of all genes: blocks that have weights."""
        return tuple(gene for _, genes in self.components for gene in genes)

    @property
    def components(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """By component, its genes."""
        return tuple((part.name, part.genes) for part in self.pipeline.parts)

    def everywhere(self, name: str) -> dict[str, str]:
        """One format for every gene."""
        return dict.fromkeys(self.genes, name)

    def figures(self, formats: Mapping[str, str]) -> PictureFigures:
        """Makes the pictures of an assignment and compares them.

        Raises:
            BitfrontError: They are not finite.
        """
        started = time.perf_counter()
        pictures = self.pictures(formats, self.jobs)
        seconds = time.perf_counter() - started
        labels = torch.zeros(len(pictures), dtype=torch.int64)
        outputs = Outputs(pictures, self.reference, labels)
        fid = kid = None
        if self.features is not None and self._reference_features is not None:
            found = self.features(pictures)
            fid = frechet_distance(found, self._reference_features)
            kid = kernel_distance(found, self._reference_features)
        values = (call(outputs).tolist() for call in (psnr_per_image, ssim_per_image, mse_per_image))
        psnr, ssim, mse = (tuple(map(float, entry)) for entry in values)
        lpips = None if self.perceptual is None else self.perceptual(pictures, self.reference)
        return PictureFigures(psnr, ssim, mse, fid, kid, seconds, lpips)

    def pictures(self, formats: Mapping[str, str], jobs: Sequence[Job]) -> torch.Tensor:
        """Pictures of jobs in an assignment of formats, as the pipeline has them.

        Raises:
            BitfrontError: Some are not finite.
        """
        calls = {part.name: self.compiled(part, formats) for part in self.pipeline.parts}
        with torch.inference_mode():
            made = [self.pipeline.pictures(calls, some, self.sampling) for some in self._batches(jobs)]
        pictures = torch.cat(made)
        broken = [
            job
            for job, ok in zip(jobs, pictures.flatten(1).isfinite().all(1).tolist(), strict=True)
            if not ok
        ]
        if broken:
            whole = set(formats.values()) == {FLOAT}
            kind = UserError if whole else BitfrontError
            raise kind(
                f"{len(broken)} of {len(jobs)} pictures of {self.pipeline.name} have values that are no "
                f"numbers, the first of {broken[0].prompt!r} with seed {broken[0].seed}: "
                + (
                    "check its weights"
                    if whole
                    else "one of its formats cannot hold what the float pipeline computes"
                )
            )
        return pictures

    def compiled(self, part: Part, formats: Mapping[str, str]) -> CompiledPart:
        """A part in the formats of its genes; the last ones asked for are kept."""
        key = (part.name, *(formats[gene] for gene in part.genes))
        found = self._compiled.pop(key, None)
        if found is None:
            model = self.graphs[part.name].assembled(formats)
            found = CompiledPart(model, precision_of(part, formats), self.threads)
        self._compiled[key] = found
        while len(self._compiled) > (len(self.pipeline.parts) if self.large else _KEPT):
            self._compiled.pop(next(iter(self._compiled)))
        return found

    @property
    def large(self) -> bool:
        """Whether models of several assignments do not lie in memory side by side."""
        return sum(part.float_bytes for part in self.pipeline.parts) > LARGE_BYTES

    def _batches(self, jobs: Sequence[Job]) -> Iterable[Sequence[Job]]:
        size = max(1, PIXELS_AT_ONCE // max(1, self._pixels)) if self._pixels else 1
        return [jobs[start : start + size] for start in range(0, len(jobs), size)]

    def _recorded(self) -> dict[str, list[Arrays]]:
        """Inputs of some calls of every part, while the float pipeline makes calibration pictures."""
        recorders = {part.name: _Recorder(part.module) for part in self.pipeline.parts}
        with torch.inference_mode():
            for start in range(0, len(self.calibration), 2):
                found = self.pipeline.pictures(recorders, self.calibration[start : start + 2], self.sampling)
        self._pixels = int(found[0].numel())
        missing = [name for name, recorder in recorders.items() if not recorder.calls]
        if missing:
            raise BitfrontError(f"{missing[0]} of {self.pipeline.name} was never called")
        return {name: recorder.spread(CALIBRATION_CALLS) for name, recorder in recorders.items()}

    _pixels: int = 0

    @property
    def pixels(self) -> int:
        """Values of a picture."""
        return self._pixels

    @property
    def timed(self) -> Sequence[Job]:
        """The pictures that are made where times are measured."""
        return self.jobs[: self.timed_together]

    def timed_calls(self, formats: Mapping[str, str]) -> dict[str, list[Arrays]]:
        """The inputs of all calls of each part that the timed pictures take, by part."""
        recorders = {part.name: _Recorder(self.compiled(part, formats)) for part in self.pipeline.parts}
        with torch.inference_mode():
            self.pipeline.pictures(recorders, self.timed, self.sampling)
        return {name: recorder.calls for name, recorder in recorders.items()}


class _Recorder:
    """Calls a part and keeps what it was called with."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.calls: list[Arrays] = []

    def __call__(self, *tensors: torch.Tensor) -> torch.Tensor:
        self.calls.append(tuple(tensor.detach().contiguous().numpy().copy() for tensor in tensors))
        return self._call(*tensors)

    def spread(self, count: int) -> list[Arrays]:
        """Some of the calls, evenly spread."""
        step = max(1, len(self.calls) // count)
        return self.calls[::step][:count]
