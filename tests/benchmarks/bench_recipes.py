"""What each ingredient of a recipe buys: every recipe, and `best` without each of its ingredients.

python tests/benchmarks/bench_recipes.py --model deit_tiny_patch16_224 --checkpoint FILE --data labels.csv
python tests/benchmarks/bench_recipes.py --rows "best;best-token-weights;best-norm-channels,head-channels"

All rows are prepared and scored in one run on the same images. A row is a recipe, or a recipe less some
ingredients (`RECIPE-INGREDIENT,INGREDIENT`). The first table compares with the float model, the second one
with `best`, image by image. Preparations are never taken from the cache.
"""

from __future__ import annotations

import gc
import math
import time
from typing import NamedTuple

import torch
from bench_memory import peak_bytes
from workbench import Workbench, open_workbench, recipe_parser

from bitfront.evaluators.preparation.recipes import INGREDIENTS, RECIPES, Recipe, recipe_named
from bitfront.evaluators.tasks.quality import PairedComparison, Quality
from bitfront.spaces import UserError

Bits = tuple[int, int, int]
YARDSTICK = "best"


class Score(NamedTuple):
    """One configuration: its quality, and by image whether it is right and its KL to float in nats."""

    quality: Quality
    right: torch.Tensor
    divergences: torch.Tensor


class Row(NamedTuple):
    """One preparation: seconds it took, largest memory of the process so far, scores by configuration."""

    name: str
    seconds: float
    peak_bytes: int
    scores: dict[Bits, Score]


def main() -> None:
    parser = recipe_parser("What each ingredient of a recipe buys")
    parser.add_argument(
        "--configs", default="4,8,8;8,4,8;4,4,4;8,8,8;8,8,4", help="weights,activations,attention"
    )
    parser.add_argument("--recipes", default=",".join(RECIPES), help="recipes whose rows are shown")
    parser.add_argument("--rows", help="rows by name, with semicolons between; by default all")
    options = parser.parse_args()
    configs = [parse_bits(text) for text in options.configs.split(";")]
    wanted = options.rows.split(";") if options.rows else default_rows(options.recipes.split(","))
    recipes = {name: row_recipe(name) for name in wanted}
    bench = open_workbench(options)
    print(
        f"{options.model}, {options.scheme}, {len(bench.calibration)} calibration images, "
        f"{len(bench.images)} evaluation images, {options.threads} thread(s)"
    )
    rows: list[Row] = []
    for name, recipe in recipes.items():
        rows.append(measured(bench, name, recipe, configs))
        print("  ".join(cells(rows[-1])), flush=True)
    head = ["recipe", *map(heading, configs)]
    print("\n" + table([[*head, "seconds", "peak GB"], *map(cells, rows)]))
    print(
        "\nDrop of top-1 from float in points ± paired s.e. / same class as float in % / KL to float in nats."
    )
    print("Seconds: equalizing, calibrating and fitting. Peak: of this process so far, with all images.")
    best = next((row for row in rows if row.name == YARDSTICK), None)
    if best is not None and len(rows) > 1:
        others = [row for row in rows if row is not best]
        print("\n" + table([head, *(against(best, row) for row in others)]))
        print(f"\nAgainst {YARDSTICK} on the same images: points dropped more / KL higher by, ± paired s.e.")


def parse_bits(text: str) -> Bits:
    """Bits of weights, activations and attention from a text such as ``4,8,8``."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 3 or not all(part in ("4", "8") for part in parts):
        raise UserError(
            f"--configs {text!r}: give weights,activations,attention of 4 or 8 bits, such as 4,8,8"
        )
    weights, activations, attention = map(int, parts)
    return weights, activations, attention


def default_rows(recipes: list[str]) -> list[str]:
    """The recipes, and those without each ingredient where the yardstick is among them."""
    return recipes + [f"{YARDSTICK}-{name}" for name in INGREDIENTS if YARDSTICK in recipes]


def row_recipe(name: str) -> Recipe:
    """The recipe of a row; names of recipes may have hyphens themselves."""
    for known in sorted(RECIPES, key=len, reverse=True):
        if name == known:
            return recipe_named(known)
        if name.startswith(f"{known}-"):
            return recipe_named(known, name.removeprefix(f"{known}-").split(","))
    raise UserError(f"--rows {name!r}: give RECIPE or RECIPE-INGREDIENT,... with one of {', '.join(RECIPES)}")


def measured(bench: Workbench, name: str, recipe: Recipe, configs: list[Bits]) -> Row:
    """Prepares a row and classifies the evaluation images at every configuration."""
    gc.collect()
    started = time.perf_counter()
    calibrated = bench.calibrated(recipe)
    seconds = time.perf_counter() - started
    prepared = bench.prepared(calibrated, recipe)
    scores = {bits: scored(bench, bench.logits(prepared, bench.uniform(bits))) for bits in configs}
    return Row(name, seconds, peak_bytes(), scores)


def scored(bench: Workbench, logits: torch.Tensor) -> Score:
    base, other = bench.float_logits.double().log_softmax(-1), logits.double().log_softmax(-1)
    right = logits.argmax(-1) == bench.images.labels
    return Score(bench.quality(logits), right, (base.exp() * (base - other)).sum(-1))


def against(best: Row, row: Row) -> list[str]:
    """A line of the second table."""
    return [row.name, *(difference(row.scores[bits], score) for bits, score in best.scores.items())]


def heading(bits: Bits) -> str:
    return "W{}A{}T{}".format(*bits)


def cells(row: Row) -> list[str]:
    """A line of the first table."""
    scores = [
        f"{0.0 - q.against_float.difference:.2f} ± {q.against_float.difference_standard_error:.2f} / "
        f"{q['agreement']:.1f} / {q['kl']:.4f}"
        for q in (score.quality for score in row.scores.values())
    ]
    return [row.name, *scores, f"{row.seconds:.0f}", f"{row.peak_bytes / 1e9:.2f}"]


def table(lines: list[list[str]]) -> str:
    """Lines of cells, the heading first, as a Markdown table."""
    drawn = ["| " + " | ".join(line) + " |" for line in lines]
    drawn.insert(1, "|" + "---|" * len(lines[0]))
    return "\n".join(drawn)


def difference(score: Score, best: Score) -> str:
    """How many points more than the yardstick a row drops, and how much farther from float it is."""
    won, lost = int((best.right & ~score.right).sum()), int((score.right & ~best.right).sum())
    drop = PairedComparison(len(score.right), lost, won)
    farther = score.divergences - best.divergences
    error = float(farther.std()) / math.sqrt(len(farther))
    return (
        f"{drop.difference:+.2f} ± {drop.difference_standard_error:.2f} / "
        f"{float(farther.mean()):+.4f} ± {error:.4f}"
    )


if __name__ == "__main__":
    main()
