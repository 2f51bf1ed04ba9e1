"""One batch of rows in its file, so that a problem can be placed by a row's number alone."""

from __future__ import annotations

from dataclasses import dataclass

from tunery.data.problems import NOTHING, Level, Phrase, Problem
from tunery.data.sources.base import Batch


@dataclass(slots=True)
class View:
    """A batch and the file it is from.

    Args:
        batch: The rows.
        file: The file as messages name it.
        good: Whether each row can be used, as far as it is known by now.
        text: All texts of the batch in one piece.
        escaped: ``text`` is JSON, in which characters may stand as escapes.
    """

    batch: Batch
    file: str
    good: list[bool]
    text: str
    escaped: bool

    def line(self, i: int) -> int | None:
        """The physical line of row ``i``."""
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
        """A problem of row ``i``."""
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
