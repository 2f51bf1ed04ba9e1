"""Optimizers: one file per optimizer, selected by ``optim.type``."""
