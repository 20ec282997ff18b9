"""Evaluation workers: Dask processes of this machine or of a cluster, and what they may use."""
