"""Evaluation workers: Dask processes of this machine or of a cluster, and what they may use."""

from bitfront.search.workers.dask_pool import DaskPool
from bitfront.search.workers.local_cluster import available_workers
from bitfront.search.workers.settings import WorkerSettings

__all__ = ["DaskPool", "WorkerSettings", "available_workers"]
