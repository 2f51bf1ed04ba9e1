"""Kernels for decoding steps on x86 processors with AVX-512."""
