"""What a refinement came to, in words and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bitfront.evaluators.tasks.registry import task_named
from bitfront.evaluators.tasks.task import Task
from bitfront.search.problem.wording import duration
from bitfront.search.reports.console import print_lines, stdout_console
from bitfront.search.reports.tables import Table
from bitfront.search.runs.refined import Compared
from bitfront.spaces.quantities import count_of

if TYPE_CHECKING:
    from bitfront.search.runs.refinement import Refinement


def print_refinement(found: Refinement) -> None:
    """Prints a refinement for a person: what it was learned from, and what it brought."""
    console, task = stdout_console(), task_named(found.task)
    subject = f"configuration {found.config.digest}"
    if found.trial is not None:
        subject = f"trial {found.trial} of {found.run} ({found.config.digest})"
    console.print(f"{subject}: {learning_words(found.point.figures)}\n", soft_wrap=True)
    console.print(refinement_table(found.point.splits, task))
    console.print()
    paired = "± is one standard error; differences are paired: both classify the same images"
    print_lines(console, [f"{paired}; none of these images was learned from"])
    if not found.helped:
        print_lines(console, [f"refining did not help, and nothing was changed: {found.why}"])
        return
    place = found.path if found.bit_config is None else found.bit_config.parent
    print_lines(console, [f"the refined model is kept in {place}; its bits are what they were"])


def learning_words(figures: Mapping[str, Any]) -> str:
    """How long was learned from how many images, and how near the float model it came on others."""
    before, after = figures["before"], figures["after"]
    return (
        f"learned from {count_of(int(figures['images']), 'image')} in {duration(float(figures['seconds']))}; "
        f"on {figures['held_out']} others KL to the float model {before['kl']:.4f} before and "
        f"{after['kl']:.4f} after"
    )


def refinement_table(splits: Mapping[str, Compared], task: Task) -> Table:
    """Every metric before and after, and its difference with the paired standard error, by split."""
    table = Table(("", "before", "refined", "difference"))
    for split, compared in splits.items():
        table.add(count_of(compared.after.images, f"{split} image"), "", "", "")
        for name, difference in compared.differences.items():
            metric = task.metric(name)
            error = "" if difference.error != difference.error else f" ± {metric.number(difference.error)}"
            before, after = (metric.number(side.values[name]) for side in (compared.before, compared.after))
            table.add(f"  {metric.heading}", before, after, metric.number(difference.value, "+") + error)
    return table
