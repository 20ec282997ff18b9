"""Latency: what a configuration costs in time, from a source that is always named."""
