"""Choose the micro batch size from the free memory, and fix the number of CPU threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import psutil
import torch
from torch import nn

from tunery import env, memory
from tunery.config.config import Config
from tunery.models.memory import fitting_micro_batch
from tunery.models.quantized import linear, num_parameters
from tunery.shape import ModelShape

USABLE_SHARE = 0.8
FALLBACK_TOKENS = 4096
"""Used for architectures whose shape the estimate does not know."""


def micro_batch_tokens(
    config: Config,
    model: Any,
    lengths: np.ndarray,
    dtype: torch.dtype,
    device: str,
    *,
    others: Sequence[nn.Module] = (),
) -> int:
    """Maximum tokens per forward and backward pass.

    Args:
        config: If ``train.micro_batch_tokens`` is set, it takes precedence.
        model: The loaded model, for its shape.
        lengths: Tokens of each training row.
        dtype: Dtype of the frozen weights and the activations.
        device: The device whose free memory is used.
        others: Further models that are loaded.
    """
    if config.train.micro_batch_tokens is not None:
        return config.train.micro_batch_tokens
    longest = int(lengths.max(initial=1))
    shape = ModelShape.from_config_json(
        model.config.to_dict(), total_parameters=num_parameters(model)
    )
    shape = replace(shape, counted=linear(model))
    fits = fitting_micro_batch(
        shape,
        config,
        dtype="fp32" if dtype == torch.float32 else "bf16",
        available_bytes=int(free_memory_bytes(device) * USABLE_SHARE),
        longest_row=longest,
        others=sum(num_parameters(other) for other in others),
    )
    return fits or longest


def free_memory_bytes(device: str) -> int:
    """Free memory of the device, in bytes; on a CPU, this process's own memory counts as free."""
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(device)[0]
    return memory.available_bytes() + psutil.Process().memory_info().rss


def threads(wanted: int | None) -> int:
    """Set the number of CPU threads, which determines the order of sums, and return it."""
    count = wanted or env.cores()
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)
    return count
