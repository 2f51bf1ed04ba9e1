"""Write one row of the first batch exactly as the loss received it.

``first_batch.json`` in the run folder holds the row's tokens and loss mask, and ``trained_ids``:
the tokens that carry loss, read back from the batch on the device. A page that shows "what the
model sees" can be checked against it.
"""

from __future__ import annotations

import contextlib
from typing import Any

from tunery.data.collate import Batch
from tunery.data.letters import token_texts
from tunery.data.rows import Rows
from tunery.runs.folder import RunFolder
from tunery.train.feed.feed import StepBatches
from tunery.workers.folder import write_json


def write(folder: RunFolder, rows: Rows, batches: StepBatches, tokenizer: Any = None) -> None:
    """Write the first row of the batch, preferably from the user's own data; once per run.

    Args:
        folder: The run.
        rows: Training rows.
        batches: The batches of the first step.
        tokenizer: Converts tokens to text, partial characters to bytes; None omits the text.
    """
    if folder.first_batch_file.exists():
        return
    part, place, number = _chosen(rows, batches)
    group = rows.group(number)
    row = group.rows[0]
    ids = [int(token) for token in row.input_ids]
    special = set() if tokenizer is None else set(tokenizer.all_special_ids)
    facts = {
        "step": 1,
        "row": number,
        **rows.origin(number),
        "rows": len(batches.rows),
        "micro_batches": len(batches.batches),
        "batch_tokens": batches.tokens,
        "batch_trained_tokens": batches.trained,
        "input_ids": ids,
        "loss_mask": [bool(flag) for flag in row.loss_mask],
        "trained_ids": _trained(batches.batches[part], place),
        "tokens": None if tokenizer is None else token_texts(tokenizer, ids),
        "special": None if tokenizer is None else [token in special for token in ids],
    }
    # On a full disk the run pauses at its first save; this file is not worth a pause of its own.
    with contextlib.suppress(OSError):
        write_json(folder.first_batch_file, facts)


def _chosen(rows: Rows, batches: StepBatches) -> tuple[int, int, int]:
    """Micro batch index, position in it, and row index of the row to show."""
    places = [(i, j, n) for i, micro in enumerate(batches.micro) for j, n in enumerate(micro)]
    own = [p for p in places if rows.origin(p[2]).get("dataset") != "replay"]
    return (own or places)[0]


def _trained(batch: Batch, place: int) -> list[int]:
    """The targets of a group's first row, read back from the batch."""
    row = batch.group_B.tolist().index(place)
    begin = sum(batch.trained_counts[:row])
    return batch.target_ids_K[begin : begin + batch.trained_counts[row]].tolist()
