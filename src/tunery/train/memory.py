"""How much is computed at once: the micro batch from the memory that is free, and the threads."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import psutil
import torch

from tunery import memory
from tunery.config.config import Config
from tunery.models.memory import fitting_micro_batch
from tunery.shape import ModelShape

USABLE_SHARE = 0.8
FALLBACK_TOKENS = 4096
"""For architectures whose shape the estimate does not know."""


def micro_batch_tokens(
    config: Config, model: Any, lengths: np.ndarray, dtype: torch.dtype, device: str
) -> int:
    """Most tokens in one forward and backward pass.

    Args:
        config: A set ``train.micro_batch_tokens`` wins.
        model: The loaded model, for its shape.
        lengths: Tokens of the training rows.
        dtype: Of the frozen weights and the activations.
        device: Whose free memory counts.
    """
    if config.train.micro_batch_tokens is not None:
        return config.train.micro_batch_tokens
    longest = int(lengths.max(initial=1))
    shape = ModelShape.from_config_json(
        model.config.to_dict(), total_parameters=sum(p.numel() for p in model.parameters())
    )
    fits = fitting_micro_batch(
        shape,
        config,
        dtype="fp32" if dtype == torch.float32 else "bf16",
        available_bytes=int(free_memory_bytes(device) * USABLE_SHARE),
        longest_row=longest,
    )
    return fits or longest


def free_memory_bytes(device: str) -> int:
    """Free memory of the device; on a CPU, this process's own memory counts as free."""
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(device)[0]
    return memory.available_bytes() + psutil.Process().memory_info().rss


def threads(wanted: int | None) -> int:
    """Fix the number of CPU threads, because it decides the order of sums, and return it."""
    count = wanted or len(os.sched_getaffinity(0))
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)
    return count
