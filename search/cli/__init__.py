"""The command line of bitfront."""
