"""Evaluation: measure a model's loss on rows and its answers, through an engine."""
