"""Conversations as tokens: chat templates, loss masks, control tokens, stop tokens."""
