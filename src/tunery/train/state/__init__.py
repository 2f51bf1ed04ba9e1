"""What a run must not lose: its position, its checkpoints, its final weights."""
