"""Checks of a dataset as a whole: duplicates, placeholders, missing values, double escaping."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import compress
from typing import Any

from tunery.data.lint import texts
from tunery.data.lint.options import CheckOptions
from tunery.data.lint.report import Report
from tunery.data.lint.settle import Settled
from tunery.data.lint.view import View
from tunery.data.problems import NOTHING, Problem, say

DISTINCT_STEP = 1_000_000
# The words that pandas, Excel, Python and SQL write into a table for a missing value.
ABSENT = frozenset(
    ["NaN", "nan", "NAN", "None", "N/A", "n/a", "NA", "null", "NULL", "Null", "<NA>", "#N/A"]
)
LIGHT_ROWS = 500_000  # up to this number a Python set is fast enough


class Tally:
    """Counts over all batches; duplicates need 8 bytes per row."""

    def __init__(self, options: CheckOptions) -> None:
        self._variables = options.variables
        self._leave_out = options.deduplicate
        self._hashes = array("q")
        self._seen: set[int] = set()
        self.placeholders: dict[str, None] = {}
        self._names: Counter[str] = Counter()
        self._num_unfilled = 0
        self._first_unfilled: Problem | None = None
        self._words: Counter[str] = Counter()
        self._num_words = 0
        self._first_word: Problem | None = None
        self._num_literal = 0
        self._first_literal: Problem | None = None
        self._newline_seen = False

    def see(self, view: View, settled: Settled) -> int:
        """Count a batch; with ``deduplicate``, mark duplicates as not good.

        Returns:
            Number of duplicates marked; 0 without ``deduplicate``.
        """
        brace = view.text.count("{") != len(view.batch.rows) if view.escaped else "{" in view.text
        if brace and texts.BRACES.search(view.text):
            self._placeholders(view, settled)
        if not self._newline_seen:
            self._newlines(view, settled)
        if settled.table:
            self._absent(view, settled)
        return self._duplicates(view)

    def problems(self, file: str, report: Report) -> Iterator[tuple[Problem, int]]:
        """All problems found, each with the number of affected rows."""
        rows = len(self._hashes)
        distinct = count_distinct(self._hashes) if rows else 0
        if distinct < rows:
            found = say(
                "{count} rows, {distinct} distinct", count=f"{rows:,}", distinct=f"{distinct:,}"
            )
            fix = say("Keep them all, or set --data.deduplicate true.")
            yield Problem("W704", file, found, fix), rows - distinct
        if self._first_word is not None:
            yield self._missing_values(self._first_word), self._num_words
        if self._first_unfilled is not None:
            yield self._unfilled(self._first_unfilled, report), self._num_unfilled
        if self._first_literal is not None and not self._newline_seen:
            yield self._double_escaping(report.rows, self._first_literal), self._num_literal

    def _unfilled(self, first: Problem, report: Report) -> Problem:
        double = next((name for name in self._names if name.startswith("{{")), None)
        report.unfilled = double is not None
        listed = ", ".join(f"{name} ×{count}" for name, count in self._names.most_common(8))
        found = say(
            "{count} of {rows} rows contain unfilled placeholders: {names}",
            count=f"{self._num_unfilled:,}",
            rows=f"{report.rows:,}",
            names=listed,
        )
        fix = say("Fill them in unless the model should learn them as they are.")
        if double is not None:
            fix = say(
                'Fill them in: --data.variables.{name} "...", or keep them as text: '
                "--data.accept W706.",
                name=double.strip("{}"),
            )
        return Problem("W706", first.file, found, fix, line=first.line, record=first.record)

    def _double_escaping(self, rows: int, first: Problem) -> Problem:
        found = say(
            "literal backslash-n in {count} of {rows} rows and no real line break: "
            "double escaping?",
            count=f"{self._num_literal:,}",
            rows=f"{rows:,}",
        )
        fix = say("Write line breaks as \\n in JSON, not as \\\\n.")
        return Problem("W710", first.file, found, fix, line=first.line, record=first.record)

    def _missing_values(self, first: Problem) -> Problem:
        words = sorted(self._words.items(), key=lambda each: (-each[1], each[0]))
        listed = ", ".join(f"{word} ×{count}" for word, count in words)
        found = say("cells contain words for a missing value: {words}", words=listed)
        fix = say(
            "They are trained on as text. Leave the cells empty; or, if the words are "
            "intended, --data.accept W714."
        )
        return Problem("W714", first.file, found, fix, line=first.line, record=first.record)

    def _absent(self, view: View, settled: Settled) -> None:
        """Count rows in which a cell is a word for a missing value."""
        columns = list(settled.used)
        for i, row in enumerate(view.batch.rows):
            if not view.good[i]:
                continue
            cells = [row.get(name) for name in columns]
            words = [cell for cell in cells if type(cell) is str and cell in ABSENT]
            if words:
                self._words.update(words)
                self._num_words += 1
                self._first_word = self._first_word or view.problem("W714", i, NOTHING)

    def _placeholders(self, view: View, settled: Settled) -> None:
        raw = view.batch.texts
        for i, row in enumerate(view.batch.rows):
            if not view.good[i] or (raw is not None and not texts.BRACES.search(raw[i])):
                continue
            found: Counter[str] = Counter()
            for column in settled.used & row.keys():
                for path, text in texts.strings(row[column], column):
                    names = texts.placeholders(text) if "{" in text else []
                    doubles = [name.strip("{}") for name in names if name.startswith("{{")]
                    self.placeholders.update(dict.fromkeys(doubles))
                    if column in settled.prompts or path.endswith((".role", ".from")):
                        names = [name for name in names if name.startswith("{{")]
                    found.update(name for name in names if name.strip("{}") not in self._variables)
            if found:
                self._num_unfilled += 1
                self._names.update(found)
                self._first_unfilled = self._first_unfilled or view.problem("W706", i, NOTHING)

    def _newlines(self, view: View, settled: Settled) -> None:
        """Count rows with a literal backslash-n, until a real line break is found."""
        if view.escaped and ("\\" not in view.text or "\\n" not in view.text):
            return
        for i, row in enumerate(view.batch.rows):
            if not view.good[i]:
                continue
            values = [
                text
                for column in settled.used & row.keys()
                for _, text in texts.strings(row[column], column)
            ]
            if any("\n" in text for text in values):
                self._newline_seen = True
                return
            if any("\\n" in text for text in values):
                self._num_literal += 1
                self._first_literal = self._first_literal or view.problem("W710", i, NOTHING)

    def _duplicates(self, view: View) -> int:
        keys: Iterable[int]
        if view.batch.texts is not None:
            keys = map(hash, view.batch.texts)
        else:
            keys = map(_row_hash, view.batch.rows)
        if not self._leave_out:
            self._hashes.extend(keys if all(view.good) else compress(keys, view.good))
            return 0
        repeats = 0
        for i, key in enumerate(keys):
            if view.good[i]:
                if key in self._seen:
                    view.good[i] = False
                    repeats += 1
                self._seen.add(key)
        return repeats


def count_distinct(hashes: array[int]) -> int:
    """Number of distinct values; large arrays are sorted in place if numpy is installed."""
    if len(hashes) <= LIGHT_ROWS:
        return len(set(hashes))
    try:
        import numpy
    except ModuleNotFoundError:
        return len(set(hashes))
    values = numpy.frombuffer(hashes, dtype=numpy.int64)
    values.sort()
    return 1 + sum(
        int(numpy.count_nonzero(numpy.diff(values[at : at + DISTINCT_STEP + 1])))
        for at in range(0, len(values) - 1, DISTINCT_STEP)
    )


def _row_hash(row: Any) -> int:
    try:
        return hash(tuple(row.values()))
    except (TypeError, AttributeError):
        return hash(repr(row))
