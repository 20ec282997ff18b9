"""The latency source that a command's options ask for, and the batch it is asked for."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bitfront.spaces import UserError

if TYPE_CHECKING:
    from bitfront.evaluators.latency.source import LatencySource


def chosen_latency(args: argparse.Namespace, scheme: str) -> tuple[LatencySource, int]:
    """The source of ``--latency`` and the images of a batch.

    Args:
        args: The command's options.
        scheme: The quantization scheme.

    Raises:
        UserError: The source is unknown, cannot be used for the scheme, or is for another batch than the
            written one.
    """
    from bitfront.evaluators.latency.source import latency_source

    source = latency_source(args.latency, scheme)
    if source.batch is None:
        return source, int(args.latency_batch)
    if "latency_batch" in args.given and args.latency_batch != source.batch:
        raise UserError(
            f"--latency-batch {args.latency_batch}: {args.latency} is for batches of {source.batch}: leave "
            "the option out, or give a table for that batch (`bitfront latency-table --latency-batch "
            f"{args.latency_batch}`)"
        )
    return source, source.batch
