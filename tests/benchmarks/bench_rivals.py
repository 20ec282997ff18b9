"""The front of a search beside other quantizers at equal bytes, on images that neither has seen.

bitfront search --model deit_tiny_patch16_224 --checkpoint F --data D --scheme deploy --bits 2,3,4,6,8 \
                --hold A8T8 --search-images 256 --latency model:bops --evaluations 60 --run widths
python tests/benchmarks/bench_rivals.py runs/widths --logits rivals.pt

The rivals are NVIDIA's ModelOpt and OpenVINO's NNCF; neither belongs to bitfront, and where one is absent the
benchmark says how it is installed. They calibrate on the run's calibration images (and AutoQuantize scores on
them), the search has its search images besides; all figures are of the run's test images. `--logits` keeps
what the rivals made of these images in a file, so that another run with the same splits is compared in no time.

Bytes are those of a file with everything in it. A packed file is what bitfront writes. ModelOpt simulates:
its weights take their bits, and a scale for each output channel and all other parameters four bytes each.
NNCF's are the weights that OpenVINO saves. Against each rival stands the point of the front that is nearest
the float model (least KL) on the search images among those that take no more bytes: test images choose nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from bench_recipes import table
from rivals import RIVALS, Rival, Subject

from bitfront.evaluators.context.context import EvaluationContext
from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.context.throughput import classify_batches
from bitfront.evaluators.data.images import PreprocessedImages
from bitfront.evaluators.packed.layout import PackedLayout
from bitfront.evaluators.tasks.quality import PairedComparison
from bitfront.search import Run, open_run
from bitfront.spaces import BitConfig, BitfrontError, UserError

BATCH = 32
STEERING = "kl"


class Point(NamedTuple):
    """A point of the front.

    Attributes:
        trial: Its number.
        bits: Mean bits of a weight of an encoder's linear layers, of the codes alone and with group factors.
        file_bytes: Of its packed file.
        steering: KL to the float model on the search images, in nats.
        logits: Of the test images.
    """

    trial: int
    bits: tuple[float, float]
    file_bytes: int
    steering: float
    logits: torch.Tensor


class Judge(NamedTuple):
    """The float model's classes and the labels of the test images, ``[images]``."""

    classes: torch.Tensor
    labels: torch.Tensor

    def right(self, logits: torch.Tensor) -> torch.Tensor:
        """Which images are classified as labelled."""
        return logits.argmax(-1) == self.labels

    def agrees(self, logits: torch.Tensor) -> torch.Tensor:
        """Which images are in the float model's class."""
        return logits.argmax(-1) == self.classes

    def cells(self, logits: torch.Tensor) -> list[str]:
        """Top-1 less that of the float model, and the share of images in its class."""
        drop = paired(self.right(logits), self.classes == self.labels)
        return [difference(drop), f"{100.0 * float(self.agrees(logits).double().mean()):.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description="A front beside other quantizers at equal bytes")
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--rivals", default=",".join(RIVALS), help="which of them (default: all)")
    parser.add_argument(
        "--logits", type=Path, help="keeps the rivals' logits in a file, or takes them from it"
    )
    options = parser.parse_args()
    try:
        report(options.run, options.rivals.split(","), options.logits)
    except BitfrontError as error:
        raise SystemExit(f"error: {error}") from error


def report(folder: Path, names: Sequence[str], kept: Path | None) -> None:
    """Evaluates the front and the rivals on the test images, and prints both tables."""
    run = open_run(folder.resolve().name, runs_dir=folder.resolve().parent)
    started = time.perf_counter()
    context = EvaluationContext.from_spec(EvaluationSpec.from_json(run.evaluation))
    seconds = time.perf_counter() - started
    judge = Judge(context.float_logits("test").argmax(-1), context.images("test").labels)
    print(
        f"run {run.name}: {context.spec.model}, {context.spec.scheme}, recipe {context.spec.recipe}, "
        f"{len(context.splits.calibration)} calibration images, {len(context.splits.search)} search images, "
        f"{len(judge.labels)} test images, {len(run.trials)} evaluations; prepared in {seconds:.0f} s\n"
        f"float: top-1 {100.0 * float((judge.classes == judge.labels).double().mean()):.1f} %",
        flush=True,
    )
    front = front_points(run, context)
    print(front_table(front, judge), flush=True)
    print(rival_table(front, known_rivals(context, names, kept), judge))


def front_points(run: Run, context: EvaluationContext) -> list[Point]:
    """The points of a front on the test images, the smallest first."""
    steering = run.trials.set_index("trial")[STEERING]
    found = []
    for trial in run.front["trial"]:
        config = run.config(int(trial))
        found.append(
            Point(
                int(trial),
                mean_bits(context, config),
                context.size.size_bytes(config),
                float(steering[trial]),
                context.logits(config, "test"),
            )
        )
    return sorted(found, key=lambda point: point.file_bytes)


def mean_bits(context: EvaluationContext, config: BitConfig) -> tuple[float, float]:
    """Bits for each weight of the encoders' linear layers, without and with group factors."""
    layout = PackedLayout(
        context.size.blueprint, context.sites, context.spec.scheme, context.spec.whole_recipe, config
    )
    weights = [weight for weight in layout.weights if not weight.site.pinned]
    count = sum(weight.site.elements for weight in weights)
    codes = sum(weight.site.elements * weight.width for weight in weights)
    factors = sum(weight.site.channels * weight.groups * weight.factor_width for weight in weights)
    return codes / count, (codes + factors) / count


def known_rivals(context: EvaluationContext, names: Sequence[str], kept: Path | None) -> list[Rival]:
    """The rivals of these names, from a file where it has them for these images."""
    unknown = [name for name in names if name not in RIVALS]
    if unknown:
        raise UserError(f"--rivals {unknown[0]}: choose from {', '.join(RIVALS)}")
    known: dict[str, list[Rival]] = {}
    if kept is not None and kept.exists():
        document = torch.load(kept, weights_only=True)
        if document["images"] == digest(context):
            known = {name: [Rival(*rival) for rival in found] for name, found in document["rivals"].items()}
    for name in names:
        if name not in known:
            known[name] = list(told(RIVALS[name](subject(context))))
            if kept is not None:
                plain = {key: [tuple(rival) for rival in found] for key, found in known.items()}
                torch.save({"images": digest(context), "rivals": plain}, kept)
    return [rival for name in names for rival in known[name]]


def told(rivals: Iterable[Rival]) -> Iterable[Rival]:
    """The same, each with the seconds that it took to make and to judge."""
    started = time.perf_counter()
    for rival in rivals:
        print(f"{rival.tool}, {rival.method}: {time.perf_counter() - started:.0f} s", flush=True)
        yield rival
        started = time.perf_counter()


def digest(context: EvaluationContext) -> str:
    """Of the model and the images that rivals are given."""
    spec = context.spec
    text = json.dumps([spec.model, spec.checkpoint, spec.data, context.splits.to_json()])
    return hashlib.sha256(text.encode()).hexdigest()


def subject(context: EvaluationContext) -> Subject:
    """What rivals are given."""
    images: PreprocessedImages = context.images("test")

    def classify(model: object) -> torch.Tensor:
        assert callable(model), "a model classifies"
        batches = (batch for batch, _ in images.batches(BATCH))
        return torch.cat([logits.clone() for logits in classify_batches(model, batches, 1)])

    torch.set_num_threads(1)
    return Subject(context.model.module, list(context.images("calibration").batches(BATCH)), classify)


def front_table(front: Sequence[Point], judge: Judge) -> str:
    """The points by size."""
    head = ["trial", "bits of a code", "with factors", "packed MB", "top-1 less float's", "same class, %"]
    lines = [
        [
            str(point.trial),
            *(f"{bits:.2f}" for bits in point.bits),
            megabytes(point.file_bytes),
            *judge.cells(point.logits),
        ]
        for point in front
    ]
    return "\n" + table([head, *lines]) + "\n"


def rival_table(front: Sequence[Point], rivals: Sequence[Rival], judge: Judge) -> str:
    """Every rival beside the point of the front that may be put against it."""
    head = ["rival", "bits, weights / activations", "MB", "top-1 less float's", "same class, %"]
    head += [
        "point",
        "MB",
        "top-1 less float's",
        "same class, %",
        "more in float's class (p)",
        "top-1 more (p)",
    ]
    lines = []
    for rival in sorted(rivals, key=lambda rival: -rival.file_bytes):
        line = [f"{rival.tool}, {rival.method}", rival.bits, megabytes(rival.file_bytes)]
        line += judge.cells(rival.logits)
        point = opponent(front, rival.file_bytes)
        if point is None:
            lines.append([*line, "none so small", *[""] * 5])
            continue
        line += [str(point.trial), megabytes(point.file_bytes), *judge.cells(point.logits)]
        for which in (judge.agrees, judge.right):
            compared = paired(which(point.logits), which(rival.logits))
            line.append(f"{difference(compared)} ({compared.mcnemar_p:.2g})")
        lines.append(line)
    return table([head, *lines])


def opponent(front: Sequence[Point], most_bytes: int) -> Point | None:
    """The point nearest the float model on the search images among those that are no larger, if any."""
    fitting = [point for point in front if point.file_bytes <= most_bytes]
    return min(fitting, key=lambda point: point.steering, default=None)


def paired(ours: torch.Tensor, theirs: torch.Tensor) -> PairedComparison:
    """Two models by the images on which they are right."""
    return PairedComparison(len(ours), lost=int((theirs & ~ours).sum()), won=int((ours & ~theirs).sum()))


def difference(compared: PairedComparison) -> str:
    return f"{compared.difference:+.2f} ± {compared.difference_standard_error:.2f}"


def megabytes(count: int) -> str:
    return f"{count / 1e6:.2f}"


if __name__ == "__main__":
    main()
