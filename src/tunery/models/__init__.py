"""Models: resolve names, download from hubs, import GGUF files, load weights and adapters.

Importing ``load``, ``attach`` or ``computes`` imports torch; the other modules are light.
"""
