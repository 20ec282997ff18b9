"""How the front is found, kept and shown: search engine, run store, plots and command line."""
