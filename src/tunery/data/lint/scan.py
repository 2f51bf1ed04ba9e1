"""One pass over a dataset: every row read, judged and indexed, in bounded memory."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import Any

from tunery.data.catalog import Dataset
from tunery.data.formats import Format, RowOptions
from tunery.data.formats.detect import best
from tunery.data.index import FileRows
from tunery.data.lint import texts
from tunery.data.lint.options import CheckOptions
from tunery.data.lint.report import Report
from tunery.data.lint.settle import Settled, settle
from tunery.data.problems import FileProblem, Problem, RowProblem, say, visible
from tunery.data.sources import open_file
from tunery.data.sources.base import Bad, Batch
from tunery.data.sources.jsonlines import OutOfRange
from tunery.types import Conversation, RowRef

REAL_NEWLINE = re.compile(r"(?<!\\)(?:\\\\)*\\n")
LITERAL_NEWLINE = re.compile(r"(?<!\\)(?:\\\\)+n")
SINK = Callable[[Problem, str], None]


@dataclass(slots=True)
class Scan:
    """What one pass leaves behind: the report, and where each usable row stands."""

    report: Report
    files: list[FileRows] = field(default_factory=list)
    options: RowOptions = field(default_factory=RowOptions)
    format: Format | None = None


def scan(dataset: Dataset, options: CheckOptions, *, sink: SINK | None = None) -> Scan:
    """Read, check and index a dataset.

    Args:
        dataset: With its files on this machine.
        options: How rows are read.
        sink: Called with each unusable row's problem and raw text.
    """
    return _Scanner(dataset, options.over(dataset), sink).run()


class _Scanner:
    """The state of one pass."""

    def __init__(self, dataset: Dataset, options: CheckOptions, sink: SINK | None) -> None:
        self.dataset = dataset
        self.options = options
        self.sink = sink
        self.report = Report(dataset.name)
        self.result = Scan(self.report)
        self.settled: Settled | None = None
        self.hashes = array("q")
        self.seen: set[int] = set()
        self.placeholders: Counter[str] = Counter()
        self.placeholder_rows = 0
        self.placeholder_first: Problem | None = None
        self.literal: list[Problem] = []
        self.num_literal = 0
        self.newline_seen = False
        self.bytes_done = 0

    def run(self) -> Scan:
        """Read every file."""
        total = sum(size_of(path) for path in self.dataset.files)
        for problem in self.dataset.problems:
            self.report.add(problem)
        if any(problem.severity == "stop" for problem in self.dataset.problems):
            return self.result
        for path, name in zip(self.dataset.files, self.dataset.names, strict=True):
            self.report.files += 1
            try:
                self._file(path, name, total)
            except FileProblem as error:
                self.report.add(error.problem)
                self.report.broken_files += 1
            self.bytes_done += size_of(path)
        self._finish()
        return self.result

    def _file(self, path: Path, name: str, total: int) -> None:
        source, notes = open_file(path, name, self.options.reading())
        for note in notes:
            self.report.add(note)
        rows = FileRows(source, self.dataset.name)
        self.result.files.append(rows)
        before = self.bytes_done
        for batch in source.batches():
            if self.settled is None:
                settled = settle(
                    self.dataset, batch.rows, source, self.options.rows(self.dataset), self.options
                )
                for problem in settled.problems:
                    self.report.add(problem)
                self.settled = settled
                self.report.format = settled.format.name if settled.format else None
                self.result.format, self.result.options = settled.format, settled.options
            self._batch(batch, rows, self.settled)
            if self.options.progress is not None:
                self.bytes_done = before + (int(batch.starts[-1]) if batch.lines else 0)
                self.options.progress(self.report.rows, self.bytes_done, total)
        self.bytes_done = before

    def _batch(self, batch: Batch, rows: FileRows, settled: Settled) -> None:
        self.report.rows += len(batch.rows)
        rows.total += len(batch.rows)
        format, how = settled.format, settled.options
        if format is None or settled.hopeless:
            self.report.bad += len(batch.rows)
            return
        plain = format.plain
        good = [type(row) is dict and plain(row, how) for row in batch.rows]
        if not all(good):
            for i, fine in enumerate(good):
                if not fine:
                    good[i] = self._row(batch, i, settled)
        self._texts(batch, good, settled)
        if self.options.deduplicate or self.report.rows <= 50_000_000:
            self._duplicates(batch, good)
        rows.extend(batch, good)

    def _row(self, batch: Batch, i: int, settled: Settled) -> bool:
        """Judge one row the slow way; True where it is usable."""
        row = batch.rows[i]
        if isinstance(row, Bad):
            self._bad(row.problem, row.raw)
            return False
        assert settled.format is not None
        if isinstance(row, OutOfRange):
            self._out_of_range(batch, i, row, settled)
        if not isinstance(row, dict):
            problem = Problem(
                "E122",
                settled.file,
                say("expected an object, found {what}", what=type(row).__name__),
            )
            self._bad(problem, repr(row))
            return False
        try:
            example = settled.format.convert(row, settled.options, None)
        except RowProblem as error:
            self._bad(self._placed(error, batch, i, row, settled), self._raw(batch, i))
            return False
        if isinstance(example, Conversation):
            self._conversation(example, batch, i, settled)
        return True

    def _placed(
        self, error: RowProblem, batch: Batch, i: int, row: dict[str, Any], settled: Settled
    ) -> Problem:
        """The problem of a row, with its place; a foreign row is told apart from a broken one."""
        assert settled.format is not None
        code, found, fix, where = error.code, error.found, error.fix, error.field
        required = {settled.options.column(name) for name in settled.format.required}
        if code == "E301" and where in required:
            other, score = best(row, RowOptions())
            if other and other != settled.format.name and score > 0.5:
                code, where = "E202", None
                found = say(
                    "the file began as {first}, this row is {other}",
                    first=settled.format.name,
                    other=other,
                )
                fix = say("Split the file: one format in each.")
        return Problem(
            code,
            settled.file,
            found,
            fix,
            line=self._line(batch, i),
            column=None,
            record=batch.first + i,
            field=where,
        )

    def _conversation(self, example: Conversation, batch: Batch, i: int, settled: Settled) -> None:
        messages = example.messages
        first = messages[1] if messages[0].role == "system" and len(messages) > 1 else messages[0]
        if messages[-1].role == "user":
            found = say("the last message is the user's; it is not trained")
            self._warn(
                "W711", found, say("Add the answer, or remove the message."), batch, i, settled
            )
        if first.role == "assistant":
            found = say("the conversation begins with the assistant")
            fix = say("Some templates need a user message first; add one if yours does.")
            self._warn("W712", found, fix, batch, i, settled)

    def _warn(
        self, code: str, found: Any, fix: Any, batch: Batch, i: int, settled: Settled
    ) -> None:
        if code not in self.options.accept:
            problem = Problem(
                code,
                settled.file,
                found,
                fix,
                line=self._line(batch, i),
                record=batch.first + i,
            )
            self.report.add(problem)

    def _out_of_range(self, batch: Batch, i: int, row: OutOfRange, settled: Settled) -> None:
        for key, value in row.items():
            if key in settled.used or not isinstance(value, int | float):
                continue
            huge = isinstance(value, float) and value in (float("inf"), float("-inf"))
            if huge or (isinstance(value, int) and not -(2**63) <= value < 2**64):
                problem = Problem(
                    "E126",
                    settled.file,
                    say(
                        "field {field}: number out of range ({number}); the field is not used",
                        field=key,
                        number=visible(row.numbers[0], 30),
                    ),
                    say("Write it as text if it matters."),
                    line=self._line(batch, i),
                    record=batch.first + i,
                    field=key,
                    level="warn",
                )
                self.report.add(problem)
                return

    def _texts(self, batch: Batch, good: list[bool], settled: Settled) -> None:
        """Remarks about texts, asked of the block first and of rows only where needed."""
        escaped = batch.texts is not None and settled.escaped
        block = batch.block
        if block is None:
            block = "\n".join(
                text
                for row in batch.rows
                if isinstance(row, dict)
                for _, text in texts.strings(row, "")
            )
            escaped = False
        if texts.suspicious(block, escaped=escaped):
            self._remarks(batch, good, settled, escaped)
        if "{{" in block or texts.SINGLE.search(block):
            self._placeholders(batch, good, settled)
        if not self.newline_seen:
            self._newlines(batch, good, block, escaped, settled)

    def _remarks(self, batch: Batch, good: list[bool], settled: Settled, escaped: bool) -> None:
        for i, row in enumerate(batch.rows):
            if not good[i]:
                continue
            if batch.texts is not None and not texts.suspicious(batch.texts[i], escaped=escaped):
                continue
            codes: set[str] = set()
            for remark in texts.remarks(row, settled.used):
                if remark.code in codes or remark.code in self.options.accept:
                    continue
                codes.add(remark.code)
                problem = Problem(
                    remark.code,
                    settled.file,
                    remark.found,
                    remark.fix,
                    line=self._line(batch, i),
                    record=batch.first + i,
                    field=remark.field,
                )
                if problem.severity == "stop":
                    good[i] = False
                    self._bad(problem, self._raw(batch, i))
                    break
                self.report.add(problem)

    def _placeholders(self, batch: Batch, good: list[bool], settled: Settled) -> None:
        variables = self.options.variables
        for i, row in enumerate(batch.rows):
            if not good[i] or (batch.texts is not None and "{" not in batch.texts[i][1:]):
                continue
            found: Counter[str] = Counter()
            for column in settled.used & row.keys():
                for path, text in texts.strings(row[column], column):
                    names = texts.placeholders(text) if "{" in text else []
                    if column in settled.asked or path.endswith((".role", ".from")):
                        names = [name for name in names if name.startswith("{{")]
                    found.update(name for name in names if name.strip("{}") not in variables)
            if found:
                self.placeholder_rows += 1
                self.placeholders.update(found)
                if self.placeholder_first is None:
                    self.placeholder_first = Problem(
                        "W706",
                        settled.file,
                        say(""),
                        line=self._line(batch, i),
                        record=batch.first + i,
                    )

    def _newlines(
        self, batch: Batch, good: list[bool], block: str, escaped: bool, settled: Settled
    ) -> None:
        """Count answers with a backslash and an n until one real line break is seen."""
        if escaped and "\\n" not in block:
            return
        for i, row in enumerate(batch.rows):
            if not good[i] or not isinstance(row, dict):
                continue
            values = [
                text for c in settled.used & row.keys() for _, text in texts.strings(row[c], c)
            ]
            if any("\n" in text for text in values):
                self.newline_seen = True
                return
            if any("\\n" in text for text in values):
                self.num_literal += 1
                if not self.literal:
                    self.literal.append(
                        Problem(
                            "W710",
                            settled.file,
                            say(""),
                            line=self._line(batch, i),
                            record=batch.first + i,
                        )
                    )

    def _duplicates(self, batch: Batch, good: list[bool]) -> None:
        raw: Sequence[Any] = (
            batch.texts if batch.texts is not None else [repr(row) for row in batch.rows]
        )
        keys = [hash(text) for text in (raw if all(good) else compress(raw, good))]
        if not self.options.deduplicate:
            self.hashes.extend(keys)
            return
        at = iter(keys)
        for i, fine in enumerate(good):
            if fine:
                key = next(at)
                if key in self.seen:
                    good[i] = False
                    self.report.duplicates += 1
                self.seen.add(key)

    def _finish(self) -> None:
        """What can only be said at the end: duplicates, placeholders, double escaping."""
        accept = self.options.accept
        count = len(self.hashes)
        distinct = count_distinct(self.hashes) if count else 0
        name = self.dataset.names[0] if self.dataset.names else self.dataset.name
        if distinct < count and "W704" not in accept:
            problem = Problem(
                "W704",
                name,
                say(
                    "{count} rows, {distinct} distinct",
                    count=f"{count:,}",
                    distinct=f"{distinct:,}",
                ),
                say("Keep all, or set --data.deduplicate true."),
            )
            self.report.add(problem, count - distinct)
        if self.placeholder_first is not None and "W706" not in accept:
            listed = ", ".join(f"{name} ×{n}" for name, n in self.placeholders.most_common(8))
            first = next((n for n in self.placeholders if n.startswith("{{")), None)
            self.report.unfilled = first is not None
            problem = Problem(
                "W706",
                self.placeholder_first.file,
                say(
                    "{count} of {rows} rows contain unfilled placeholders: {names}",
                    count=self.placeholder_rows,
                    rows=self.report.rows,
                    names=listed,
                ),
                say(
                    'Fill them: --data.variables.{name} "...", or keep them as text: '
                    "--data.accept W706.",
                    name=first.strip("{}"),
                )
                if first
                else say("Fill them in the rows if they are not meant to be learned."),
                line=self.placeholder_first.line,
                record=self.placeholder_first.record,
            )
            self.report.add(problem, self.placeholder_rows)
        if self.num_literal and not self.newline_seen and "W710" not in accept:
            first_literal = self.literal[0]
            problem = Problem(
                "W710",
                first_literal.file,
                say(
                    "literal backslash-n in {count} of {rows} rows and no real line break: "
                    "double escaping?",
                    count=self.num_literal,
                    rows=self.report.rows,
                ),
                say("Write line breaks as \\n in JSON, not as \\\\n."),
                line=first_literal.line,
                record=first_literal.record,
            )
            self.report.add(problem, self.num_literal)

    def _bad(self, problem: Problem, raw: str) -> None:
        self.report.bad += 1
        self.report.add(problem)
        if self.sink is not None:
            self.sink(problem, raw)

    @staticmethod
    def _line(batch: Batch, i: int) -> int | None:
        return batch.lines[i] if batch.lines is not None else None

    @staticmethod
    def _raw(batch: Batch, i: int) -> str:
        return batch.texts[i] if batch.texts is not None else repr(batch.rows[i])


def count_distinct(hashes: array[int]) -> int:
    """How many different values; sorts in place where numpy is at hand."""
    try:
        import numpy
    except ModuleNotFoundError:
        return len(set(hashes))
    values = numpy.frombuffer(hashes, dtype=numpy.int64)
    values.sort()
    return 1 + sum(
        int(
            numpy.count_nonzero(
                values[at + 1 : at + 1_000_001]
                != values[at : at + 1_000_000][: len(values) - at - 1]
            )
        )
        for at in range(0, len(values) - 1, 1_000_000)
    )


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where it cannot be asked."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def ref(dataset: str, file: str, record: int, line: int | None) -> RowRef:
    """Make a row's reference."""
    return RowRef(dataset, file, record, line)
