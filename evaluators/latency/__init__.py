"""Latency: what a configuration costs in time, from a source that is always named."""

from bitfront.evaluators.latency.source import LatencySource, latency_source
from bitfront.evaluators.latency.table import LatencyTable, TableLatency

__all__ = ["LatencySource", "LatencyTable", "TableLatency", "latency_source"]
