"""Trackers: show a run in other tools, each fed from events.jsonl by its own process."""
