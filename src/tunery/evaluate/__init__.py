"""Evaluation: what a model foretells of rows and what it answers, measured through an engine."""
