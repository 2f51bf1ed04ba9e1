"""Log-probabilities of the model before training, for methods with a reference.

If the policy can be switched back to its initial state (a new adapter can be disabled), the
reference is computed with each micro batch. If the model's own weights are trained, its
log-probabilities are computed once, before the first step, and stored in the run folder, where a
resumed run reads them.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tunery import storage
from tunery.data.collate import Batch, collate_groups
from tunery.data.groups import RowGroup
from tunery.data.packing import pack
from tunery.data.rows import Rows
from tunery.policy.policy import Policy, evaluating
from tunery.runs.context import RunContext

STREAM = "ref_logprob"
PACKED_TOKENS = 4096


def reference_logprobs(policy: Policy, batch: Batch) -> Tensor:
    """Log-probability of each trained token before training.

    Returns:
        Nats, without a graph. Shape ``[K]``, fp32.
    """
    if STREAM in batch.streams:
        return batch.streams[STREAM]
    with policy.reference() as before:
        return before.logprobs(batch)


def with_reference(policy: Policy, rows: Rows, context: RunContext, *, name: str) -> Rows:
    """Add the reference to the rows, unless the policy can be switched back to it.

    Args:
        policy: The model with its initial weights.
        rows: The rows that need a reference.
        context: The run; its folder stores the log-probabilities, its events show the progress.
        name: Part of the file name.
    """
    if policy.has_reference or not len(rows):
        return rows
    file = context.folder.reference_file(name)
    counts = np.array([rows.group(i).num_trained for i in range(len(rows))], dtype=np.int64)
    if file.exists():
        values = storage.read_tensors(file)[STREAM].numpy()
    else:
        with context.phase("reference"):
            values = _compute(policy, rows, counts, context)
        _keep(file, values)
    ends = np.cumsum(counts)
    return rows.mapped(lambda i, group: _carrying(group, values[ends[i] - counts[i] : ends[i]]))


def _compute(policy: Policy, rows: Rows, counts: np.ndarray, context: RunContext) -> np.ndarray:
    """The log-probabilities of all trained tokens, group by group."""
    values = np.zeros(int(counts.sum()), dtype=np.float32)
    ends = np.cumsum(counts)
    progress, done = context.progress("reference"), 0
    with torch.inference_mode(), evaluating(policy.model):
        for members in pack(rows.lengths, max(PACKED_TOKENS, int(rows.lengths.max()))):
            batch = collate_groups([rows.group(i) for i in members]).to(policy.device)
            found = policy.logprobs(batch).cpu().numpy()
            start = 0
            for i in members:
                values[ends[i] - counts[i] : ends[i]] = found[start : start + counts[i]]
                start += counts[i]
            done += len(members)
            progress(done, len(rows))
    return values


def _keep(file: Path, values: np.ndarray) -> None:
    """Write the file atomically."""
    staging = file.with_name(f".{file.name}.{os.getpid()}")
    staging.unlink(missing_ok=True)
    storage.write_tensors(staging, {STREAM: torch.from_numpy(values)})
    staging.replace(file)


def _carrying(group: RowGroup, values: np.ndarray) -> RowGroup:
    """Add the stream to a group's rows: the values at their trained tokens, 0 elsewhere."""
    rows, start = [], 0
    for row in group.rows:
        stream = np.zeros(len(row), dtype=np.float32)
        trained = np.flatnonzero(row.loss_mask[1:]) + 1
        stream[trained] = values[start : start + len(trained)]
        start += len(trained)
        rows.append(row.with_stream(STREAM, stream))
    return RowGroup(tuple(rows), group.facts)
