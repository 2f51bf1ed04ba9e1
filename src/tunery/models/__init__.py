"""Models: naming one (resolve), fetching one (pull), importing one (gguf), loading one (load).

Everything here but ``load`` and ``convert`` is light: no torch, no transformers.
"""
