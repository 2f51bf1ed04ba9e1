"""Quantization of the frozen base model: one file per kind, by ``quantization.type``."""
