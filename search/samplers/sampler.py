"""The sampler interface: ask for a batch of genomes, tell what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bitfront.search.trial import Trial

GenomeTuple = tuple[int, ...]


class Sampler(Protocol):
    """Proposes candidates; what it asks for depends on its seed and on what it was told alone."""

    def ask(self) -> list[GenomeTuple]:
        """The next batch, none of it asked for before; empty when every genome has been asked for."""

    def tell(self, trials: Sequence[Trial]) -> None:
        """The finished trials of the last batch, in the order of asking."""
