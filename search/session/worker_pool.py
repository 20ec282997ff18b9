"""The workers of a search, as the arguments ask for them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bitfront.search.problem.spec import RunSpec
from bitfront.search.workers.local_cluster import WorkerSettings, parse_memory
from bitfront.spaces import UserError
from bitfront.spaces.quantities import parse_duration

if TYPE_CHECKING:
    from bitfront.evaluators.context.context import EvaluationContext
    from bitfront.search.workers.pool import DaskPool


# Options of the machine, which decide nothing of what is found.
MACHINE_OPTIONS = frozenset({"workers", "cluster", "evaluation_timeout", "worker_memory", "send_data"})


def worker_settings(args: argparse.Namespace) -> WorkerSettings:
    """What workers may use and how long they are waited for.

    Raises:
        UserError: An option cannot be read, or asks for what the others rule out.
    """
    if args.send_data and not args.cluster:
        raise UserError("--send-data is for workers of other machines: give their scheduler with --cluster")
    if args.worker_memory is not None and args.cluster:
        raise UserError(
            "--worker-memory is for workers of this machine: those of --cluster are limited where they are "
            "started, with `dask worker --memory-limit`"
        )
    timeout, memory = args.evaluation_timeout, args.worker_memory
    return WorkerSettings(
        evaluation_timeout_s=None if timeout is None else parse_duration(timeout),
        memory_bytes=None if memory is None else parse_memory(memory),
    )


def start_workers(
    args: argparse.Namespace, spec: RunSpec, context: EvaluationContext, workers: int
) -> DaskPool:
    """Starts the workers of this machine, or checks those of a cluster and sends them what they need.

    Args:
        args: The arguments.
        spec: The run's settings, resolved.
        context: The coordinator's own, with which the results of a cluster must agree.
        workers: Processes to start; without meaning for a cluster.

    Raises:
        UserError: The scheduler cannot be reached, or a worker there cannot take part.
        BitfrontError: The workers did not start.
    """
    from bitfront.search.workers.pool import DaskPool

    settings = worker_settings(args)
    if args.cluster is None:
        return DaskPool(spec.evaluation, workers, settings=settings)
    from bitfront.evaluators.context.bundle import bundle_of, fingerprint_of

    return DaskPool(
        spec.evaluation,
        cluster=args.cluster,
        settings=settings,
        reference=fingerprint_of(context),
        bundle=bundle_of(context) if args.send_data else None,
    )
