"""Trackers: what shows a run elsewhere, each fed by a process of its own from events.jsonl."""
