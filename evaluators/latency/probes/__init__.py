"""Tables of machines without bitfront: a folder of graphs, what times them, what is made of the times."""
