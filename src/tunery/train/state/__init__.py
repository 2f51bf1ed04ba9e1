"""The persistent state of a run: its position, its checkpoints, its final weights."""
