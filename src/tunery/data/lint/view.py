"""A batch of rows with its file, to locate a problem by the index of its row."""

from __future__ import annotations

from dataclasses import dataclass

from tunery.data.problems import NOTHING, Level, Phrase, Problem
from tunery.data.sources.base import Batch


@dataclass(slots=True)
class View:
    """A batch and the file it is from.

    Args:
        batch: The rows.
        file: Name of the file in problems.
        good: Whether each row is usable, as far as known.
        text: All text of the batch.
        escaped: Whether ``text`` is JSON, in which characters may be escaped.
    """

    batch: Batch
    file: str
    good: list[bool]
    text: str
    escaped: bool

    def line(self, i: int) -> int | None:
        """The line of row ``i`` in the file, from 1; None if the file has no lines."""
        return self.batch.lines[i] if self.batch.lines is not None else None

    def raw(self, i: int) -> str:
        """Row ``i`` exactly as in the file, or as close to it as possible."""
        batch = self.batch
        return batch.texts[i] if batch.texts is not None else repr(batch.rows[i])

    def problem(
        self,
        code: str,
        i: int,
        found: Phrase,
        fix: Phrase = NOTHING,
        *,
        field: str | None = None,
        level: Level | None = None,
    ) -> Problem:
        """Make a problem about row ``i``."""
        return Problem(
            code,
            self.file,
            found,
            fix,
            line=self.line(i),
            record=self.batch.first + i,
            field=field,
            level=level,
        )
