"""The run folder: its study, tables, locks, and reading it."""
