"""The proof of what a run was trained on: one row of the first batch, as the loss saw it.

``first_batch.json`` in the run folder holds the row's tokens and loss mask, and ``trained_ids``:
the tokens that the batch on the device carries loss for, read back from it. A page that shows
"what the model sees" can be held against it.
"""

from __future__ import annotations

import contextlib
from typing import Any

from tunery.data.rows import Rows
from tunery.runs.folder import RunFolder
from tunery.train.feed.feed import StepBatches
from tunery.workers.folder import write_json


def write(folder: RunFolder, rows: Rows, batches: StepBatches, tokenizer: Any = None) -> None:
    """Write the first row of the batch, of the user's own data where it has some; once a run.

    Args:
        folder: The run.
        rows: Training rows.
        batches: The first step.
        tokenizer: Gives the text of each token; None leaves it out.
    """
    if folder.first_batch_file.exists():
        return
    part, place, number = _chosen(rows, batches)
    row = rows.group(number).rows[0]
    ids = [int(token) for token in row.input_ids]
    facts = {
        "step": 1,
        "row": number,
        **rows.origin(number),
        "rows": len(batches.rows),
        "micro_batches": len(batches.batches),
        "batch_tokens": batches.tokens,
        "batch_trained_tokens": batches.units,
        "input_ids": ids,
        "loss_mask": [bool(flag) for flag in row.loss_mask],
        "trained_ids": _trained(batches.batches[part], place),
        "tokens": None if tokenizer is None else [tokenizer.decode([token]) for token in ids],
    }
    # A full disk pauses a run at its first save; this file is not worth more than that.
    with contextlib.suppress(OSError):
        write_json(folder.first_batch_file, facts)


def _chosen(rows: Rows, batches: StepBatches) -> tuple[int, int, int]:
    """Micro batch, place of its first row in it, and number of the group that is shown."""
    found = [(i, n) for i, micro in enumerate(batches.micro) for n in micro]
    own = [each for each in found if rows.origin(each[1]).get("dataset") != "replay"]
    part, number = (own or found)[0]
    inside = getattr(batches.batches[part], "rows", batches.micro[part])
    return part, list(inside).index(number), number


def _trained(batch: Any, place: int) -> list[int] | None:
    """The targets of one row of a packed batch; None for a method whose batches are others."""
    targets, counts = getattr(batch, "target_ids_K", None), getattr(batch, "trained_counts", None)
    if targets is None or counts is None:
        return None
    begin = sum(counts[:place])
    return [int(token) for token in targets[begin : begin + counts[place]].tolist()]
