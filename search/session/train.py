"""Training a model: a folder with its weights, curves and what they are worth, ready to be searched."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from bitfront.evaluators.data.registry import path_of
from bitfront.evaluators.training.recipe import TrainingSpec
from bitfront.search.runs.names import plain_name
from bitfront.search.session.reporter import ProgressCallback, Reporter, reporter_of
from bitfront.search.session.specs import with_test_folder

if TYPE_CHECKING:
    from bitfront.evaluators.training.training import Training


def train(
    spec: TrainingSpec | None = None,
    output: str | Path | None = None,
    *,
    overwrite: bool = False,
    progress: Reporter | ProgressCallback | None = None,
) -> Training:
    """Fine-tunes a model, or trains it from random weights, alone or from a teacher.

    Images that a search of the trained model calibrates on, sees and reports on are not trained on. The
    folder has ``model.safetensors`` and ``model_ema.safetensors`` (the moving average of the weights), which
    bitfront and timm load, ``config.json`` with the preprocessing, ``training.json`` with all that was
    decided and found, ``curves.csv`` and ``curves.png``.

    Args:
        spec: What is trained, on what and how; None for the defaults.
        output: The folder, made where there is none; None for ``MODEL-DATA``.
        overwrite: Whether it may hold files already.
        progress: Is told of the steps.

    Returns:
        The training; ``interrupted`` where Ctrl-C ended it: :func:`resume_training` goes on with it.

    Raises:
        UserError: The spec cannot be carried out as stated.
        BitfrontError: The training failed.
    """
    from bitfront.evaluators.training.folder import check_place
    from bitfront.evaluators.training.training import train_model

    spec = (spec or TrainingSpec()).at_absolute_places()
    spec = dataclasses.replace(spec, evaluation=with_test_folder(spec.evaluation))
    spec.check()
    folder = default_folder(spec) if output is None else Path(output)
    _check_loaders(spec)
    check_place(folder, overwrite)
    return _drawn(train_model(spec, folder, audience=reporter_of(progress)))


def resume_training(folder: str | Path, *, progress: Reporter | ProgressCallback | None = None) -> Training:
    """Goes on with a training that was interrupted or killed; it ends in the weights that it would have had.

    Args:
        folder: Of the training.
        progress: Is told of the steps.

    Raises:
        UserError: The folder is none of a training, or has nothing to go on from.
        BitfrontError: The training failed.
    """
    from bitfront.evaluators.training import training
    from bitfront.evaluators.training.folder import read_record

    _check_loaders(read_record(Path(folder))[0])
    return _drawn(training.resume_training(Path(folder), reporter_of(progress)))


def _check_loaders(spec: TrainingSpec) -> None:
    """Refuses processes that load images where the running script would not let them start."""
    if spec.recipe.loaders:
        from bitfront.search.session.worker_pool import check_main_guard

        check_main_guard("give loaders=0 to load images in this process")


def default_folder(spec: TrainingSpec) -> Path:
    """The folder of a training that none was named for."""
    data = path_of(spec.evaluation.data)
    name = spec.evaluation.data if data is None else Path(data).stem or "data"
    return Path(f"{plain_name(spec.evaluation.model.rpartition('/')[2])}-{plain_name(name)}")


def _drawn(found: Training) -> Training:
    """The same training, with a picture of its curves in the folder."""
    if found.rows:
        from bitfront.evaluators.training.folder import PICTURE
        from bitfront.search.reports.plots import style
        from bitfront.search.reports.plots.training import draw_curves

        style.save_figure(draw_curves(found), found.folder / PICTURE)
    return found
