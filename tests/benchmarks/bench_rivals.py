"""The front of a search beside other quantizers at equal bytes, on images that neither has seen.

bitfront search --model deit_tiny_patch16_224 --checkpoint F --data D --scheme deploy --bits 2,3,4,6,8 \
                --hold A8T8 --search-images 256 --latency model:bops --evaluations 60 --run widths
python tests/benchmarks/bench_rivals.py runs/widths --logits rivals.pt

The rivals are NVIDIA's ModelOpt and OpenVINO's NNCF; where one is absent the benchmark says how it is
installed. They calibrate on the run's calibration images (and AutoQuantize scores on them), the search has
its search images besides; all figures are of the run's test images. `--logits` keeps what the rivals made of
these in a file, so that another run with the same splits is compared in no time.

Bytes are those of a file with everything in it. A packed file is what bitfront writes. ModelOpt simulates:
its weights take their bits, and a scale for each output channel and all other parameters four bytes each.
NNCF's are the weights that OpenVINO saves. Against each rival stands, of the points of the front that take no
more bytes, the one nearest the float model (least KL) on the search images: test images choose nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from bench_recipes import table
from rivals import RIVALS, Rival, Subject

from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.context.throughput import Classify, classify_batches
from bitfront.evaluators.packed.layout import PackedLayout
from bitfront.evaluators.tasks.quality import PairedComparison
from bitfront.search import Run, open_run
from bitfront.spaces import BitConfig, BitfrontError

BATCH = 32
STEERING = "kl"
FIGURES = ["top-1 less float's", "same class as float, %"]


class Point(NamedTuple):
    """A point of the front.

    Attributes:
        trial: Its number.
        bits: Mean bits of the codes of encoders' weights.
        weight_bytes: Of the codes and group factors of all linear layers.
        file_bytes: Of its packed file.
        steering: KL to the float model on the search images, in nats.
        logits: Of the test images.
    """

    trial: int
    bits: float
    weight_bytes: int
    file_bytes: int
    steering: float
    logits: torch.Tensor


class Judge(NamedTuple):
    """The float model's classes and the labels of the test images, ``[images]``."""

    classes: torch.Tensor
    labels: torch.Tensor

    def cells(self, logits: torch.Tensor) -> list[str]:
        """Top-1 less that of the float model, and the share of images in its class."""
        classes = logits.argmax(-1)
        drop = difference(classes == self.labels, self.classes == self.labels)
        return [drop, f"{100.0 * float((classes == self.classes).double().mean()):.1f}"]

    def against(self, ours: torch.Tensor, theirs: torch.Tensor) -> list[str]:
        """By how much more of our classes are the labels, and the float model's, with p-values."""
        mine, other = ours.argmax(-1), theirs.argmax(-1)
        truths = (self.labels, self.classes)
        return [difference(mine == truth, other == truth, with_p=True) for truth in truths]


def main() -> None:
    parser = argparse.ArgumentParser(description="A front beside other quantizers at equal bytes")
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument(
        "--logits", type=Path, help="keeps the rivals' logits in a file, or takes them from it"
    )
    options = parser.parse_args()
    try:
        report(options.run.resolve(), options.logits)
    except BitfrontError as error:
        raise SystemExit(f"error: {error}") from error


def report(folder: Path, kept: Path | None) -> None:
    """Evaluates the front and the rivals on the test images, and prints both tables."""
    run = open_run(folder.name, runs_dir=folder.parent)
    context = EvaluationContext.from_spec(EvaluationSpec.from_json(run.evaluation))
    spec, splits = context.spec, context.splits
    judge = Judge(context.float_logits("test").argmax(-1), context.images("test").labels)
    images = ", ".join(str(len(split)) for split in (splits.calibration, splits.search, splits.test))
    print(
        f"{spec.model}, {spec.scheme}, recipe {spec.recipe}, {len(run.trials)} evaluations, images that "
        f"calibrate, search and test: {images}; float top-1 on the last: "
        f"{100.0 * float((judge.classes == judge.labels).double().mean()):.1f} %\n",
        flush=True,
    )
    front = front_points(run, context)
    print(front_table(front, judge) + "\n", flush=True)
    print(rival_table(front, known_rivals(context, kept), judge))


