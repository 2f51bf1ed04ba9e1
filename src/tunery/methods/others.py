"""A further model that a method reads, such as a teacher or a reference.

It is loaded when it is first needed and can be released. What a model says about fixed rows does
not change while another one is trained, so it can be computed once, before the first step, and
stored in the run folder; ``rows_digest`` and ``OtherModel.fingerprint`` tell whether it still fits.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from tunery.data.collate import Batch, collate_groups
from tunery.data.groups import RowGroup
from tunery.data.packing import pack
from tunery.data.rows import Rows
from tunery.models import beside
from tunery.models.resolve import resolve
from tunery.policy.other import load_other
from tunery.policy.policy import Policy, evaluating
from tunery.runs.context import RunContext

PACKED_TOKENS = 4096


class OtherModel:
    """A model beside the trained one, which is only read.

    Args:
        name: Its name, as for ``model.name``.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.policy: Policy | None = None

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The model, while it is loaded."""
        return () if self.policy is None else (self.policy.model,)

    def load(self, context: RunContext) -> Policy:
        """Return the model, which is loaded on the first call and after a release.

        Raises:
            ModelError: It is not on this machine, cannot be loaded, or writes no text.
        """
        if self.policy is None:
            with context.phase("others"):
                self.policy = load_other(
                    self.name, dtype=context.config.model.dtype, device=context.device
                )
        return self.policy

    def release(self) -> None:
        """Free its memory."""
        if self.policy is None:
            return
        self.policy = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def fingerprint(self) -> str:
        """Identify its weights without loading them."""
        return beside.fingerprint(resolve(self.name))


def rows_digest(rows: Rows) -> str:
    """SHA-256 over the tokens and masks of all rows, in order."""
    digest = hashlib.sha256()
    for number in range(len(rows)):
        for row in rows.group(number).rows:
            digest.update(len(row).to_bytes(8, "little"))
            digest.update(row.input_ids.astype("<i4").tobytes())
            digest.update(row.loss_mask.tobytes())
    return digest.hexdigest()


def with_streams(group: RowGroup, values: Mapping[str, np.ndarray]) -> RowGroup:
    """Add streams to a group's rows: the values at their trained tokens, 0 elsewhere.

    Args:
        group: The group.
        values: The values of its trained tokens, row by row, by the stream's name.
    """
    rows, start = [], 0
    for row in group.rows:
        trained = np.flatnonzero(row.loss_mask[1:]) + 1
        part = slice(start, start + len(trained))
        for name, known in values.items():
            stream = np.zeros((len(row), *known.shape[1:]), dtype=known.dtype)
            stream[trained] = known[part]
            row = row.with_stream(name, stream)
        start = part.stop
        rows.append(row)
    return RowGroup(tuple(rows), group.facts)


def read_rows(
    policy: Policy,
    rows: Rows,
    context: RunContext,
    take: Callable[[list[int], Batch], None],
    *,
    phase: str,
) -> None:
    """Pass all rows to a function in packed batches, without gradients; logs the progress.

    Args:
        policy: The model that ``take`` reads them with; in eval mode meanwhile.
        rows: The rows.
        context: The run.
        take: Called with the indices of the groups and their batch, on the model's device.
        phase: Name of the phase that is logged.

    Raises:
        Stopped: A stop was requested.
    """
    with context.phase(phase), torch.inference_mode(), evaluating(policy.model):
        progress, done = context.progress(phase), 0
        for members in pack(rows.lengths, max(PACKED_TOKENS, int(rows.lengths.max(initial=1)))):
            batch = collate_groups([rows.group(i) for i in members], members)
            take(members, batch.to(policy.device))
            done += len(members)
            progress(done, len(rows))
