"""The training engine: the loop, its state, its measurements and the files it writes."""
