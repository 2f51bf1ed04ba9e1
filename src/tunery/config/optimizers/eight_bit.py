"""What optimizers with 8-bit states have in common: bitsandbytes, and paging."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tunery.config.base import Finding
from tunery.config.optimizers.base import OptimizerKind
from tunery.i18n import t
from tunery.shape import Matrix, Trained

BLOCK, SMALL = 256, 4096
"""Numbers that share one fp32 scale; parameters of fewer numbers than the second keep fp32."""


class EightBit(OptimizerKind):
    """States in blocks of 8-bit numbers, each block with a scale."""

    extra = "quantize"
    packages = ("bitsandbytes",)

    paged: bool = False
    """Move the states to the computer's memory when the GPU's is full (CUDA only)."""

    def average_bytes(self, trained: Trained) -> int:
        """Bytes of one moving average."""
        return trained.bytes_by_matrix(_average_bytes)

    def excludes(self, config: Any) -> Iterator[Finding]:
        """Reject paging without a GPU."""
        yield from super().excludes(config)
        if self.paged and not config.model.device.startswith(("auto", "cuda")):
            yield (
                "optim.paged",
                t("optim.paged needs a CUDA GPU, but model.device is {device}.",
                  device=config.model.device),
                t("Remove this setting; the states are in the computer's memory anyway."),
            )  # fmt: skip


def _average_bytes(matrix: Matrix) -> int:
    small = matrix.rows * matrix.columns < SMALL
    return 4 * matrix.numel if small else matrix.numel + 4 * matrix.numel // BLOCK
