"""The course of a refinement: encoders one after another, then all of them together, pass by pass."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from bitfront.evaluators.data.images import PreprocessedImages
from bitfront.evaluators.models.blueprint import Blueprint
from bitfront.evaluators.progress import ShareDone
from bitfront.evaluators.training.refinement.learning import Learning
from bitfront.evaluators.training.refinement.network import LearnedModel
from bitfront.evaluators.training.refinement.recipe import RefinementSpec
from bitfront.evaluators.training.refinement.reconstruction import VIEWS, Reconstruction
from bitfront.evaluators.training.refinement.state import Done, keep_state, kept_state

log = logging.getLogger(__name__)

# Cost of an image beside that of one in a pass of all encoders: of one that every encoder learns from in its
# turn, and of a view whose streams and gradients are computed.
_TURN, _VIEW = 0.75, 1.0


class Course:
    """What is learned one after another, and kept after each part, to go on from after a kill.

    Args:
        model: Learns.
        blueprint: The float model.
        images: What is learned from.
        spec: How.
        folder: Where the state is kept; None keeps none.
        work: What identifies the refinement.
        nearer: Whether the model, as it is when this is asked, is nearer to the float one than it began, on
            images that are not learned from.
        progress: Is told the share that is done, from 0 to 1.
    """

    def __init__(
        self,
        model: LearnedModel,
        blueprint: Blueprint,
        images: PreprocessedImages,
        spec: RefinementSpec,
        folder: Path | None,
        work: str,
        nearer: Callable[[], bool],
        progress: ShareDone,
    ) -> None:
        self._model, self._blueprint, self._images, self._spec = model, blueprint, images, spec
        self._folder, self._work, self._nearer, self._progress = folder, work, nearer, progress
        self._named = dict(model.named_parameters())
        self._begun = {f"value.{name}": value.detach().clone() for name, value in self._named.items()}
        self._encoders = len(blueprint.encoders) if spec.encoder_passes else 0
        turns = spec.encoder_passes * _TURN + (1 + VIEWS) * _VIEW if self._encoders else 0.0
        self._turns = turns / (turns + spec.passes)

    def run(self) -> tuple[float, ...]:
        """Learns; returns the losses by pass.

        Raises:
            UserError: The folder holds the state of another refinement.
        """
        learning = Learning(self._model, self._blueprint, self._images, self._spec)
        done = Done(0, ())
        if self._folder is not None and (kept := kept_state(self._folder, self._work)) is not None:
            state, done = kept
            self._take_up(state)
            if done.losses:
                learning.restore(state)
            log.info("goes on after %d encoders and %d passes", done.encoders, len(done.losses))
        if self._encoders and not done.losses:
            self._turn_by_turn(done.encoders)
            if not self._nearer():
                log.info(
                    "encoders in their turn came no nearer on other images: all begin from where they were"
                )
                self._take_up(self._begun)
        return self._together(learning, done.losses)

    def _turn_by_turn(self, first: int) -> None:
        if first == self._encoders:
            return
        rest = Reconstruction(self._model, self._blueprint, self._images, self._spec)
        for index in range(self._encoders):
            if index < first:
                rest.skip(index)
                continue
            error = rest.learn(index, functools.partial(self._tell_turn, index))
            log.info("encoder %d of %d: error %.4f to %.4f", index + 1, self._encoders, *error)
            self._keep({}, Done(index + 1, ()))

    def _tell_turn(self, index: int, share: float) -> None:
        self._progress(self._turns * (index + share) / self._encoders)

    def _together(self, learning: Learning, losses: tuple[float, ...]) -> tuple[float, ...]:
        every = self._spec.passes * learning.steps_of_a_pass
        for number in range(len(losses), self._spec.passes):
            loss = learning.run_pass(
                number, lambda steps: self._progress(self._turns + (1.0 - self._turns) * steps / every)
            )
            losses = (*losses, loss)
            log.info("pass %d of %d: divergence %.4f", number + 1, self._spec.passes, loss)
            self._keep(learning.state(), Done(self._encoders, losses))
        return losses

    def _keep(self, state: Mapping[str, torch.Tensor], done: Done) -> None:
        if self._folder is not None:
            values = {f"value.{name}": parameter.detach() for name, parameter in self._named.items()}
            keep_state(self._folder, self._work, values | dict(state), done)

    @torch.no_grad()
    def _take_up(self, state: Mapping[str, torch.Tensor]) -> None:
        for name, parameter in self._named.items():
            parameter.copy_(state[f"value.{name}"])
