"""Trackers: report a run to other tools, each in its own process that reads events.jsonl."""
