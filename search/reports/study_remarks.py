"""What the tables of a study mean, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bitfront.search.reports.published_study import data_name, statements
from bitfront.spaces.quantities import count_of

Document = Mapping[str, Any]
# Percent that medians of repeats lie apart from which on other work disturbed them.
NOISY = 25.0


def title(figures: Document) -> str:
    """What was studied."""
    size = "x".join(map(str, figures["image_size"][1:]))
    return (
        f"{figures['model']} at {size} distilled from {figures['teacher']} on {data_name(figures)}: "
        f"{count_of(figures['epochs'], 'epoch')} of {count_of(figures['train_images'], 'image')}, "
        f"{count_of(figures['seeds'], 'seed')}"
    )


def remarks(figures: Document) -> list[str]:
    """What the tables mean, what is missing from them, and how they stand to the published ones."""
    over = "images" if figures["seeds"] == 1 else "images and seeds together"
    lines = [
        f"\N{PLUS-MINUS SIGN} is one standard error over {over}; differences are paired: both classify the "
        "same images; none of these images was trained on",
        "EMA: the moving average of the weights; INT8 of the student: bitfront's scheme deploy at 8 bits, "
        "packed; dynamic INT8: torch's, of linear layers alone, which the published study used",
    ]
    if any(variant.get("baseline") and variant["arithmetic"] == "INT8" for variant in figures["variants"]):
        lines.append(
            "bitfront does not quantize convolutional networks: their INT8 is ONNX Runtime's static "
            "quantization with ranges from the images that calibrate, run in "
            f"{figures['runtimes'][0]}; of their weights, plain or averaged, those are taken that do better "
            "on the validation images, of the first seed"
        )
    lines += _about_refining(figures)
    if figures["times"]:
        lines += _about_times(figures)
    return [*lines, *statements(figures), *(f"note: {note}" for note in figures["notes"])]


def _about_refining(figures: Document) -> list[str]:
    known = [record for record in figures["refined"] if record is not None]
    reasons = [record["left_out"] for record in known if "left_out" in record]
    if reasons or not known:
        return [f"refining is left out: {reason}" for reason in reasons[:1]]
    passes = count_of(known[0]["learning"]["passes"], "pass", "passes")
    lines = [
        f"refined stands for QAT-lite: {passes} over {known[0]['images']}, from the float model and without "
        "labels, in the arithmetic of the integers. It learns codes, scales, biases and norms of the 8-bit "
        "model itself: there is no model before INT8; its differences have errors, its values have none"
    ]
    kept = sum(bool(record["helped"]) for record in known)
    if kept < len(known):
        whys = dict.fromkeys(record["why"] for record in known if record["why"])
        lines.append(
            f"refining was kept for {kept} of {count_of(len(known), 'seed')}: {'; '.join(whys)}; its figures "
            "are shown all the same"
        )
    return lines


def _about_times(figures: Document) -> list[str]:
    first = figures["times"][0]
    packages = ", ".join(f"{name} {version}" for name, version in first["packages"].items())
    lines = [
        f"times: {first['machine']}, one thread ({packages}); all files in turn, in short bursts and random "
        "order; p50 and p90 of all timed iterations",
        "peak MB: resident memory of a fresh process that loads the file and runs 5 batches, its libraries "
        "included",
        "times depend on shapes and arithmetic, not on weights: plain, averaged and refined students take "
        "the same time",
    ]
    spread = max(row["spread_percent"] for timed in figures["times"] for row in timed["rows"])
    if spread > NOISY:
        lines.append(
            f"medians of repeats lie up to {spread:.0f} % apart: other work ran on the machine; measure "
            "again on a quiet one with --resume and --time-again"
        )
    verified = figures["verified"]
    if verified is not None:
        share = f"{verified['same_class_percent']:.2f} % of the test images"
        lines.append(
            f"the student's INT8 file in {verified['runtime']} gives {share} the class that was judged"
        )
    return lines
