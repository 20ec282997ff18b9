"""Ask, evaluate, tell: the loop of a search, and the protocols that it speaks."""
