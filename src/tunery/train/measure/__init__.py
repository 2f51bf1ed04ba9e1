"""Measurements besides the training loss: evaluation, samples, forgetting, replay answers."""
