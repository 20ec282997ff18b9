"""What a teacher and averaged weights are worth: the same student alone and distilled, over several seeds.

python tests/benchmarks/bench_training.py digits --output FOLDER
python tests/benchmarks/bench_training.py cluttered --output FOLDER
python tests/benchmarks/bench_training.py cifar10 --data cifar10:FILE.tar --checkpoint F --output FOLDER

- ``digits``: digits_vit from nothing, alone and from digits_deit, on 950 scans; 60 epochs.
- ``cluttered``: cluttered_deit from nothing on canvases, alone and from the embedded one; 20 epochs.
- ``cifar10``: DeiT-Tiny of 48x48 pixels from its ImageNet weights on 5,000 images, alone and from the same
  model of 96x96, which is trained first; 10 epochs.

For each seed and both ways: the plain and the averaged weights on the test split, and the better of both with
all widths 8 bits (``--int8``): its difference to float on the same images, and how many times smaller its
packed file is. Every training is a folder of ``--output``; one that is finished is not repeated, one that was
killed is gone on with. Printed are means over the seeds with their standard errors, and paired differences.
``--epochs``, ``--seeds`` and ``--train-images`` shorten it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.training.folder import AVERAGE, MODEL, RECORD, STATE
from bitfront.evaluators.training.recipe import TeacherSpec, TrainingRecipe, TrainingSpec
from bitfront.search.reports.progress import stderr_reporter
from bitfront.search.session.evaluate import evaluate
from bitfront.search.session.train import resume_training, train

ALONE, DISTILLED = "alone", "distilled"
SIDE, TEACHER_SIDE = (48, 48), (96, 96)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("case", choices=("digits", "cluttered", "cifar10"))
    parser.add_argument("--output", type=Path, required=True, help="folder of the trainings")
    parser.add_argument("--data", default="cifar10", help="of CIFAR-10")
    parser.add_argument("--checkpoint", help="DeiT-Tiny's ImageNet weights")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train-images", type=int)
    parser.add_argument("--alpha", type=float, default=TrainingRecipe.alpha)
    parser.add_argument("--temperature", type=float, default=TrainingRecipe.temperature)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--int8", action="store_true")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    spec, teacher = case(args)
    metric, found = "top1", {ALONE: [], DISTILLED: []}  # type: tuple[str, dict[str, list[dict[str, Any]]]]
    for seed in range(args.seeds):
        for way, teaching in ((ALONE, None), (DISTILLED, teacher)):
            recipe = dataclasses.replace(spec.recipe, seed=seed)
            folder = args.output / f"{args.case}-{way}-{seed}"
            figures = trained(dataclasses.replace(spec, recipe=recipe, teacher=teaching), folder)
            found[way].append(figures | (int8(figures, folder) if args.int8 else {}))
    report(found, metric)


def case(args: argparse.Namespace) -> tuple[TrainingSpec, TeacherSpec]:
    """The training of the student alone, and the teacher."""
    given = {name: getattr(args, name) for name in ("alpha", "temperature", "threads")}
    if args.case == "cifar10":
        recipe = TrainingRecipe(
            epochs=args.epochs or 10, train_images=args.train_images or 5000, ema_warmup=True, **given
        )
        student = EvaluationSpec(
            model="deit_tiny_patch16_224", checkpoint=args.checkpoint, data=args.data, image_size=SIDE
        )
        larger = TrainingSpec(dataclasses.replace(student, image_size=TEACHER_SIDE), recipe)
        folder = args.output / "cifar10-teacher"
        best = trained(larger, folder)["best"]
        return TrainingSpec(student, recipe), TeacherSpec(student.model, str(folder / best))
    models = {
        "digits": ("digits_vit", "digits_deit", 60),
        "cluttered": ("cluttered_deit", "cluttered_deit", 20),
    }
    model, teacher, epochs = models[args.case]
    recipe = TrainingRecipe(
        epochs=args.epochs or epochs,
        train_images=args.train_images,
        learning_rate=1e-3,
        ema_decay=0.99,
        **given,
    )
    spec = EvaluationSpec(model=model, data=args.case)
    return TrainingSpec(spec, recipe), TeacherSpec(teacher, pretrained=True)


def trained(spec: TrainingSpec, folder: Path) -> dict[str, Any]:
    """The record of a training, which is done, gone on with, or read."""
    if (folder / STATE).is_file():
        resume_training(folder, progress=stderr_reporter())
    elif not (folder / MODEL).is_file():
        train(spec, folder, overwrite=True, progress=stderr_reporter())
    record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return record


def int8(record: dict[str, Any], folder: Path) -> dict[str, float]:
    """The better weights with 8 bits throughout: difference of top-1 to float, and times smaller."""
    spec = EvaluationSpec.from_json(record["settled"]["evaluation"])
    spec = dataclasses.replace(
        spec, checkpoint=str(folder / record["best"]), pretrained=False, scheme="deploy", allow_chance=True
    )
    result = evaluate(spec, "W8A8T8", latency="model:bops", progress=stderr_reporter())
    return {
        "int8_difference": result.compared.difference,
        "int8_smaller": result.fp32_size_bytes / result.size_bytes,
    }


def report(found: dict[str, list[dict[str, Any]]], metric: str) -> None:
    """Prints means over the seeds and paired differences."""
    values = {
        (way, file): [record["figures"][file]["values"][metric] for record in records]
        for way, records in found.items()
        for file in (MODEL, AVERAGE)
    }
    images = found[ALONE][0]["test_images"]
    print(f"top-1 in % on {images} test images, mean ± standard error over {len(found[ALONE])} seeds\n")
    print("| | plain weights | averaged weights | averaged less plain |\n|---|---|---|---|")
    for way in found:
        plain, average = values[way, MODEL], values[way, AVERAGE]
        print(f"| {way} | {mean(plain)} | {mean(average)} | {mean(less(average, plain), '+')} |")
    gained = [mean(less(values[DISTILLED, file], values[ALONE, file]), "+") for file in (MODEL, AVERAGE)]
    print(f"| distilled less alone | {gained[0]} | {gained[1]} | |")
    for way, records in found.items():
        if "int8_difference" in records[0]:
            differences = [record["int8_difference"] for record in records]
            smaller = statistics.mean(record["int8_smaller"] for record in records)
            print(f"\n{way}, 8 bits: {mean(differences, '+')} points to float, {smaller:.2f} times smaller")


def less(first: Sequence[float], second: Sequence[float]) -> list[float]:
    return [one - other for one, other in zip(first, second, strict=True)]


def mean(values: Sequence[float], sign: str = "") -> str:
    """Mean and standard error over the seeds; of one seed there is none."""
    if len(values) < 2:
        return f"{values[0]:{sign}.2f}"
    return f"{statistics.mean(values):{sign}.2f} ± {statistics.stdev(values) / math.sqrt(len(values)):.2f}"


if __name__ == "__main__":
    main()
