"""Adapters choose the weights to train: one file per adapter, selected by ``adapter.type``."""
