"""Collate rows of token IDs into one packed batch without padding.

Shapes: N tokens of the batch, S segments, B rows, G groups, K trained tokens.

The hidden state before a token predicts it. So the first token of a row is never trained, and the
hidden states at and after a row's last trained token change neither loss nor gradient of a causal
model. ``collate`` therefore omits these tokens (``trim``). Tokens that several rows start with,
such as the prompt of a pair, are stored once (``share_prefixes``, see ``data.prefixes``).
"""

# The conversions between torch and numpy are only partly typed.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tunery.data.groups import RowGroup, TokenRow
from tunery.data.prefixes import alone, share


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows concatenated without padding.

    Args:
        input_ids: Token IDs. Shape ``[1, N]``, int64.
        position_ids: Position of each token in its own row. Shape ``[1, N]``, int64.
        loss_mask: True where the token is trained (predicted by the one before) in some row; a
            row's last trained token is omitted if trimmed. Shape ``[1, N]``, bool.
        segments: Start of each segment, and N at the end. Shape ``[S + 1]``, int32.
        trained_index_K: Positions in N whose hidden state predicts a trained token, row by row;
            a position shared by several rows may occur several times. int64.
        target_ids_K: The tokens predicted there. int64.
        row_K: The row of each trained token, ascending. int64.
        group_B: The group of each row, ascending from 0. int64.
        streams: Further values per trained token, by name. Shape ``[K]`` or ``[K, X]``, fp32 or
            int32.
        facts: Values per group, by name; NaN for a group without the value. Shape ``[G]`` each,
            fp32.
        rows: The caller's index of each row (by default 0, 1, ...), or of its group.
        num_tokens: Tokens of the rows before trimming and sharing; throughput counts these.
        lengths: Number of tokens of each segment, as Python integers, so that reading them needs
            no device synchronization.
        parents: For each segment, the segment before it in its rows, or -1.
        longest: Number of tokens of the longest row, after trimming.
        places: For each row, the positions of its tokens in N. int64.
        trained_counts: Number of trained tokens of each row.
        noise: Amplitude (alpha) of the noise on the rows' embeddings; see ``policy.noise``.
    """

    input_ids: Tensor
    position_ids: Tensor
    loss_mask: Tensor
    segments: Tensor
    trained_index_K: Tensor
    target_ids_K: Tensor
    row_K: Tensor
    group_B: Tensor
    streams: Mapping[str, Tensor]
    facts: Mapping[str, Tensor]
    rows: tuple[int, ...]
    num_tokens: int
    lengths: tuple[int, ...]
    parents: tuple[int, ...]
    longest: int
    places: tuple[np.ndarray, ...]
    trained_counts: tuple[int, ...]
    noise: float = 0.0

    @property
    def num_trained(self) -> int:
        """Number of trained tokens (K)."""
        return self.target_ids_K.numel()

    @property
    def num_groups(self) -> int:
        """Number of groups (G)."""
        return int(self.group_B[-1]) + 1

    def to(self, device: torch.device | str) -> Batch:
        """Copy the batch to a device without blocking; the caller pins host memory if needed."""
        moved: dict[str, Any] = {
            name: getattr(self, name).to(device, non_blocking=True)
            for name in (
                "input_ids",
                "position_ids",
                "loss_mask",
                "segments",
                "trained_index_K",
                "target_ids_K",
                "row_K",
                "group_B",
            )
        }
        for name in ("streams", "facts"):
            moved[name] = {
                key: values.to(device, non_blocking=True)
                for key, values in getattr(self, name).items()
            }
        return replace(self, **moved)

    def last_places(self) -> Tensor:
        """Where the last computed token of each row lies in N. Shape ``[B]``, int64."""
        places = [int(places[-1]) for places in self.places]
        return torch.tensor(places, device=self.input_ids.device)

    @property
    def shared(self) -> bool:
        """Whether several rows share tokens."""
        return sum(self.lengths) < sum(len(places) for places in self.places)

    def apart(self) -> Batch:
        """The same rows packed without shared tokens."""
        device = self.input_ids.device
        lengths = [len(places) for places in self.places]
        starts = np.cumsum([0, *lengths])
        where = torch.from_numpy(np.concatenate(self.places)).to(device)
        offsets = np.repeat(starts[:-1], self.trained_counts)
        within = self.position_ids[0, self.trained_index_K]
        return replace(
            self,
            input_ids=self.input_ids[:, where],
            position_ids=self.position_ids[:, where],
            loss_mask=self.loss_mask[:, where],
            segments=torch.from_numpy(starts.astype(np.int32)).to(device),
            trained_index_K=within + torch.from_numpy(offsets).to(device),
            lengths=tuple(lengths),
            parents=(-1,) * len(lengths),
            places=tuple(np.arange(a, b) for a, b in pairwise(starts.tolist())),
        )

    def one_by_one(self) -> list[Batch]:
        """Split into batches of one row each, for models that do not support packing.

        Each batch keeps the facts of its row's group.
        """
        device = self.input_ids.device
        counts = list(self.trained_counts)
        streams = {name: values.split(counts) for name, values in self.streams.items()}
        groups = self.group_B.tolist()
        indices = self.trained_index_K.split(counts)
        targets = self.target_ids_K.split(counts)
        singles: list[Batch] = []
        for row, places in enumerate(self.places):
            length = len(places)
            where = torch.from_numpy(places).to(device)
            singles.append(
                Batch(
                    input_ids=self.input_ids[:, where],
                    position_ids=self.position_ids[:, where],
                    loss_mask=self.loss_mask[:, where],
                    segments=torch.tensor([0, length], dtype=torch.int32, device=device),
                    trained_index_K=self.position_ids[0, indices[row]],
                    target_ids_K=targets[row],
                    row_K=torch.zeros_like(targets[row]),
                    group_B=torch.zeros_like(self.group_B[:1]),
                    streams={name: parts[row] for name, parts in streams.items()},
                    facts={
                        name: values[groups[row] : groups[row] + 1]
                        for name, values in self.facts.items()
                    },
                    rows=(self.rows[row],),
                    num_tokens=length,
                    lengths=(length,),
                    parents=(-1,),
                    longest=length,
                    places=(np.arange(length),),
                    trained_counts=(counts[row],),
                    noise=self.noise,
                )
            )
        return singles


def collate(
    rows: Sequence[TokenRow],
    indices: Sequence[int] | None = None,
    *,
    trim: bool = True,
    share_prefixes: bool = True,
) -> Batch:
    """Concatenate rows, each as its own group.

    Args:
        rows: Rows of at least one token, all with the same streams.
        indices: Indices that identify the rows; by default 0, 1, ...
        trim: Omit a row's last trained token and all tokens after it (at least one token stays).
        share_prefixes: Store tokens that several rows start with only once.

    Raises:
        ValueError: There is no row, a row is empty, a mask or stream differs in length, or only
            some rows have a stream.
    """
    if not rows:
        raise ValueError("a batch needs at least one row")
    ids: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    predicted: list[np.ndarray] = []
    for number, row in enumerate(rows):
        row_ids, row_mask = row.input_ids, row.loss_mask
        if row_ids.ndim != 1 or row_ids.shape != row_mask.shape or not row_ids.size:
            raise ValueError(
                f"row {number}: ids {row_ids.shape} and loss mask {row_mask.shape} must be equally "
                "long and not empty"
            )
        trained = np.flatnonzero(row_mask[1:])  # hidden state t predicts token t + 1
        keep = row_ids.size
        if trim:
            keep = int(trained[-1]) + 1 if trained.size else 1
        ids.append(row_ids[:keep])
        masks.append(row_mask[:keep])
        predicted.append(trained)
    tree = share(ids) if share_prefixes and len(ids) > 1 else alone(ids)
    places = [tree.places(row) for row in range(len(ids))]
    positions = np.empty(tree.num_tokens, dtype=np.int64)
    loss_mask = np.zeros(tree.num_tokens, dtype=bool)
    for row, where in enumerate(places):
        positions[where] = np.arange(len(where))
        loss_mask[where] |= masks[row]
    lengths = tuple(len(tokens) for tokens in tree.tokens)
    counts = [len(trained) for trained in predicted]
    return Batch(
        input_ids=_ids(tree.tokens)[None],
        position_ids=torch.from_numpy(positions)[None],
        loss_mask=torch.from_numpy(loss_mask)[None],
        segments=torch.from_numpy(np.cumsum([0, *lengths], dtype=np.int32)),
        trained_index_K=_ids([where[t] for where, t in zip(places, predicted, strict=True)]),
        target_ids_K=_ids([row.input_ids[t + 1] for row, t in zip(rows, predicted, strict=True)]),
        row_K=torch.from_numpy(np.repeat(np.arange(len(rows)), counts)),
        group_B=torch.arange(len(rows)),
        streams=_streams(rows, predicted),
        facts={},
        rows=tuple(range(len(rows))) if indices is None else tuple(int(i) for i in indices),
        num_tokens=sum(len(row) for row in rows),
        lengths=lengths,
        parents=tuple(tree.parents),
        longest=max(len(where) for where in places),
        places=tuple(places),
        trained_counts=tuple(counts),
    )


def collate_groups(
    groups: Sequence[RowGroup], numbers: Sequence[int] | None = None, *, trim: bool = True
) -> Batch:
    """Concatenate the rows of groups, with shared prefixes.

    Args:
        groups: Groups of at least one row.
        numbers: Indices that identify the groups; by default 0, 1, ...
        trim: As in :func:`collate`.

    Raises:
        ValueError: As in :func:`collate`.
    """
    sizes = [len(group.rows) for group in groups]
    names = range(len(groups)) if numbers is None else numbers
    batch = collate(
        [row for group in groups for row in group.rows],
        np.repeat(np.asarray(names, dtype=np.int64), sizes).tolist(),
        trim=trim,
    )
    facts = dict.fromkeys(name for group in groups for name in group.facts)
    return replace(
        batch,
        group_B=torch.from_numpy(np.repeat(np.arange(len(groups)), sizes)),
        facts={
            name: torch.tensor(
                [group.facts.get(name, math.nan) for group in groups], dtype=torch.float32
            )
            for name in facts
        },
    )


def _streams(rows: Sequence[TokenRow], predicted: Sequence[np.ndarray]) -> dict[str, Tensor]:
    """The values of each stream at the trained tokens. Shape ``[K]`` or ``[K, X]`` each."""
    names = list(rows[0].streams)
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for number, (row, trained) in enumerate(zip(rows, predicted, strict=True)):
        if row.streams.keys() != found.keys():
            raise ValueError(f"row {number}: streams {list(row.streams)}, expected {names}")
        for name, values in row.streams.items():
            if values.shape[:1] != row.input_ids.shape:
                raise ValueError(f"row {number}: stream {name} must have one value per token")
            found[name].append(values[trained + 1])
    return {name: torch.from_numpy(_single(np.concatenate(parts))) for name, parts in found.items()}


def _single(values: np.ndarray) -> np.ndarray:
    """The values in fp32, or int32 if they are whole numbers."""
    whole = np.issubdtype(values.dtype, np.integer)
    return values.astype(np.int32 if whole else np.float32, copy=False)


def _ids(parts: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts).astype(np.int64, copy=False))
