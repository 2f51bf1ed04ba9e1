"""Which weights are trained: one file an adapter, chosen by ``adapter.type``."""
