"""Benchmarks: models as files, in the runtimes that execute them."""
