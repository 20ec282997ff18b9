"""Contestants of a benchmark: models as files, in the runtimes that execute them."""
