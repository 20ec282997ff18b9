"""What the commands that load a model do: search and evaluate."""
