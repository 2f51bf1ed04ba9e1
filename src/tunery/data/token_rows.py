"""Token groups on disk: written to a staging folder, renamed, then read through memory maps.

A store is a folder: ``ids.bin`` (int32), ``mask.bin`` (one byte per token), ``ends.bin`` (int64,
the end of each row in tokens), ``groups.bin`` (int64, the end of each group in rows),
``source.bin`` (int64, the example of each group), ``trained.bin`` (int32, trained tokens of each
group), ``streams/NAME.bin`` (fp32, one value per token), ``facts/NAME.bin`` (fp32, one value per
group, NaN for a group without the value) and ``meta.json``. The folder's name is the hash of
everything that determines the tokens, so a store is complete and up to date, or absent.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import struct
import tempfile
import weakref
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tunery.data.groups import RowGroup, TokenRow
from tunery.data.packed import Ready

_FILES = {
    "ids.bin": np.int32,
    "mask.bin": np.uint8,
    "ends.bin": np.int64,
    "groups.bin": np.int64,
    "source.bin": np.int64,
    "trained.bin": np.int32,
}
_INT64, _INT32 = struct.Struct("=q"), struct.Struct("=i")
_REPEATED = 2**22
"""Values copied at once."""
_HASHED = ("ids.bin", "mask.bin", "ends.bin", "groups.bin")


class TokenStore:
    """Groups of rows ready for training, read-only and memory-mapped.

    Attributes:
        lengths: Number of tokens of each group. Shape ``[groups]``, int64.
        trained: Number of trained tokens of each group. Shape ``[groups]``, int32.
        row_lengths: Number of tokens of each row. Shape ``[rows]``, int64.
        notes: Counts of remarks about rendering and truncation.
        filtered: Number of examples without rows, by reason.
        truncated: Number of truncated examples.
        cut_tokens: Number of truncated tokens.
        longest_cut: Length of the longest example that was truncated or dropped for its length, in
            tokens.
        max_id: The largest token ID.
        keeps_99: The ``max_length`` that 99 % of the examples fit into, in tokens.
        examples: Number of tokenized examples, including filtered ones.
        hash: SHA-256 over tokens, masks, groups, streams and facts.

    Raises:
        OSError: A file is missing or cannot be read.
        ValueError: The sizes of the files differ from meta.json.
    """

    def __init__(self, folder: Path, *, temporary: bool = False) -> None:
        self.folder = folder
        if temporary:  # delete it together with this object
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        self._arrays = {name: _map(folder / name, kind) for name, kind in _FILES.items()}
        self._streams = _maps(folder, "streams", meta["streams"])
        self._facts = _maps(folder, "facts", meta["facts"])
        self._ends, self._groups = self._arrays["ends.bin"], self._arrays["groups.bin"]
        sizes = [len(self._groups), len(self._ends), len(self._arrays["ids.bin"])]
        sizes += [len(stream) for stream in self._streams.values()]
        sizes += [len(fact) for fact in self._facts.values()]
        tokens = meta["tokens"]
        expected = [meta["groups"], meta["rows"], tokens, *[tokens] * len(self._streams)]
        if sizes != [*expected, *[meta["groups"]] * len(self._facts)]:
            raise ValueError(f"{folder}: sizes differ from meta.json")
        self.row_lengths = np.diff(self._ends, prepend=0)
        self.lengths = np.diff(self._ends[self._groups - 1], prepend=0)
        self.trained = self._arrays["trained.bin"]
        self.notes: dict[str, int] = meta["notes"]
        self.filtered: dict[str, int] = meta["filtered"]
        self.truncated: int = meta["truncated"]
        self.cut_tokens: int = meta["cut_tokens"]
        self.longest_cut: int = meta["longest_cut"]
        self.max_id: int = meta["max_id"]
        self.keeps_99: int = meta["keeps_99"]
        self.examples: int = meta["examples"]
        self.hash: str = meta["hash"]

    def __len__(self) -> int:
        return len(self._groups)

    def group(self, index: int) -> RowGroup:
        """Return the group with an index.

        Raises:
            IndexError: There is no such group.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        first = int(self._groups[index - 1]) if index else 0
        rows = tuple(self._row(row) for row in range(first, int(self._groups[index])))
        facts = {name: float(values[index]) for name, values in self._facts.items()}
        return RowGroup(rows, {name: v for name, v in facts.items() if not math.isnan(v)})

    def source(self, index: int) -> int:
        """Return the index of the example that the group came from."""
        return int(self._arrays["source.bin"][index])

    def _row(self, index: int) -> TokenRow:
        start = int(self._ends[index - 1]) if index else 0
        part = slice(start, int(self._ends[index]))
        return TokenRow(
            np.asarray(self._arrays["ids.bin"][part]),
            np.asarray(self._arrays["mask.bin"][part]).astype(bool),
            {name: np.asarray(values[part]) for name, values in self._streams.items()},
        )


