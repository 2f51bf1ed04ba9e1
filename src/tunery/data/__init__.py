"""Rows: where they come from, what they become, and what is wrong with them."""
