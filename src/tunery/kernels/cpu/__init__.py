"""Kernels of a decoding step for x86 processors with AVX-512."""
