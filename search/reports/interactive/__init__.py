"""The interactive report of one or several runs: what it shows, its charts, and the file."""
