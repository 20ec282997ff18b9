"""What ``bitfront evaluate`` says of a configuration, for a person and for a machine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bitfront.evaluators.tasks.quality import PairedComparison
from bitfront.search.reports.evaluation import print_report


def report(lost: int, won: int, **further: Any) -> dict[str, Any]:
    quantized = 87.16 + 100 * (won - lost) / 436
    figures = {"top1": quantized, "top5": 98.2, "loss": 0.77, "size_bytes": 5_950_000, "latency_ms": 16.0}
    return {
        **PairedComparison(436, lost, won).to_json("top1"), **figures, "top1_standard_error": 1.65,
        **{f"fp32_{name}": value for name, value in figures.items()}, "fp32_top1": 87.16,
        "fp32_top1_standard_error": 1.6, "kl": 0.02, "agreement": 96.8, "model": "deit",
        "task": "classification",
        "metrics": ["top1", "top5", "loss", "kl", "agreement"], "data": "photos", "encoders": 12,
        "scheme": "deploy", "recipe": "best", "without": ["log-base"], "observer": None,
        "digest": "0123456789ab", "images_per_second": 80.0, "fp32_images_per_second": 20.0,
        "latency_source": "measured:torch", "latency_batch": 1, "latency_threads": 1, "latency_notes": [],
        "skipped_images": [], "device": "cpu",
        "batch_size": 16, "threads": 2, "kernels": "cpu: onednn int8", "kernel_notes": [], **further,
    }  # fmt: skip


def printed(capsys: pytest.CaptureFixture[str], measured: bool = True, **options: Any) -> str:
    print_report(report(**options), measured)
    return capsys.readouterr().out


def test_top1_has_standard_errors_and_the_difference_its_paired_one(capsys) -> None:
    out = printed(capsys, lost=17, won=5)
    [line] = [line for line in out.splitlines() if line.startswith("top-1 %")]
    assert line.split("  ")[-1] == "-2.75 ± 1.07"
    assert "84.41 ± 1.65" in line
    assert "87.16 ± 1.60" in line
    assert "± is one standard error; the difference is paired" in out
    assert out.startswith("deit (deploy, recipe best without log-base) on photos: 436 test images")
    assert "right in float32 only: 17 images, right when quantized only: 5" in out
    assert "so uneven a split would come about with probability 0.02 (exact McNemar test)" in out


@pytest.mark.parametrize(("lost", "won", "words"), [(30, 2, "2e-07 ("), (6, 6, "1.00 ("), (9, 4, "0.27 (")])
def test_probabilities_are_readable(capsys, lost: int, won: int, words: str) -> None:
    assert f"with probability {words}" in printed(capsys, lost=lost, won=won)


def test_models_that_agree_everywhere(capsys) -> None:
    out = printed(capsys, lost=0, won=0)
    assert "every image is right in both models or wrong in both" in out
    assert "McNemar" not in out


def test_the_evaluator_is_described_with_what_it_could_not_use(capsys) -> None:
    notes = ["no AVX512-VNNI: attention products run in float32 lanes"]
    out = printed(
        capsys, lost=1, won=0, kernel_notes=notes, skipped_images=["7.png: truncated"],
        latency_notes=["latencies are modelled"],
    )  # fmt: skip
    assert "scored in batches of 16 on 2 threads (measured to be quickest); cpu: onednn int8" in out
    assert f"note: {notes[0]}" in out
    assert "note: latencies are modelled" in out
    assert "left out: 7.png: truncated" in out
    given = printed(capsys, measured=False, lost=1, won=0, threads=1)
    assert "batches of 16 on 1 thread; cpu:" in given


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["fq-vit", "deploy"])
def test_evaluate_reports_everything_for_machines(bitfront, scheme: str) -> None:
    outcome = bitfront(
        "evaluate",
        "--model",
        "digits_deit",
        "--scheme",
        scheme,
        "--uniform",
        "W4A4T4",
        "--latency",
        "model:bops",
        "--json",
    )
    assert outcome.status == 0, outcome.err
    found = json.loads(outcome.out)
    again = PairedComparison(found["images"], found["lost"], found["won"]).to_json("top1")
    assert {name: found[name] for name in again} == again
    assert found["top1_difference"] == pytest.approx(found["top1"] - found["fp32_top1"])
    assert found["fp32_top1_standard_error"] > 0
    assert found["batch_size"] > 0 < found["threads"]
    assert (found["scheme"], found["recipe"], found["device"]) == (scheme, "best", "cpu")
    assert found["kernels"]
    assert "modelled, not measured" in found["latency_notes"][0]
