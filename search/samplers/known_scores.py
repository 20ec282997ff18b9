"""What is known of a space's genes before any evaluation, for samplers that begin with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the help of the command line names samplers, and has no use for numpy
    import numpy as np
    from numpy.typing import NDArray

    from bitfront.search.samplers.surrogate.objective_model import PriorScores

# Names of the scores.
GRADIENT, SPECTRAL = "gradient", "spectral"


@dataclass(frozen=True)
class KnownScores:
    """Sensitivities of genes, as far as a sampler asks for them.

    Attributes:
        gradient: Divergences that gradients predict; None where they were not found.
        spectral: Of each gene ``S``, ``[genes]``, in genome order; None where it was not found.
    """

    gradient: PriorScores | None = None
    spectral: NDArray[np.float64] | None = None

    def ranks(self, genes: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Places of the genes in ascending order of ``S``, ``[genes]``.

        Those of equal ``S``, such as the weights and the input of a layer, are in random order; so are all of
        them where it is not known.
        """
        import numpy as np

        values = np.zeros(genes) if self.spectral is None else self.spectral
        found = np.empty(genes)
        found[np.lexsort((rng.permutation(genes), values))] = np.arange(genes)
        return found
