"""NEFTune: noise on the token embeddings while training (https://arxiv.org/abs/2310.05914)."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tunery.data.collate import Batch


@contextmanager
def noisy(base: Any, batch: Batch) -> Generator[None]:
    """Add the batch's noise to the embeddings while the context is active.

    Each row gets its own random numbers, from the seed of the step and the row's index, and its own
    scale, from its own length. So neither depends on the other rows of the batch.

    Args:
        base: A causal language model of transformers, not wrapped.
        batch: Rows without shared tokens; ``batch.noise`` 0 changes nothing.
    """
    if not batch.noise:
        yield
        return

    def added(_module: object, _inputs: object, embedded: Tensor) -> Tensor:
        noise_ND = torch.zeros(embedded.shape[1:], device=embedded.device)
        for row, places in zip(batch.rows, batch.places, strict=True):
            where = torch.from_numpy(places).to(embedded.device)
            noise_ND[where] = row_noise(
                row, len(places), embedded.shape[-1], batch.noise, embedded.device
            )
        return embedded + noise_ND.to(embedded.dtype)[None]

    handle = base.get_input_embeddings().register_forward_hook(added)
    try:
        yield
    finally:
        handle.remove()


def row_noise(
    row: int, length: int, width: int, alpha: float, device: torch.device | str
) -> Tensor:
    """Uniform noise of one row: between plus and minus alpha / sqrt(length * width).

    Args:
        row: Index of the row; with the current seed of torch, it determines the numbers.
        length: Number of tokens.
        width: Size of an embedding.
        alpha: Amplitude.
        device: Where the numbers are drawn; devices draw different ones.

    Returns:
        Shape ``[length, width]``, fp32.
    """
    seed = torch.initial_seed()
    words = np.random.SeedSequence([seed & 0xFFFFFFFF, seed >> 32, row]).generate_state(2)
    generator = torch.Generator(device).manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)
    size = alpha / math.sqrt(length * width)
    noise = torch.empty(length, width, device=device)
    return noise.uniform_(-size, size, generator=generator)
