"""Search the embedded digits model, choose a point, export it as a packed file and verify it.

    python examples/choose_and_ship.py

Takes about a minute on two cores; the run is kept in runs/ and can be looked at with `bitfront front`.
"""

from __future__ import annotations

from bitfront.search import RunSpec, search, verify


def main() -> None:
    """Searches, chooses, ships."""
    # workers=0 evaluates in this process; a number starts that many others.
    run = search(RunSpec(evaluations=40, latency="model:bops"), workers=0)
    print(f"\nrun {run.name}: {len(run.front)} points of {len(run.trials)} trials\n")
    columns = ["trial", "top1", "test_top1", "latency_ms", "size_bytes"]
    print(run.front[columns].to_string(index=False))

    point = run.pick("knee")
    print(f"\nknee: trial {point['trial']}, {point['test_top1']:.2f} % on test images")
    print(f"weights of each encoder: {[encoder.weights for encoder in run.config('knee').encoders]}")

    exported = run.export("knee", format="packed")
    print(f"\nwritten: {exported.path}; verified: {exported.passed}")

    # Later, or on another machine: the file and the data are enough.
    report = verify(exported.path)
    print(f"verified again: {report.passed}, {report.figures.equal:.1f} % of predictions are equal")


if __name__ == "__main__":
    main()
