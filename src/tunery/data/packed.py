"""Tokenized examples as a few arrays: what a tokenizing process hands to the one that writes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tunery.data.groups import RowGroup, TokenRow
from tunery.data.kinds import Tokenized
from tunery.errors import DataError


@dataclass(frozen=True, slots=True)
class Ready:
    """An example ready to be written.

    Args:
        groups: Its groups; empty if the example is dropped.
        dropped_reason: As in ``Tokenized``.
        full_length: As in ``Tokenized``.
        cuts: Number of truncated tokens of each row.
        notes: Remarks about its rows.
    """

    groups: tuple[RowGroup, ...]
    dropped_reason: str
    full_length: int
    cuts: Sequence[int] = ()
    notes: Sequence[str] = ()


class _Entry(NamedTuple):
    """An example without its tokens: ``groups`` has the facts and row lengths of each group."""

    groups: Sequence[tuple[dict[str, float], Sequence[int]]]
    dropped_reason: str
    full_length: int
    cuts: Sequence[int]
    notes: Sequence[str]


@dataclass(frozen=True, slots=True)
class Packed:
    """The results of consecutive examples.

    Args:
        entries: One per example; the code of the error if it was refused.
        ids: The token IDs of all rows, one after another. int32.
        mask: Their loss masks. bool.
    """

    entries: tuple[_Entry | str, ...]
    ids: np.ndarray
    mask: np.ndarray

    def to_bytes(self) -> bytes:
        """Everything as bytes, for :meth:`from_bytes` in another process of this machine."""
        entries = [entry if isinstance(entry, str) else list(entry) for entry in self.entries]
        head = json.dumps(entries).encode()
        sizes = np.array([len(head), len(self.ids)], dtype=np.int64)
        return b"".join((sizes.tobytes(), head, self.ids.tobytes(), self.mask.tobytes()))

    @classmethod
    def from_bytes(cls, data: bytes) -> Packed:
        """Read what :meth:`to_bytes` wrote."""
        head, tokens = (int(size) for size in np.frombuffer(data, np.int64, 2))
        entries = json.loads(data[16 : 16 + head])
        ids = np.frombuffer(data, np.int32, tokens, offset=16 + head)
        mask = np.frombuffer(data, bool, tokens, offset=16 + head + 4 * tokens)
        return cls(tuple(e if isinstance(e, str) else _Entry(*e) for e in entries), ids, mask)

    def results(self) -> Iterator[Ready | str]:
        """The examples, in order; for a refused one the code of its error."""
        place = 0
        for entry in self.entries:
            if isinstance(entry, str):
                yield entry
                continue
            groups: list[RowGroup] = []
            for facts, lengths in entry.groups:
                rows: list[TokenRow] = []
                for length in lengths:
                    part = slice(place, place + length)
                    rows.append(TokenRow(self.ids[part], self.mask[part]))
                    place += length
                groups.append(RowGroup(tuple(rows), facts))
            yield Ready(
                tuple(groups), entry.dropped_reason, entry.full_length, entry.cuts, entry.notes
            )


def pack(results: Iterable[Tokenized | DataError]) -> Packed:
    """Pack the results of consecutive examples; of an error only the code."""
    entries: list[_Entry | str] = []
    ids: list[int] = []
    mask: list[bool] = []
    for result in results:
        if isinstance(result, DataError):
            entries.append(result.code)
            continue
        for row in result.rows:
            ids += row.input_ids
            mask += row.loss_mask
        entries.append(
            _Entry(
                tuple(
                    (dict(group.facts), tuple(len(row.input_ids) for row in group.rows))
                    for group in result.groups
                ),
                result.dropped_reason,
                result.full_length,
                tuple(row.cut for row in result.rows),
                tuple(note for row in result.rows for note in row.notes),
            )
        )
    return Packed(tuple(entries), np.array(ids, dtype=np.int32), np.array(mask, dtype=bool))
