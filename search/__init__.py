"""Searches for the Pareto-best bit widths of vision transformers; the public interface for Python.

Example:
    run = search(RunSpec(evaluations=40), name="digits", workers=0)
    run.front                       # a table of pandas
    run.figures()["front"]          # a figure of matplotlib
    run.report()                    # an interactive page, as one HTML file
    run.export("knee", "onnx")      # a verified file
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bitfront.evaluators.context.spec import EvaluationSpec as EvaluationSpec
    from bitfront.evaluators.training.recipe import TeacherSpec as TeacherSpec
    from bitfront.evaluators.training.recipe import TrainingRecipe as TrainingRecipe
    from bitfront.evaluators.training.recipe import TrainingSpec as TrainingSpec
    from bitfront.evaluators.training.refinement.recipe import RefinementSpec as RefinementSpec
    from bitfront.search.problem.spec import RunSpec as RunSpec
    from bitfront.search.runs.refinement import Refinement as Refinement
    from bitfront.search.session.bench import bench as bench
    from bitfront.search.session.compare import compare as compare
    from bitfront.search.session.compare_samplers import compare_samplers as compare_samplers
    from bitfront.search.session.evaluate import evaluate as evaluate
    from bitfront.search.session.latency_probe import tables_from_probe as tables_from_probe
    from bitfront.search.session.latency_probe import write_probe as write_probe
    from bitfront.search.session.latency_table import latency_table as latency_table
    from bitfront.search.session.profile import profile as profile
    from bitfront.search.session.refine import refine as refine
    from bitfront.search.session.reporter import Reporter as Reporter
    from bitfront.search.session.run import Run as Run
    from bitfront.search.session.run import list_runs as list_runs
    from bitfront.search.session.run import open_run as open_run
    from bitfront.search.session.run import overlay as overlay
    from bitfront.search.session.run import report as report
    from bitfront.search.session.run import save_figure as save_figure
    from bitfront.search.session.search import resume as resume
    from bitfront.search.session.search import search as search
    from bitfront.search.session.search import search_from as search_from
    from bitfront.search.session.study import Study as Study
    from bitfront.search.session.study import resume_study as resume_study
    from bitfront.search.session.study import study as study
    from bitfront.search.session.study_spec import StudySpec as StudySpec
    from bitfront.search.session.train import resume_training as resume_training
    from bitfront.search.session.train import train as train
    from bitfront.search.session.verify import verify as verify
    from bitfront.search.session.worker_pool import WorkerOptions as WorkerOptions
    from bitfront.spaces import BitConfig as BitConfig
    from bitfront.spaces import BitfrontError as BitfrontError
    from bitfront.spaces import UserError as UserError

# Where each name is: loaded when it is first asked for, so that the help and a worker load nothing idle.
_PLACES = {
    "BitConfig": "bitfront.spaces",
    "BitfrontError": "bitfront.spaces",
    "EvaluationSpec": "bitfront.evaluators.context.spec",
    "Refinement": "bitfront.search.runs.refinement",
    "RefinementSpec": "bitfront.evaluators.training.refinement.recipe",
    "Reporter": "bitfront.search.session.reporter",
    "Run": "bitfront.search.session.run",
    "RunSpec": "bitfront.search.problem.spec",
    "Study": "bitfront.search.session.study",
    "StudySpec": "bitfront.search.session.study_spec",
    "TeacherSpec": "bitfront.evaluators.training.recipe",
    "TrainingRecipe": "bitfront.evaluators.training.recipe",
    "TrainingSpec": "bitfront.evaluators.training.recipe",
    "UserError": "bitfront.spaces",
    "WorkerOptions": "bitfront.search.session.worker_pool",
    "bench": "bitfront.search.session.bench",
    "compare": "bitfront.search.session.compare",
    "compare_samplers": "bitfront.search.session.compare_samplers",
    "evaluate": "bitfront.search.session.evaluate",
    "latency_table": "bitfront.search.session.latency_table",
    "list_runs": "bitfront.search.session.run",
    "open_run": "bitfront.search.session.run",
    "overlay": "bitfront.search.session.run",
    "profile": "bitfront.search.session.profile",
    "refine": "bitfront.search.session.refine",
    "report": "bitfront.search.session.run",
    "resume": "bitfront.search.session.search",
    "resume_study": "bitfront.search.session.study",
    "resume_training": "bitfront.search.session.train",
    "save_figure": "bitfront.search.session.run",
    "search": "bitfront.search.session.search",
    "search_from": "bitfront.search.session.search",
    "study": "bitfront.search.session.study",
    "tables_from_probe": "bitfront.search.session.latency_probe",
    "train": "bitfront.search.session.train",
    "verify": "bitfront.search.session.verify",
    "write_probe": "bitfront.search.session.latency_probe",
}
__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
