"""Training methods: one file per method, selected by ``method.type``."""
