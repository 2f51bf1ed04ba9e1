"""Token rows on disk: written once in a staging folder, renamed, read through memory maps.

A set of rows is a folder: ``ids.bin`` (int32), ``mask.bin`` (one byte a token), ``ends.bin``
(int64, the end of each row), ``source.bin`` (int64, the example each row came from),
``trained.bin`` (int32) and ``meta.json``. The folder's name is the hash of everything that
decides the tokens, so it is whole and right, or absent.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import weakref
from collections import Counter
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tunery.data.groups import TokenRow
from tunery.types import Rendered

_FILES = {
    "ids.bin": np.int32,
    "mask.bin": np.uint8,
    "ends.bin": np.int64,
    "source.bin": np.int64,
    "trained.bin": np.int32,
}


class TokenRows:
    """Rows ready for training, read-only and memory-mapped.

    Attributes:
        lengths: Tokens of each row. Shape ``[rows]``, int64.
        trained: Trained tokens of each row. Shape ``[rows]``, int32.
        notes: Counted remarks of rendering and cutting.
        filtered: Examples that gave no row, by reason.
        truncated: Examples of which tokens were cut.
        cut_tokens: Tokens that were cut.
        keeps_99: The ``max_length`` that would leave 99 % of the examples whole.
        hash: SHA-256 over tokens and masks.
    """

    def __init__(self, folder: Path, *, temporary: bool = False) -> None:
        self.folder = folder
        if temporary:  # it lives as long as its rows
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        self._arrays = {name: _map(folder / name, kind) for name, kind in _FILES.items()}
        self._ends = self._arrays["ends.bin"]
        if len(self._ends) != meta["rows"] or len(self._arrays["ids.bin"]) != meta["tokens"]:
            raise ValueError(f"{folder}: sizes differ from meta.json")
        self.lengths = np.diff(self._ends, prepend=0)
        self.trained = self._arrays["trained.bin"]
        self.notes: dict[str, int] = meta["notes"]
        self.filtered: dict[str, int] = meta["filtered"]
        self.truncated: int = meta["truncated"]
        self.cut_tokens: int = meta["cut_tokens"]
        self.keeps_99: int = meta["keeps_99"]
        self.examples: int = meta["examples"]
        self.hash: str = meta["hash"]

    def __len__(self) -> int:
        return len(self._ends)

    def row(self, index: int) -> TokenRow:
        """Return a row."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        start = int(self._ends[index - 1]) if index else 0
        end = int(self._ends[index])
        return TokenRow(
            np.asarray(self._arrays["ids.bin"][start:end]),
            np.asarray(self._arrays["mask.bin"][start:end]).astype(bool),
        )

    def source(self, index: int) -> int:
        """Return the index of the example that the row came from."""
        return int(self._arrays["source.bin"][index])


class RowWriter:
    """Writes token rows to a staging folder beside ``folder``; :meth:`finish` renames it.

    Args:
        folder: Where the finished rows will lie; None for a temporary folder.
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
        self.rows = self.tokens = self.truncated = self.cut_tokens = 0
        self.notes: Counter[str] = Counter()
        self.filtered: Counter[str] = Counter()
        self.full_lengths: Counter[int] = Counter()
        self.examples = 0

    def add(self, rows: list[Rendered], source: int, *, full_length: int) -> None:
        """Write the rows of one example.

        Args:
            rows: Its rows.
            source: Its index.
            full_length: Its longest row before cutting, in tokens.
        """
        self.full_lengths[full_length] += 1
        self.truncated += any(row.cut for row in rows)
        for row in rows:
            ids = np.asarray(row.input_ids, dtype=np.int32)
            mask = np.asarray(row.loss_mask, dtype=np.uint8)
            self.tokens += len(ids)
            self.rows += 1
            self.cut_tokens += row.cut
            self.notes.update(row.notes)
            self._write("ids.bin", ids)
            self._write("mask.bin", mask)
            self._write("ends.bin", np.asarray([self.tokens], dtype=np.int64))
            self._write("source.bin", np.asarray([source], dtype=np.int64))
            self._write("trained.bin", np.asarray([int(mask[1:].sum())], dtype=np.int32))

    def finish(self) -> TokenRows:
        """Sync everything to disk, put the folder in its place and open it."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
            file.close()
        meta = {
            "rows": self.rows,
            "tokens": self.tokens,
            "examples": self.examples,
            "notes": dict(self.notes),
            "filtered": dict(self.filtered),
            "truncated": self.truncated,
            "cut_tokens": self.cut_tokens,
            "keeps_99": quantile(self.full_lengths, 0.99),
            "hash": self._hash.hexdigest(),
        }
        with (self.staging / "meta.json").open("w", encoding="utf-8") as file:
            json.dump(meta, file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(file.fileno())
        if self._final is None:
            return TokenRows(self.staging, temporary=True)
        try:
            self.staging.rename(self._final)
        except OSError:
            if not (self._final / "meta.json").is_file():
                raise
            self.abandon()  # another process made the same rows first
        return TokenRows(self._final)

    def abandon(self) -> None:
        """Close and delete the staging folder."""
        for file in self._files.values():
            file.close()
        shutil.rmtree(self.staging, ignore_errors=True)

    def _write(self, name: str, values: np.ndarray) -> None:
        data = values.tobytes()
        self._files[name].write(data)
        if name in ("ids.bin", "mask.bin", "ends.bin"):
            self._hash.update(data)


def quantile(counts: Counter[int], share: float) -> int:
    """The smallest value that at least ``share`` of the counted values do not exceed."""
    wanted, seen = share * sum(counts.values()), 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= wanted:
            return value
    return 0


def _map(file: Path, kind: Any) -> np.ndarray:
    if file.stat().st_size == 0:
        return np.zeros(0, dtype=kind)
    return np.memmap(file, dtype=kind, mode="r")
