"""Whole commands from their settings to their results: a search, an evaluation, a benchmark."""
