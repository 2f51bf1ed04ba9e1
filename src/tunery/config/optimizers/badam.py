"""The light half of BAdam."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tunery.config.optimizers.adamw import AdamWConfig
from tunery.shape import Trained


class BAdamConfig(AdamWConfig):
    """BAdam: Adam on one decoder block at a time, full training with the memory of one block."""

    build = "tunery.optimizers.badam:BlockAdam"
    known_as = "use_badam"

    type: Literal["badam"] = "badam"  # pyright: ignore[reportIncompatibleVariableOverride]
    """BAdam (Luo et al. 2024)."""

    switch_interval: int = Field(default=50, ge=1)
    """Steps until the next block is trained."""

    switch_order: Literal["ascending", "descending", "random"] = "ascending"
    """Order of the blocks in each round; ascending begins at the embeddings' side."""

    train_embeddings: bool = False
    """Whether what is outside the blocks (embeddings, last norm, output layer) is a block too."""

    def state_bytes(self, trained: Trained) -> int:
        """Two moving averages in fp32 of the largest block."""
        return 2 * 4 * self._largest(trained)

    def gradient_bytes(self, trained: Trained) -> int:
        """Those of the largest block."""
        return 4 * self._largest(trained)

    def _largest(self, trained: Trained) -> int:
        inside = sum(matrix.numel for matrix in trained.matrices if matrix.in_block)
        outside = sum(matrix.numel for matrix in trained.matrices if not matrix.in_block)
        block = inside // max(1, trained.num_blocks)
        return max(block, outside) if self.train_embeddings else block or trained.count
