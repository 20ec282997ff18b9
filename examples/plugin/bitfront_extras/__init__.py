"""What this package adds to bitfront; the entry points in pyproject.toml name it."""
