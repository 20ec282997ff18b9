"""A packed file in torch, on this package's integer kernels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from bitfront.evaluators.bench.entrant import Loaded, Products
from bitfront.evaluators.bench.torch_entrant import import_timm
from bitfront.evaluators.deployment.packed import read_packed
from bitfront.evaluators.kernels.linear import int8_kernels_are_exact
from bitfront.evaluators.kernels.vnni import vnni_available

PRODUCTS_OF_ATTENTION = 2


@dataclass(frozen=True)
class PackedEntrant:
    """See :class:`~bitfront.evaluators.bench.entrant.Entrant`.

    Attributes:
        path: The packed file.
    """

    path: Path

    def import_libraries(self) -> None:
        """See :class:`~bitfront.evaluators.bench.entrant.Entrant`."""
        import_timm()

    def load(self, batch: int) -> Loaded:
        """See :class:`~bitfront.evaluators.bench.entrant.Entrant`."""
        torch.set_num_threads(1)
        packed = read_packed(self.path)
        model = packed.assemble()
        shape = packed.blueprint.image_shape
        images = torch.randn(batch, *shape, generator=torch.Generator().manual_seed(0))
        linear = len(packed.layers) + len(packed.outer)
        attention = PRODUCTS_OF_ATTENTION * len(packed.config.encoders)

        def products() -> Products:
            # Where the processor has no such instructions, integers are multiplied in float lanes.
            integers = linear * int8_kernels_are_exact() + attention * vnni_available()
            return Products(linear + attention, integers)

        return Loaded(lambda: model(images), products)
