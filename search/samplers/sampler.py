"""The sampler interface: ask for a batch of genomes, tell what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bitfront.search.trial import Trial

GenomeTuple = tuple[int, ...]


class Sampler(Protocol):
    """Proposes candidates; what it asks for depends on its seed and on what it was told alone."""

    @property
    def lag(self) -> int:
        """Batches that may be unfinished when the next one is asked for.

        With 0, all workers wait for the last candidate of a batch; with 1, they have another batch meanwhile,
        which was chosen without knowing this one's results.
        """

    def ask(self) -> list[GenomeTuple]:
        """The next batch, none of it asked for before; empty when every genome has been asked for."""

    def tell(self, trials: Sequence[Trial]) -> None:
        """The finished trials of the oldest batch that was not told yet, in the order of asking."""
