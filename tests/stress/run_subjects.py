"""Files of run folders, comparisons, studies and trainings."""

from __future__ import annotations

from pathlib import Path

from mutations import JSON, LINES, TABLE
from subject import Subject, check_page, command

NAME = "searched"


def _make_run(folder: Path) -> None:
    import numpy as np
    from priceable_run import write_run

    from bitfront.evaluators.tasks.quality import Quality
    from bitfront.search.runs.folder import RunStore, read_space
    from bitfront.search.runs.known_evaluations import KnownEvaluation, write_known

    write_run(folder)
    run = RunStore(folder).open(NAME)
    space = read_space(run.path)
    [genome] = space.sample(np.random.default_rng(0), 1)
    values = {"top1": 90.0, "top5": 99.0, "loss": 0.3, "kl": 0.1, "agreement": 95.0}
    write_known(run, [KnownEvaluation(space.decode(genome), Quality(10, values, 1, 1, 0.5))] * 3)


def _front(folder: Path) -> object:
    return command("front", NAME, "--runs-dir", folder)


def _json(folder: Path) -> object:
    return command("front", NAME, "--runs-dir", folder, "--json")


def _runs(folder: Path) -> object:
    return command("runs", "--runs-dir", folder)


def _report(folder: Path) -> object:
    page = folder / "page.html"
    found = command("report", NAME, "--runs-dir", folder, "--output", page)
    check_page(page)
    return found


def _export(folder: Path) -> object:
    return command("export", NAME, "--runs-dir", folder, "--format", "json", "--output", folder / "bits.json")


def _plot(folder: Path) -> object:
    return command("plot", NAME, "--runs-dir", folder)


def _priced(folder: Path) -> object:
    return command("front", NAME, "--runs-dir", folder, "--latency", f"table:{folder / 'phone.csv'}")


def _watched(folder: Path) -> object:
    return command("watch", NAME, "--runs-dir", folder)


def _known(folder: Path) -> object:
    from bitfront.search.runs.known_evaluations import read_known

    return len(read_known(folder / NAME))


def _gone_on_with(folder: Path) -> object:
    import synthetic_search
    from priceable_run import SPEC

    from bitfront.search.runs.folder import RunStore

    run = RunStore(folder).open(NAME)
    spec = run.read_spec()
    assert spec is not None
    searched = synthetic_search.space()
    spec = synthetic_search.at_widths_of(searched, SPEC)
    result = synthetic_search.search(run, spec, resume=True)
    return sorted((trial.digest, trial.values["top1"]) for trial in result.front)


RUN = Subject(
    "run folder: spec, space, summary, references, costs, tables",
    _make_run,
    [
        (f"{NAME}/{name}", mutations)
        for name, mutations in {
            "spec.json": JSON,
            "space.json": JSON,
            "summary.json": JSON,
            "references.json": JSON,
            "costs.json": JSON,
            "trials.csv": TABLE,
            "front.csv": TABLE,
        }.items()
    ],
    [_front, _json, _runs, _report, _export, _watched, _priced],
)
PLOTTED = Subject(
    "run folder: pictures and the page of it",
    _make_run,
    [
        (f"{NAME}/{name}", mutations)
        for name, mutations in {
            "spec.json": JSON,
            "space.json": JSON,
            "summary.json": JSON,
            "references.json": JSON,
            "trials.csv": TABLE,
            "front.csv": TABLE,
        }.items()
    ],
    [_report, _plot],
    share=0.2,
)
PRICES = Subject(
    "latency tables that a run is priced by",
    _make_run,
    [("phone.csv", TABLE), (f"{NAME}/costs.json", JSON), (f"{NAME}/study.log", LINES)],
    [_priced],
)
STUDY = Subject(
    "study.log of a run that is gone on with",
    _make_run,
    [(f"{NAME}/study.log", LINES)],
    [_gone_on_with],
    sealed=True,
    share=0.5,
)
KNOWN = Subject(
    "evaluations that a run began with", _make_run, [(f"{NAME}/known_evaluations.jsonl", LINES)], [_known]
)
SUBJECTS = (RUN, PLOTTED, PRICES, STUDY, KNOWN)
