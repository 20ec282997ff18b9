"""What refining refuses before anything long: schemes, settings beside a resumption, taken places."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bitfront.evaluators.context.spec import absolute_place
from bitfront.evaluators.data.registry import path_of
from bitfront.evaluators.files import check_writable
from bitfront.evaluators.preparation.refinement_file import REFINED
from bitfront.search.runs.names import command_line, run_command
from bitfront.search.runs.refined import record_of, unfinished_in
from bitfront.search.session.refine_request import RefinePlace
from bitfront.spaces import FORMATS, BitConfig, UserError
from bitfront.spaces.schemes import DEPLOY

if TYPE_CHECKING:
    from bitfront.search.runs.reader import RecordedRun

_UNFINISHED = "unfinished"


def check_scheme(scheme: str, what: str) -> None:
    """Refuses schemes that nothing can be learned for; ``what`` names what has it."""
    if scheme != DEPLOY:
        raise UserError(
            f"{what} is of scheme {scheme}, and scheme {DEPLOY} alone can be refined: search with --scheme "
            f"{DEPLOY}"
        )


def check_plain(config: BitConfig, what: str) -> None:
    """Refuses formats that nothing can be learned in; ``what`` names what has them."""
    others = [value for value in config.formats().every if not FORMATS[value].plain]
    if others:
        raise UserError(
            f"{what} has {', '.join(FORMATS[value].name for value in others)}, and configurations of plain "
            "integers alone can be refined: choose another one"
        )


def check_alone(*settings: object) -> None:
    """Refuses settings beside a resumption, which keeps those that it was begun with."""
    if any(setting is not None for setting in settings):
        raise UserError("a refinement that is resumed keeps its settings: give none beside that")


def further_data(data: str | Path | None) -> str | None:
    """Where further images come from, as it holds in any folder; refuses a place where nothing is."""
    if data is None:
        return None
    found = absolute_place("data", data)
    path = path_of(found)
    if path is not None and not Path(path).exists():
        raise UserError(
            f"--refine-data {data}: there is no such place; expected a folder of images, or data in another "
            "form that --data takes"
        )
    return found


def check_new(place: RefinePlace, what: str, again: str, export: str) -> None:
    """Refuses to refine what is refined, or being refined, already.

    Args:
        place: Where it would be kept.
        what: What it is of.
        again: The command that refines it.
        export: The command that goes on from one that there is.
    """
    if place.begun:
        raise UserError(
            f"refining {what} was interrupted: go on with `{again} --resume`, or begin again with --force"
        )
    if record_of(place.file).is_file():
        raise UserError(f"{what} is refined already: `{export}`, or refine it again with --force")


def check_point(run: RecordedRun, place: RefinePlace, trial: int) -> None:
    """Refuses a point of a run that is refined, or being refined, already."""
    again, export = (
        run_command(run.path, command, run.name, "--pick", trial, *more)
        for command, more in (("refine", ()), ("export", ("--refined",)))
    )
    check_new(place, f"trial {trial}", again, export)


def check_folder(folder: Path, place: RefinePlace) -> None:
    """Refuses a folder that is refined into already, or holds other files."""
    again = command_line("refine", "--output", folder)
    check_new(place, str(folder), again, command_line("evaluate", "--config", folder))
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder} holds files: choose another folder, or write into it with --force")


def place_in(folder: Path) -> RefinePlace:
    """Where a refinement of no run is kept in its folder."""
    return RefinePlace(folder / REFINED, folder / _UNFINISHED)


def made(folder: Path) -> None:
    """Makes the folder of a refinement of no run, where it can be made."""
    check_writable(folder / REFINED, make_folder=True)


def unfinished_point(run: RecordedRun) -> str:
    """The digest of the one configuration of a run whose refinement is unfinished.

    Raises:
        UserError: There is none, or there are several.
    """
    found = unfinished_in(run.path)
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError(f"run {run.name} has no refinement to go on with: begin one, without --resume")
    trials = dict(zip(run.front["digest"], run.front["trial"].astype(int), strict=True))
    named = ", ".join(str(trials.get(digest, digest)) for digest in found)
    raise UserError(f"run {run.name} has several refinements to go on with: name one with --pick: {named}")
