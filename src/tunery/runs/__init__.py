"""Runs as folders: their names, events, status and checkpoints, for everyone to read."""
