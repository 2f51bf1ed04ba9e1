"""What optimizers that project gradients to a low rank have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import Field

from tunery.config.base import Finding
from tunery.config.optimizers.adamw import AdamWConfig
from tunery.i18n import t
from tunery.shape import Matrix, Trained


class LowRank(AdamWConfig):
    """Adam on a projection of each large matrix, AdamW on everything else."""

    projection_rank: int = Field(default=128, ge=1, le=16_384)
    """Rank of the projection; matrices whose smaller side is not larger are not projected."""

    update_interval: int = Field(default=200, ge=1)
    """Steps between two projections."""

    def state_bytes(self, trained: Trained) -> int:
        """Projection and two projected moving averages in fp32; whole averages where it is none."""
        return trained.bytes_by_matrix(self._bytes)

    def _bytes(self, matrix: Matrix) -> int:
        small, large = sorted((matrix.rows, matrix.columns))
        if small <= self.projection_rank:
            return 2 * 4 * matrix.numel
        return 4 * self.projection_rank * (small + 2 * large) * matrix.count

    def excludes(self, config: Any) -> Iterator[Finding]:
        """Reject an adapter whose matrices are all too small to be projected."""
        yield from super().excludes(config)
        narrow = config.adapter.narrow
        if narrow is not None and self.projection_rank >= narrow:
            yield (
                "optim.projection_rank",
                t(
                    "optim.type={type} would project nothing: the matrices of "
                    "adapter.type={adapter} have rank {narrow}, and optim.projection_rank is "
                    "{rank}.",
                    type=self.type,
                    adapter=config.adapter.type,
                    narrow=narrow,
                    rank=self.projection_rank,
                ),
                t(
                    "Set optim.projection_rank below {narrow}, train whole weights, or use another "
                    "optim.type.",
                    narrow=narrow,
                ),
            )
