"""Search the embedded digits model, choose a point, export it as a folder and run that without bitfront.

    python examples/choose_and_ship.py

Takes about a minute on two cores; the run is kept in runs/ and can be looked at with `bitfront front`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bitfront.evaluators.data.digits import DigitsSource
from bitfront.search import EvaluationSpec, RunSpec, search, verify


def main() -> None:
    """Searches, chooses, ships."""
    model = EvaluationSpec(model="digits_deit", data="digits", scheme="deploy")
    # workers=0 evaluates in this process; a number starts that many others.
    run = search(RunSpec(evaluation=model, evaluations=40, latency="model:bops"), workers=0)
    print(f"\nrun {run.name}: {len(run.front)} points of {len(run.trials)} trials\n")
    columns = ["trial", "top1", "test_top1", "latency_ms", "size_bytes"]
    print(run.front[columns].to_string(index=False))

    point = run.pick("knee")
    print(f"\nknee: trial {point['trial']}, {point['test_top1']:.2f} % on test images")
    print(f"weights of each encoder: {[encoder.weights for encoder in run.config('knee').encoders]}")

    exported = run.export("knee", format="onnx")
    assert exported.folder is not None
    print(f"\nwritten: {exported.folder}; verified: {exported.passed}")
    print(", ".join(sorted(path.name for path in exported.files)))

    # Whoever gets the folder needs onnxruntime, numpy and pillow, and nothing of bitfront.
    scan = Path("scan.png")
    DigitsSource().load(0).save(scan)
    subprocess.run([sys.executable, exported.folder / "predict.py", scan, "--top", "3"], check=True)  # noqa: S603

    # Later, or on another machine: the folder and the data are enough.
    report = verify(exported.folder)
    print(f"verified again: {report.passed}, {report.figures.equal:.1f} % of predictions are equal")


if __name__ == "__main__":
    main()
