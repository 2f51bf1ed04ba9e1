"""The training engine: the loop, its state, what it measures and what it leaves behind."""
