"""Rows of tokens for tests, from pairs of ids and masks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tunery.data.groups import TokenRow


def of(pairs: Iterable[Any]) -> list[TokenRow]:
    """Token rows of ``(input_ids, loss_mask)`` pairs."""
    return [TokenRow(np.asarray(ids), np.asarray(mask, dtype=bool)) for ids, mask in pairs]
