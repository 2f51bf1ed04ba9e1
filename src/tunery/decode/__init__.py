"""Inference: decoding, sampling, and the engines that chat, evaluation and export talk to.

Everything here needs the heavy libraries (torch, transformers) and runs in the calling process.
"""
