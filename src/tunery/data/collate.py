"""Rows of token ids -> one packed batch, without padding.

Shapes: N tokens of the batch, S segments (one a row), K trained tokens.

A token carries loss through the hidden state before it: the first token of a row is never
trained, and what follows a row's last trained token changes neither loss nor gradient of a
causal model. ``collate`` therefore leaves that tail out (``trim``): the last answer's end token
and the line break after it need not be computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

TokenRow = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows laid end to end.

    Args:
        input_ids: Token ids. Shape ``[1, N]``, int64.
        position_ids: Position of each token in its own row. Shape ``[1, N]``, int64.
        loss_mask: True where the token is trained (predicted by the one before). Shape ``[1, N]``.
            With ``trim`` a row's last trained token is usually not among the N.
        segments: Where each row begins, and N at the end. Shape ``[S + 1]``, int32.
        trained_index_K: Positions in N whose hidden state predicts a trained token. int64.
        target_ids_K: The token predicted there. int64.
        rows: The caller's number for each row (by default 0, 1, ...).
        num_tokens: Tokens of the rows before trimming; what throughput counts.
        lengths: Computed tokens of each row; plain numbers, so that no device is asked.
    """

    input_ids: Tensor
    position_ids: Tensor
    loss_mask: Tensor
    segments: Tensor
    trained_index_K: Tensor
    target_ids_K: Tensor
    rows: tuple[int, ...]
    num_tokens: int
    lengths: tuple[int, ...]

    @property
    def num_trained(self) -> int:
        """How many tokens carry loss (K)."""
        return self.target_ids_K.numel()

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device; host memory is pinned by the caller if it matters."""
        moved = {
            name: getattr(self, name).to(device, non_blocking=True)
            for name in (
                "input_ids",
                "position_ids",
                "loss_mask",
                "segments",
                "trained_index_K",
                "target_ids_K",
            )
        }
        return replace(self, **moved)

    def one_by_one(self) -> list[Batch]:
        """Split into batches of one row each, for models that cannot be packed."""
        singles: list[Batch] = []
        share = self.num_tokens // max(len(self.rows), 1)
        start = 0
        for row, length in zip(self.rows, self.lengths, strict=True):
            end = start + length
            inside = (self.trained_index_K >= start) & (self.trained_index_K < end)
            singles.append(
                Batch(
                    input_ids=self.input_ids[:, start:end],
                    position_ids=self.position_ids[:, start:end],
                    loss_mask=self.loss_mask[:, start:end],
                    segments=torch.tensor(
                        [0, length], dtype=torch.int32, device=self.segments.device
                    ),
                    trained_index_K=self.trained_index_K[inside] - start,
                    target_ids_K=self.target_ids_K[inside],
                    rows=(row,),
                    num_tokens=share,
                    lengths=(length,),
                )
            )
            start = end
        return singles


def collate(
    rows: Sequence[TokenRow], indices: Sequence[int] | None = None, *, trim: bool = True
) -> Batch:
    """Lay rows end to end.

    Args:
        rows: ``(input_ids, loss_mask)`` pairs of equal length, at least one token each.
        indices: Numbers to remember the rows by; by default their positions.
        trim: Leave out what follows a row's last trained token (at least one token stays).

    Raises:
        ValueError: No row, an empty row, or a mask of another length.
    """
    if not rows:
        raise ValueError("a batch needs at least one row")
    ids: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    trained: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    lengths: list[int] = []
    start = num_tokens = 0
    for number, (row_ids, row_mask) in enumerate(rows):
        row_ids = np.asarray(row_ids)
        row_mask = np.asarray(row_mask, dtype=bool)
        if row_ids.ndim != 1 or row_ids.shape != row_mask.shape or not row_ids.size:
            raise ValueError(
                f"row {number}: ids {row_ids.shape} and loss mask {row_mask.shape} must be equally "
                "long and not empty"
            )
        predicted = np.flatnonzero(row_mask[1:])  # hidden state t predicts token t + 1
        keep = row_ids.size
        if trim:
            keep = int(predicted[-1]) + 1 if predicted.size else 1
        ids.append(row_ids[:keep])
        masks.append(row_mask[:keep])
        trained.append(predicted + start)
        targets.append(row_ids[predicted + 1])
        lengths.append(keep)
        start += keep
        num_tokens += int(row_ids.size)
    return Batch(
        input_ids=_ids(ids)[None],
        position_ids=_ids([np.arange(length) for length in lengths])[None],
        loss_mask=torch.from_numpy(np.concatenate(masks))[None],
        segments=torch.from_numpy(np.cumsum([0, *lengths], dtype=np.int32)),
        trained_index_K=_ids(trained),
        target_ids_K=_ids(targets),
        rows=tuple(range(len(rows))) if indices is None else tuple(int(i) for i in indices),
        num_tokens=num_tokens,
        lengths=tuple(lengths),
    )


def _ids(parts: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts).astype(np.int64, copy=False))
