"""Controls that every request passes, in the order of ``server.app``: one module each."""
