"""Inference: decoding, sampling, and the engines that chat, evaluation and export talk to.

Everything here runs on the heavy side (torch, transformers) and in whatever process asked for it.
"""
