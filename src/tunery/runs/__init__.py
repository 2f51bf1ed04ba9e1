"""Run folders: names, events, status, checkpoints, and the queue for devices. Light."""
