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
    spec = synthetic_search.at_widths_of(synthetic_search.space(), SPEC)
    result = synthetic_search.search(run, spec, resume=True)
    return sorted((trial.digest, trial.values["top1"]) for trial in result.front)


def _make_others(folder: Path) -> None:
    import numpy as np

    from bitfront.evaluators.sensitivity.gene_scores import GeneScores
    from bitfront.evaluators.tasks.quality import packed
    from bitfront.search.runs.folder import RunStore
    from bitfront.search.runs.progress_file import PROGRESS

    _make_run(folder)
    run = RunStore(folder).open(NAME)
    run.write_json("gene_scores.json", GeneScores(("a", "b"), ((4, 8), (4, 8)), np.eye(2)).to_json())
    flags = packed(np.arange(50) % 3 > 0)
    run.write_text("right_images.csv", f"name,split,images,right\nfloat32,search,50,{flags}\n")
    counts = {"evaluations": 3, "budget": 40, "trials": 4, "front_points": 2, "generation": 1}
    known = {"hypervolume": 0.5, "elapsed_s": 2.0, "remaining_s": None, "history": [[3, 0.5, 1.0]]}
    run.write_json(PROGRESS, {**counts, **known})


def _others(folder: Path) -> object:
    from bitfront.evaluators.sensitivity.gene_scores import GeneScores
    from bitfront.search.runs.folder import RunStore
    from bitfront.search.runs.progress_file import read_progress
    from bitfront.search.runs.right_images import read_right_images

    run = RunStore(folder).open(NAME)
    scores = GeneScores.from_json(run.read_json("gene_scores.json"))
    return scores.names, sorted(read_right_images(run.path, "search")), read_progress(run.path) is None


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
OTHERS = Subject(
    "run folder: gene scores, right images, progress",
    _make_others,
    [
        (f"{NAME}/gene_scores.json", JSON),
        (f"{NAME}/right_images.csv", TABLE),
        (f"{NAME}/progress.json", JSON),
    ],
    [_others, _watched, _runs],
)
SUBJECTS = (RUN, PLOTTED, OTHERS, PRICES, STUDY, KNOWN)
