"""Latency: what a configuration costs in time, from a source that is always named."""

from bitfront.evaluators.latency.source import LatencySource, latency_source, resumed_source
from bitfront.evaluators.latency.table import LatencyTable
from bitfront.evaluators.latency.table_file import read_table, table_csv
from bitfront.evaluators.latency.table_sums import TableLatency
from bitfront.evaluators.latency.timed import Subject, TimedRuntime

__all__ = [
    "LatencySource",
    "LatencyTable",
    "Subject",
    "TableLatency",
    "TimedRuntime",
    "latency_source",
    "read_table",
    "resumed_source",
    "table_csv",
]
