"""The latency source of a name, and the batch it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitfront.spaces import UserError

if TYPE_CHECKING:
    from bitfront.evaluators.latency.source import LatencySource


def chosen_latency(name: str, scheme: str, batch: int | None = None) -> tuple[LatencySource, int]:
    """The latency source of a name and the images of a batch.

    Args:
        name: Such as ``measured:torch``, ``table:FILE`` or ``model:bops``.
        scheme: The quantization scheme.
        batch: Images of a batch as asked for; None for the table's, or 1.

    Raises:
        UserError: The source is unknown, cannot be used for the scheme, or is for another batch.
    """
    from bitfront.evaluators.latency.source import latency_source

    source = latency_source(name, scheme)
    if source.batch is None:
        return source, 1 if batch is None else batch
    if batch not in (None, source.batch):
        raise UserError(
            f"--latency-batch {batch}: {name} is for batches of {source.batch}: leave the option out, or "
            f"give a table for that batch (`bitfront latency-table --latency-batch {batch}`)"
        )
    return source, source.batch