@dataclass(frozen=True, slots=True)
class Mark:
    """Counts of a writer at some point, for :meth:`StoreWriter.repeat`."""

    groups: int
    rows: int
    tokens: int
    counted: tuple[int, int, int]
    counters: tuple[Counter[Any], ...]


class StoreWriter:
    """Writes groups to a staging folder beside ``folder``; :meth:`finish` renames it.

    Args:
        folder: The folder of the finished store; None for a temporary folder.
    """

    def __init__(self, folder: Path | None) -> None:
        self._final = folder
        if folder is None:
            self.staging = Path(tempfile.mkdtemp(prefix="tunery-tokens-"))
        else:
            folder.parent.mkdir(parents=True, exist_ok=True)
            self.staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=folder.parent))
        self._files: dict[str, BinaryIO] = {
            name: (self.staging / name).open("wb") for name in _FILES
        }
        self._hash = hashlib.sha256()
        self._streams: frozenset[str] | None = None
        self._facts: dict[str, int] = {}
        self.groups = self.rows = self.tokens = self.truncated = self.cut_tokens = 0
        self.longest_cut = self.max_id = 0
        self.notes: Counter[str] = Counter()
        self.filtered: Counter[str] = Counter()
        self.full_lengths: Counter[int] = Counter()
        self.examples = 0

    def add(self, example: Ready, source: int) -> None:
        """Write the groups of one example.

        Args:
            example: The example.
            source: Its index.
        """
        self.full_lengths[example.full_length] += 1
        if any(example.cuts):
            self.truncated += 1
            self.longest_cut = max(self.longest_cut, example.full_length)
        self.cut_tokens += sum(example.cuts)
        self.notes.update(example.notes)
        for group in example.groups:
            self.write(group, source)

    def write(self, group: RowGroup, source: int) -> None:
        """Write one group.

        Args:
            group: Rows of at least one token, all with the same streams as earlier groups.
            source: Index of the example.

        Raises:
            ValueError: The group has no row, or its streams differ from those of earlier groups.
        """
        names = {frozenset(row.streams) for row in group.rows}
        self._streams = next(iter(names), None) if self._streams is None else self._streams
        if names != {self._streams}:
            raise ValueError(f"group {self.groups}: it needs rows with the same streams")
        for row in group.rows:
            self.tokens += len(row)
            self.max_id = max(self.max_id, int(row.input_ids.max(initial=0)))
            self._put("ids.bin", row.input_ids.astype(np.int32, copy=False).tobytes())
            self._put("mask.bin", row.loss_mask.tobytes())
            self._put("ends.bin", _INT64.pack(self.tokens))
            for name, values in row.streams.items():
                self._write(f"streams/{name}.bin", values.astype(np.float32, copy=False))
        self._write_facts(group.facts)
        self.groups, self.rows = self.groups + 1, self.rows + len(group.rows)
        self._put("groups.bin", _INT64.pack(self.rows))
        self._put("source.bin", _INT64.pack(source))
        self._put("trained.bin", _INT32.pack(group.num_trained))

    def mark(self) -> Mark:
        """Record what was written so far, for :meth:`repeat`."""
        counted = (self.truncated, self.cut_tokens, self.examples)
        counters = tuple(counter.copy() for counter in self._counters())
        return Mark(self.groups, self.rows, self.tokens, counted, counters)

    def repeat(self, mark: Mark, times: int, *, examples: int) -> None:
        """Write everything since a mark again, without tokenizing it again.

        Filtered examples are still counted once.

        Args:
            mark: Where the repeated part starts.
            times: Number of additional copies.
            examples: Number of examples since the mark.
        """
        if times < 1:
            return
        for name, known in self._facts.items():
            self._pad_fact(name, self.groups - known)
            self._facts[name] = self.groups
        for file in self._files.values():
            file.flush()
        groups, rows, tokens = self.groups, self.rows, self.tokens
        steps = {"ends.bin": tokens - mark.tokens, "groups.bin": rows - mark.rows}
        steps["source.bin"] = examples
        for name in list(self._files):
            kind = np.dtype(_FILES.get(name, np.float32))
            per_token = name in ("ids.bin", "mask.bin") or name.startswith("streams/")
            per_row = name == "ends.bin"
            first = mark.tokens if per_token else mark.rows if per_row else mark.groups
            count = (tokens if per_token else rows if per_row else groups) - first
            step = steps.get(name, 0)
            for time in range(1, times + 1):
                for start in range(first, first + count, _REPEATED):
                    number = min(_REPEATED, first + count - start)
                    again = np.fromfile(
                        self.staging / name, kind, count=number, offset=start * kind.itemsize
                    )
                    self._write(name, again + kind.type(step * time) if step else again)
        self.groups, self.rows = (
            groups + times * (groups - mark.groups), rows + times * (rows - mark.rows)
        )  # fmt: skip
        self.tokens = tokens + times * (tokens - mark.tokens)
        self._facts = dict.fromkeys(self._facts, self.groups)
        truncated, cut_tokens, done = mark.counted
        self.truncated += times * (self.truncated - truncated)
        self.cut_tokens += times * (self.cut_tokens - cut_tokens)
        self.examples += times * (self.examples - done)
        for counter, before in zip(self._counters(), mark.counters, strict=True):
            for key, count in (counter - before).items():
                counter[key] += times * count

    def _counters(self) -> tuple[Counter[Any], ...]:
        return self.notes, self.full_lengths

    def finish(self) -> TokenStore:
        """Sync everything to disk, rename the folder and open it.

        Raises:
            OSError: The folder cannot be written.
        """
        for name, known in self._facts.items():
            self._pad_fact(name, self.groups - known)
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
            file.close()
        meta = {
            "groups": self.groups,
            "rows": self.rows,
            "tokens": self.tokens,
            "streams": sorted(self._streams or ()),
            "facts": sorted(self._facts),
            "examples": self.examples,
            "notes": dict(self.notes),
            "filtered": dict(self.filtered),
            "truncated": self.truncated,
            "cut_tokens": self.cut_tokens,
            "longest_cut": self.longest_cut,
            "max_id": self.max_id,
            "keeps_99": quantile(self.full_lengths, 0.99),
            "hash": self._hash.hexdigest(),
        }
        with (self.staging / "meta.json").open("w", encoding="utf-8") as file:
            json.dump(meta, file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(file.fileno())
        if self._final is None:
            return TokenStore(self.staging, temporary=True)
        try:
            self.staging.rename(self._final)
        except OSError:
            if not (self._final / "meta.json").is_file():
                raise
            self.abandon()  # another process finished the same store first
        return TokenStore(self._final)

    def abandon(self) -> None:
        """Close and delete the staging folder."""
        for file in self._files.values():
            file.close()
        shutil.rmtree(self.staging, ignore_errors=True)

    def _write_facts(self, facts: Mapping[str, float]) -> None:
        for name, value in facts.items():
            self._pad_fact(name, self.groups - self._facts.get(name, 0))
            self._write(f"facts/{name}.bin", np.asarray([value], dtype=np.float32))
            self._facts[name] = self.groups + 1

    def _pad_fact(self, name: str, count: int) -> None:
        """Write NaN for ``count`` groups without this fact."""
        self._write(f"facts/{name}.bin", np.full(count, np.nan, dtype=np.float32))

    def _write(self, name: str, values: np.ndarray) -> None:
        self._put(name, values.tobytes())

    def _put(self, name: str, data: bytes) -> None:
        if name not in self._files:
            (self.staging / name).parent.mkdir(exist_ok=True)
            self._files[name] = (self.staging / name).open("wb")
        self._files[name].write(data)
        if name in _HASHED or name not in _FILES:
            self._hash.update(data)


def quantile(counts: Counter[int], share: float) -> int:
    """The smallest value that at least a fraction ``share`` of the counted values do not exceed."""
    wanted, seen = share * sum(counts.values()), 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= wanted:
            return value
    return 0


def _maps(folder: Path, kind: str, names: list[str]) -> dict[str, np.ndarray]:
    return {name: _map(folder / kind / f"{name}.bin", np.float32) for name in names}


def _map(file: Path, kind: Any) -> np.ndarray:
    if file.stat().st_size == 0:
        return np.zeros(0, dtype=kind)
    return np.memmap(file, dtype=kind, mode="r")
