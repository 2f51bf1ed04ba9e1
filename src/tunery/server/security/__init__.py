"""Controls that every request passes, one module each, in the order of ``server.app``."""
