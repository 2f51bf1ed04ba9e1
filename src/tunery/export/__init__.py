"""Writing what was trained for others to use: formats, and the proof that nothing changed.

Each format writes into a staging folder that services.exporting makes and puts in place; none
counts as done before ``parity`` has compared the written files, opened by plain transformers,
with what was trained.
"""
