"""What a configuration becomes as a file: packed, as a graph, or as the bit settings of another toolchain."""
