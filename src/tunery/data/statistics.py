"""Statistics of a tokenized dataset, shared by the command line and the page."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tunery.chat.remarks import DROPPED, NO_ROOM
from tunery.data.packing import pack
from tunery.data.token_rows import TokenStore
from tunery.i18n import t

BINS = 12
SHARES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


def statistics(store: TokenStore, *, max_length: int, batch_size: int) -> dict[str, Any]:
    """Summarize tokenized groups.

    Args:
        store: The groups.
        max_length: Maximum length of a row, in tokens.
        batch_size: Number of groups per optimizer step.

    Returns:
        Plain JSON values: counts, percentiles and histogram of row lengths in tokens, the fraction
        of trained tokens, the effect of ``max_length``, savings of packing, steps per epoch.
    """
    lengths = np.asarray(store.row_lengths)
    tokens, trained = int(lengths.sum()), int(store.trained.sum())
    return {
        "examples": store.examples,
        "rows": len(lengths),
        "groups": len(store),
        "tokens": tokens,
        "trained_tokens": trained,
        "trained_share": round(trained / tokens, 4),
        "length": {
            "min": int(lengths.min()),
            "mean": round(float(lengths.mean()), 1),
            **{
                name: int(np.quantile(lengths, share, method="inverted_cdf"))
                for name, share in SHARES.items()
            },
            "max": int(lengths.max()),
        },
        "histogram": histogram(lengths),
        "max_length": max_length,
        "truncated": store.truncated,
        "cut_tokens": store.cut_tokens,
        "keeps_99": store.keeps_99,
        "filtered": store.filtered,
        "notes": store.notes,
        "packing": packing(lengths, max_length, batch_size),
        "batch_size": batch_size,
        "steps_per_epoch": math.ceil(len(store) / batch_size),
    }


def too_long(store: TokenStore, limit: int, *, positions: int | None = None) -> str:
    """Report how many examples were truncated or dropped for their length; empty if none.

    Args:
        store: The tokenized examples.
        limit: ``data.max_length``.
        positions: Maximum positions of the model, if known.
    """
    dropped = sum(store.filtered.get(reason, 0) for reason in (DROPPED, NO_ROOM))
    if not store.truncated + dropped:
        return ""
    found = {
        "count": store.truncated + dropped,
        "total": store.examples,
        "longest": store.longest_cut,
        "limit": limit,
        "cut": store.truncated,
        "dropped": dropped,
    }
    if positions is not None and limit >= positions:
        return t(
            "Rows longer than the model's {limit:,} positions: {count:,} of {total:,}, "
            "the longest has {longest:,} tokens ({cut:,} truncated, {dropped:,} dropped).",
            **found,
        )
    return t(
        "Rows longer than data.max_length={limit}: {count:,} of {total:,}, the longest "
        "has {longest:,} tokens ({cut:,} truncated, {dropped:,} dropped).",
        **found,
    )


def histogram(lengths: np.ndarray) -> list[dict[str, int]]:
    """Count rows by length in at most 12 bins of equal width; ``from`` and ``to`` are inclusive."""
    low, high = int(lengths.min()), int(lengths.max())
    width = max(1, math.ceil((high - low + 1) / BINS))
    bins = np.bincount((lengths - low) // width)
    return [
        {"from": low + n * width, "to": low + (n + 1) * width - 1, "rows": int(count)}
        for n, count in enumerate(bins)
    ]


def packing(lengths: np.ndarray, max_length: int, batch_size: int) -> dict[str, Any]:
    """Compare packing with batches padded to their longest row.

    Returns:
        ``sequences``: number of packed sequences of at most ``max_length`` tokens;
        ``padded_tokens``: tokens of padded batches of ``batch_size`` rows in this order;
        ``saved_share``: fraction of these that packing saves.
    """
    padded = 0
    for start in range(0, len(lengths), batch_size):
        batch = lengths[start : start + batch_size]
        padded += int(batch.max()) * len(batch)
    tokens = int(lengths.sum())
    return {
        "sequences": len(pack(lengths, max_length)),
        "padded_tokens": padded,
        "saved_share": round(1 - tokens / padded, 4),
    }
