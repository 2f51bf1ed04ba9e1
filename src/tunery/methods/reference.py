"""Log-probabilities of the reference, for methods that compare the model with one.

The reference is the model before training, or another model that the settings name. If the policy
can be switched back to its initial state (a new adapter can be disabled), the former is computed
with each micro batch. Otherwise (the weights themselves are trained, or it is another model) its
log-probabilities are computed once, before the first step, and stored in the run folder, where a
resumed run reads them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tunery import storage
from tunery.data.collate import Batch
from tunery.data.rows import Rows
from tunery.methods.others import OtherModel, read_rows, rows_digest, with_streams
from tunery.policy.policy import Policy
from tunery.runs.context import RunContext

STREAM = "ref_logprob"
ROWS, MODEL = "rows", "model"
"""Metadata of the file: what its values were computed from."""


class Reference:
    """The reference of a method.

    Args:
        name: The model to compare with; None for the model before training.
    """

    def __init__(self, name: str | None) -> None:
        self._other = OtherModel(name.strip()) if name and name.strip() else None

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The other model, while it is loaded."""
        return () if self._other is None else self._other.modules

    def release(self) -> None:
        """Free the memory of the other model."""
        if self._other is not None:
            self._other.release()

    def logprobs(self, policy: Policy, batch: Batch) -> Tensor:
        """Log-probability of each trained token under the reference.

        Returns:
            Nats, without a graph. Shape ``[K]``, fp32.
        """
        if STREAM in batch.streams:
            return batch.streams[STREAM]
        if self._other is not None:
            raise RuntimeError("rows compared with another model need its log-probabilities")
        with policy.reference() as before:
            return before.logprobs(batch)

    def added(self, policy: Policy, rows: Rows, context: RunContext, *, name: str) -> Rows:
        """Add the reference to the rows, unless the policy can be switched back to it.

        Args:
            policy: The model with its initial weights.
            rows: The rows that need a reference.
            context: The run; its folder stores the log-probabilities, its events show the progress.
            name: Part of the file name.
        """
        if not len(rows) or (self._other is None and policy.has_reference):
            return rows
        file = context.folder.reference_file(name)
        ends = np.cumsum(rows.trained)
        source = {
            ROWS: rows_digest(rows),
            MODEL: "" if self._other is None else self._other.fingerprint(),
        }
        values = _stored(file, source, int(ends[-1]))
        if values is None:
            reader = policy if self._other is None else self._other.load(context)
            values = _compute(reader, rows, context)
            _store(file, values, source)
        return rows.mapped(
            lambda i, group: with_streams(
                group, {STREAM: values[ends[i] - rows.trained[i] : ends[i]]}
            )
        )


class Referring:
    """Base class of methods with a reference: frees its model once the rows carry its values."""

    reference: Reference

    @property
    def others(self) -> Sequence[nn.Module]:
        """The other model, while it is loaded."""
        return self.reference.modules

    def prepared(self) -> None:
        """Free the other model."""
        self.reference.release()


def _stored(file: Path, source: dict[str, str], count: int) -> np.ndarray | None:
    """The values in the file; None if there are none, or they are of other rows or models."""
    if not file.exists():
        return None
    known = storage.read_metadata(file)  # earlier versions recorded neither rows nor model
    if any(known.get(name, value) != value for name, value in source.items()):
        return None
    values = storage.read_tensors(file)[STREAM].numpy()
    return values if len(values) == count else None


def _compute(policy: Policy, rows: Rows, context: RunContext) -> np.ndarray:
    """The log-probabilities of all trained tokens, group by group."""
    ends = np.cumsum(rows.trained)
    values = np.zeros(int(ends[-1]), dtype=np.float32)

    def take(members: list[int], batch: Batch) -> None:
        found, start = policy.logprobs(batch).cpu().numpy(), 0
        for i in members:
            count = int(rows.trained[i])
            values[ends[i] - count : ends[i]] = found[start : start + count]
            start += count

    read_rows(policy, rows, context, take, phase="reference")
    return values


def _store(file: Path, values: np.ndarray, source: dict[str, str]) -> None:
    """Write the file atomically."""
    staging = file.with_name(f".{file.name}.{os.getpid()}")
    staging.unlink(missing_ok=True)
    storage.write_tensors(
        staging, {STREAM: torch.from_numpy(values)}, metadata={"format": "pt", **source}
    )
    staging.replace(file)
