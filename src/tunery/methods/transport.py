"""Alignment via optimal transport: compare the answers of a whole step by rank, not in pairs.

The k-th smallest log ratio on one side is compared with the k-th smallest on the other
(https://arxiv.org/abs/2406.05882). Ranks depend on the whole step, however it is split into micro
batches, so the values of both sides are computed once before the step, without a graph.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tunery.methods.pairs import Sides, smoothed


def matched(value_G: Tensor, own_S: Tensor, other_S: Tensor) -> Tensor:
    """The values on the other side that have the same ranks in the step.

    Args:
        value_G: Values of a micro batch. Shape ``[G]``.
        own_S: All values of this side, ascending. Shape ``[S]``.
        other_S: All values of the other side, ascending. Shape ``[S]``.

    Returns:
        Shape ``[G]``, without a graph.
    """
    value_G = value_G.detach().contiguous()
    after_G = torch.searchsorted(own_S, value_G).clamp(max=len(own_S) - 1)
    before_G = (after_G - 1).clamp(min=0)
    # Rounding differs between batches, so the nearer of the two neighbors is taken as the value.
    nearer_G = value_G - own_S[before_G] < (own_S[after_G] - value_G).abs()
    return other_S[torch.where(nearer_G, before_G, after_G)]


def transport_loss(
    sides: Sides, first_S: Tensor, second_S: Tensor, *, beta: float, smoothing: float
) -> Tensor:
    """The loss of each value of the first side, with gradients for both sides.

    Args:
        sides: The values to raise (``chosen_G``) and to lower (``rejected_G``) by rank.
        first_S: The values to raise, over the whole step, ascending.
        second_S: The values to lower, over the whole step, ascending.
        beta: Inverse temperature of the logistic loss.
        smoothing: As in ``pairs.smoothed``.

    Returns:
        Shape ``[G]``.
    """
    up_G = smoothed(beta * (sides.chosen_G - matched(sides.chosen_G, first_S, second_S)), smoothing)
    if not sides.rejected_G.requires_grad:
        return up_G
    down_G = smoothed(
        beta * (matched(sides.rejected_G, second_S, first_S) - sides.rejected_G), smoothing
    )
    return up_G + down_G - down_G.detach()
