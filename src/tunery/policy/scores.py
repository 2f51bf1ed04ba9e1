"""The scores of a packed batch's rows, from a model with a scalar head.

One decoder pass for all rows; the head is applied to the last token of each. Where that does not
hold for a model (``policy.shortcuts``), each row takes the model's own forward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tunery.data.collate import Batch
from tunery.models.heads import scalar_head
from tunery.policy.forward import divided
from tunery.policy.shortcuts import decode, inputs, shortcuts


def row_scores(base: nn.Module, batch: Batch) -> Tensor:
    """The score of each row.

    Args:
        base: A model of transformers with a scalar head, not wrapped.
        batch: The output of ``collate`` with ``trim=False``, on the model's device; no row ends
            with the padding token.

    Returns:
        Shape ``[B]``, fp32, differentiable.
    """
    head = scalar_head(base)
    assert head is not None
    by_head = shortcuts(base).head is not None
    parts = divided(base, batch)
    found = [_by_head(base, head[1], part) if by_head else _by_model(base, part) for part in parts]
    return torch.cat(found)


def _by_head(base: Any, head: nn.Module, batch: Batch) -> Tensor:
    hidden_ND = decode(base, batch, packed=len(batch.lengths) > 1)
    return head(hidden_ND.index_select(0, batch.last_places()))[:, 0].float()


def _by_model(base: Any, batch: Batch) -> Tensor:
    return base(use_cache=False, **inputs(batch)).logits[:, 0].float()
