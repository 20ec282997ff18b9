"""What a configuration becomes as a file, and the runtimes that execute it."""
