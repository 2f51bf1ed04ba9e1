"""The quarantine file: each unusable row with its place and the problem."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import TextIO

from tunery.data.problems import Problem


class QuarantineFile:
    """Writes ``quarantine.jsonl``: one JSON object per unusable row.

    Rows go to a staging file, which ``keep`` renames; without ``keep`` it is deleted on exit.

    Args:
        path: The final path; None writes nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._staging = path.with_name(f".{path.name}.{os.getpid()}") if path else None
        self._file: TextIO | None = None

    def __enter__(self) -> QuarantineFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
        if self._staging is not None:
            self._staging.unlink(missing_ok=True)

    def add(self, problem: Problem, raw: str) -> None:
        """Write one row with its problem.

        Args:
            problem: Why the row cannot be used.
            raw: The row as text.
        """
        if self._staging is None:
            return
        if self._file is None:
            self._staging.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._staging.open("w", encoding="utf-8", errors="backslashreplace")
        self._file.write(json.dumps({**problem.as_dict(), "raw": raw}, ensure_ascii=False) + "\n")

    def keep(self) -> None:
        """Sync the staging file and rename it to the final path."""
        if self._file is None or self._staging is None or self.path is None:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._file = None
        self._staging.replace(self.path)
