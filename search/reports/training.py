"""What a training came to, in words, and the search that goes on from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitfront.evaluators.context.spec import EvaluationSpec
from bitfront.evaluators.tasks.registry import task_named
from bitfront.search.problem.wording import duration
from bitfront.search.reports.console import print_lines, stdout_console
from bitfront.search.reports.tables import Table
from bitfront.spaces.quantities import count_of

if TYPE_CHECKING:
    from bitfront.evaluators.training.training import Training

# What learns from a network that bitfront does not quantize, in the command that is named next.
STUDENT = "deit_tiny_patch16_224"
# Options of a search by the field of the spec, where it is not what a search has without them.
_PLACES = ("data", "calibration_data", "test_data", "class_order", "class_map", "task")
_SIZES = ("calibration_images", "search_images", "test_images")


def print_training(found: Training) -> None:
    """Prints a finished training for a person."""
    console = stdout_console()
    task, files = task_named(found.spec.evaluation.task), list(found.figures)
    console.print(
        f"{found.spec.evaluation.model} in {found.folder}: {count_of(found.spec.recipe.epochs, 'epoch')} of "
        f"{count_of(found.train_images, 'image')} in {duration(found.seconds)}; {found.precision}\n",
        soft_wrap=True,
    )
    averaged = len(files) > 1
    table = Table(
        (f"{count_of(found.test_images, 'test image')}", *files, *(["difference"] if averaged else []))
    )
    for name in found.figures[files[0]].values:
        metric = task.metric(name)
        pairs = [(found.figures[file].values[name], found.figures[file].errors[name]) for file in files]
        cells = [f"{metric.number(value)} ± {metric.number(error)}" for value, error in pairs]
        if averaged:
            gained, error = found.difference[name]
            cells.append(f"{metric.number(gained, '+')} ± {metric.number(error)}")
        table.add(metric.heading, *cells)
    console.print(table)
    console.print()
    remarks = ["± is one standard error; none of these images was trained on"]
    if averaged:
        remarks.append(
            "the difference is that of the averaged weights on the same images; by the images that steer, "
            f"{found.best} is the better one to go on with"
        )
    print_lines(console, remarks)


def next_words(found: Training) -> list[str]:
    """The words of the command that goes on: a search, or what another model learns from this one."""
    from bitfront.evaluators.models.classifiers import is_quantized

    spec = found.spec.evaluation
    if is_quantized(spec.model, found.checkpoint):
        return search_words(found)
    words = ["train", "--model", STUDENT, *data_words(spec)]
    return [*words, "--teacher", spec.model, "--teacher-checkpoint", str(found.checkpoint)]


def search_words(found: Training) -> list[str]:
    """The words of the search of a trained model, by which it has images that were not trained on."""
    spec = found.spec.evaluation
    words = ["search", "--model", spec.model, "--checkpoint", str(found.checkpoint), *data_words(spec)]
    return words + (["--seed", str(spec.seed)] if spec.seed else [])


def data_words(spec: EvaluationSpec) -> list[str]:
    """The options by which a command has the same images in the same splits, but for their seed."""
    usual, words = EvaluationSpec(model=spec.model), list[str]()
    for name in _PLACES:
        value = getattr(spec, name)
        if name == "data" or value != getattr(usual, name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    if spec.columns:
        words += ["--columns", ",".join(spec.columns)]
    for name in _SIZES:
        if getattr(spec, name) != getattr(usual, name):
            words += [f"--{name.replace('_', '-')}", str(getattr(spec, name))]
    return words
