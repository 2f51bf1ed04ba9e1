"""How a gradient becomes a step: one file per optimizer, chosen by ``optim.type``."""