def front_points(run: Run, context: EvaluationContext) -> list[Point]:
    """The points of a front on the test images, the smallest first."""
    steering = run.trials.set_index("trial")[STEERING]
    found = []
    for trial in map(int, run.front["trial"]):
        config = run.config(trial)
        bits, weight_bytes = weights(context, config)
        size, logits = context.size.size_bytes(config), context.logits(config, "test")
        found.append(Point(trial, bits, weight_bytes, size, float(steering[trial]), logits))
    return sorted(found, key=lambda point: point.file_bytes)


def weights(context: EvaluationContext, config: BitConfig) -> tuple[float, int]:
    """Mean bits of the codes of encoders' weights, and bytes of all linear layers' codes and factors."""
    size = context.size
    layers = PackedLayout(size.blueprint, context.sites, size.scheme, size.recipe, config).weights
    searched = [(layer.site.elements, layer.width) for layer in layers if not layer.site.pinned]
    codes = sum(elements * width for elements, width in searched)
    factors = sum(layer.site.channels * layer.groups * layer.factor_width for layer in layers)
    mean = codes / sum(elements for elements, _ in searched)
    return mean, sum(layer.code_bytes for layer in layers) + factors // 8


def known_rivals(context: EvaluationContext, kept: Path | None) -> list[Rival]:
    """All rivals, from a file where it has them for these images."""
    spec = context.spec
    given = json.dumps([spec.model, spec.checkpoint, spec.data, context.splits.to_json()])
    digest = hashlib.sha256(given.encode()).hexdigest()
    if kept is not None and kept.exists():
        document = torch.load(kept, weights_only=True)
        if document["given"] == digest:
            return [Rival(*rival) for rival in document["rivals"]]
    rivals = [rival for quantizer in RIVALS for rival in quantizer(subject(context))]
    if kept is not None:
        torch.save({"given": digest, "rivals": [tuple(rival) for rival in rivals]}, kept)
    return rivals


def subject(context: EvaluationContext) -> Subject:
    """What rivals are given."""
    test, threads = context.images("test"), context.spec.threads or 1

    def logits(model: Classify) -> torch.Tensor:
        batches = (batch for batch, _ in test.batches(BATCH))
        return torch.cat([found.clone() for found in classify_batches(model, batches, 1)])

    torch.set_num_threads(threads)
    return Subject(context.model.module, list(context.images("calibration").batches(BATCH)), logits)


def front_table(front: Sequence[Point], judge: Judge) -> str:
    """The points by size."""
    lines = [["trial", "bits of a code", "weights, MB", "file, MB", *FIGURES]]
    for point in front:
        sizes = [megabytes(point.weight_bytes), megabytes(point.file_bytes)]
        lines.append([str(point.trial), f"{point.bits:.2f}", *sizes, *judge.cells(point.logits)])
    return table(lines)


def rival_table(front: Sequence[Point], rivals: Sequence[Rival], judge: Judge) -> str:
    """Every rival beside the point of the front that may be put against it."""
    head = ["rival", "bits, weights / activations", "file, MB", *FIGURES]
    lines = [[*head, "point", "file, MB", *FIGURES, "top-1 more (p)", "more in float's class (p)"]]
    for rival in sorted(rivals, key=lambda rival: -rival.file_bytes):
        line = [f"{rival.tool}, {rival.method}", rival.bits, megabytes(rival.file_bytes)]
        line += judge.cells(rival.logits)
        fitting = [point for point in front if point.file_bytes <= rival.file_bytes]
        if fitting:
            point = min(fitting, key=lambda point: point.steering)
            line += [str(point.trial), megabytes(point.file_bytes), *judge.cells(point.logits)]
            line += judge.against(point.logits, rival.logits)
        else:
            line += ["none so small", *[""] * 5]
        lines.append(line)
    return table(lines)


def difference(ours: torch.Tensor, theirs: torch.Tensor, with_p: bool = False) -> str:
    """By how many points more of the images are right, paired, with its standard error."""
    compared = PairedComparison(len(ours), lost=int((theirs & ~ours).sum()), won=int((ours & ~theirs).sum()))
    found = f"{compared.difference:+.2f} ± {compared.difference_standard_error:.2f}"
    return f"{found} ({compared.mcnemar_p:.2g})" if with_p else found


def megabytes(count: int) -> str:
    return f"{count / 1e6:.2f}"


if __name__ == "__main__":
    main()
