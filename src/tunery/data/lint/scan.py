"""One pass over a dataset: reads, checks and indexes every row in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tunery.chat.remarks import NO_TRAINED_TOKEN, WEIGHS_NOTHING
from tunery.data.dataset import Dataset
from tunery.data.formats import Format, RowOptions
from tunery.data.formats.base import never
from tunery.data.formats.beside import CHECKED, convert
from tunery.data.formats.roles import all_mapped
from tunery.data.formats.written import read_written
from tunery.data.groups import WEIGHT
from tunery.data.index import FileRows
from tunery.data.kinds import messages, row_kind, row_kind_named, row_kind_of
from tunery.data.lint import texts
from tunery.data.lint.idle import CODE, Seen, idle
from tunery.data.lint.options import CheckOptions
from tunery.data.lint.report import Report
from tunery.data.lint.rows import out_of_range, placed
from tunery.data.lint.settle import Settled, settle
from tunery.data.lint.tally import Tally
from tunery.data.lint.unused import foreign_keys, unused
from tunery.data.lint.view import View
from tunery.data.nothing_left import way_out
from tunery.data.problems import FileProblem, Problem, RowProblem, say
from tunery.data.sources import open_file
from tunery.data.sources.base import Bad, Batch, FileSource
from tunery.data.sources.jsonlines import OutOfRange
from tunery.types import Conversation

NAMED_FIX = say("To see whether yours does, add --model.name.")
UNTRAINED_FIX = say("Remove the mark of the answer that the model should learn.")
MAX_ROLES = 20
"""Maximum unknown roles in one advice; more are probably names of people or something else."""
Sink = Callable[[Problem, str], None]


@dataclass(slots=True)
class Scan:
    """The result of one pass.

    Args:
        report: The report.
        files: The usable rows of each file, by index.
        options: How rows were read.
        format: Format of the rows; None if none fits.
    """

    report: Report
    files: list[FileRows] = field(default_factory=list[FileRows])
    options: RowOptions = field(default_factory=RowOptions)
    format: Format | None = None


def scan(dataset: Dataset, options: CheckOptions, *, sink: Sink | None = None) -> Scan:
    """Read, check and index a dataset.

    Args:
        dataset: The dataset; its files must be local.
        options: How files and rows are read.
        sink: Called with the problem and the raw text of each unusable row.
    """
    return _Scanner(dataset, options.over(dataset), sink).run()


class _Scanner:
    """The state of one pass."""

    def __init__(self, dataset: Dataset, options: CheckOptions, sink: Sink | None) -> None:
        self.dataset = dataset
        self.options = options
        self.sink = sink
        self.report = Report(dataset.name)
        self.result = Scan(self.report)
        self.settled: Settled | None = None
        self.plain: Callable[[Any], bool] = bool
        self.tally = Tally(options)
        self.seen = Seen()
        self.keys: dict[str, None] = {}
        self.unread: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.roles: dict[str, str] = {}
        self.total = sum(size_of(path) for path in dataset.files)
        self.done = 0

    def run(self) -> Scan:
        """Read and check every file."""
        for problem in self.dataset.problems:
            self._add(problem)
        if any(problem.severity == "stop" for problem in self.dataset.problems):
            return self.result
        for path, name in zip(self.dataset.files, self.dataset.names, strict=True):
            self.report.files += 1
            try:
                self._file(path, name)
            except FileProblem as error:
                self.report.add(error.problem)
                self.report.broken_files += 1
            self.done += size_of(path)
        if len(self.roles) > 1:  # one advice for the whole dataset
            unknown, fix = self.report.groups["E405"].examples, all_mapped(self.roles)
            unknown[:] = [replace(each, fix=fix) for each in unknown]
        first = self.dataset.names[0] if self.dataset.names else self.dataset.name
        self._unused(first)
        for problem, count in self.tally.problems(first, self.report):
            if problem.code not in self.options.accept:
                self.report.add(problem, count)
        self.report.untrained = self.left_out.total()
        none = self.report.untrained >= self.report.good > 0
        if none and not self.options.deduplicate:
            self.report.add(self._nothing_left(first))
        if self.report.kind is not None:
            for finding in row_kind_named(self.report.kind).about(self.report.tags):
                self._add(Problem(finding.code, first, finding.found, finding.fix))
        return self.result

    def _nothing_left(self, first: str) -> Problem:
        """E719: all usable rows are left out of a run."""
        assert self.report.kind is not None
        found = say("no message of any row is trained on")
        if self.left_out.keys() == {WEIGHS_NOTHING}:
            found = say("the weight of every row is 0, so no row is trained on")
        columns = self.result.options.columns
        fix = way_out(self.left_out, row_kind_named(self.report.kind), columns)
        return Problem("E719", first, found, fix)

    def _file(self, path: Path, name: str) -> None:
        source, notes = open_file(path, name, self.options.reading())
        for note in notes:
            self.report.add(note)
        self.seen.file(source)
        rows = FileRows(source, self.dataset.name)
        self.result.files.append(rows)
        for batch in source.batches():
            if self.settled is None and any(isinstance(row, dict) for row in batch.rows):
                self._settle(batch, source)
            self._batch(batch, rows, source)
            if self.options.progress is not None:
                inside = int(batch.starts[-1]) if batch.lines is not None else 0
                self.options.progress(self.report.rows, self.done + inside, self.total)
        for note in source.notes:
            self._add(note)

    def _unused(self, first: str) -> None:
        """Report columns, keys and settings that are not used."""
        settled = self.settled
        if settled is None or settled.format is None or settled.hopeless:
            return
        columns = list(self.seen.columns)
        keys = [*(f"{name} ×{count}" for name, count in self.unread.items()), *self.keys]
        for problem in unused(columns, keys, settled.format, settled.options, first):
            self._add(problem)
        if self.report.good and CODE not in self.options.accept:
            self.seen.placeholders |= self.tally.placeholders
            found = idle(self.seen, settled, self.options, first)
            self.report.idle = {problem.field or "": problem for problem in found}

    def _settle(self, batch: Batch, source: FileSource) -> None:
        """Choose the format from the first rows of the dataset."""
        how = self.options.rows(self.dataset)
        settled = self.settled = settle(self.dataset, batch.rows, source, how, self.options)
        for problem in settled.problems:
            self.report.add(problem)
        if settled.format is not None:
            # Lists stored as text and mapped roles need a full conversion of each row.
            slow = bool(how.parse or how.role_map)
            self.plain = never if slow else settled.format.plain(settled.options)
            self.report.format = settled.format.name
            self.report.kind = row_kind_of(settled.format.makes).name
        self.result.format, self.result.options = settled.format, settled.options

    def _batch(self, batch: Batch, rows: FileRows, source: FileSource) -> None:
        self.report.rows += len(batch.rows)
        settled, plain = self.settled, self.plain
        unremarkable: Callable[[Any], bool] = CHECKED.isdisjoint
        if settled is not None and settled.hopeless:
            self.report.bad += len(batch.rows)
            return
        if settled is not None and (weight := settled.options.column(WEIGHT)) not in CHECKED:
            unremarkable = CHECKED.union((weight,)).isdisjoint
        good = [type(row) is dict and plain(row) and unremarkable(row) for row in batch.rows]
        view = View(batch, source.name, good, "", batch.texts is not None and not source.columns)
        if not all(good):
            for i, fine in enumerate(good):
                if not fine:
                    good[i] = self._row(view, i)
        self._see_columns([row for row, fine in zip(batch.rows, good, strict=True) if fine])
        view.text = batch.block if batch.block is not None else texts.joined(batch.rows)
        if settled is not None:
            if texts.suspicious(view.text, escaped=view.escaped):
                self._remarks(view, settled)
            self.report.duplicates += self.tally.see(view, settled)
        rows.extend(batch, good)

    def _see_columns(self, rows: list[dict[str, Any]]) -> None:
        """Record the columns of usable rows, in the order of the file."""
        if not set[str]().union(*rows) <= self.seen.columns.keys():
            for row in rows:
                self.seen.columns.update(dict.fromkeys(map(str, row)))

    def _row(self, view: View, i: int) -> bool:
        """Convert and check one row; return True if it is usable."""
        row, settled = view.batch.rows[i], self.settled
        if isinstance(row, Bad):
            self._bad(row.problem, row.raw)
            return False
        assert settled is not None
        assert settled.format is not None
        if isinstance(row, OutOfRange):
            self._add(out_of_range(view, i, row, settled))
        try:
            example = convert(settled.format, row, settled.options)
        except RowProblem as error:
            if len(self.roles) < MAX_ROLES:
                self.roles.update(error.roles)
            self._bad(placed(error, view, i, settled), view.raw(i))
            return False
        if settled.options.role_map:
            key = settled.options.tags.get("role_tag", "from")
            self.seen.add_roles(read_written(row, settled.options), settled.used, key)
        self.keys.update(dict.fromkeys(foreign_keys(row, settled.used, settled.options)))
        for name in settled.format.unread(row, settled.options, example):
            if row.get(theirs := settled.options.column(name)) is not None:
                self.unread[theirs] += 1
        kind = row_kind(example)
        for finding in kind.findings(example):
            problem = view.problem(finding.code, i, finding.found, finding.fix)
            if problem.severity == "stop":
                self._bad(problem, view.raw(i))
                return False
            self._add(problem)
        conversations = kind.conversations(example)
        loss_on = kind.loss_on or self.options.loss_on
        if not all(messages.trains(each, loss_on) for each in conversations):
            self.left_out[NO_TRAINED_TOKEN] += 1
            left_out = say("no message is trained on (train, weight, loss), so the row is left out")
            self._add(view.problem("W734", i, left_out, UNTRAINED_FIX))
        elif isinstance(example, Conversation) and example.weight == 0:
            self.left_out[WEIGHS_NOTHING] += 1
        for conversation in conversations:
            self.report.by_template |= messages.depends_on_template(conversation)
            if any(message.name is not None for message in conversation.messages):
                named = say("messages have a name; not every chat template writes it")
                self._add(view.problem("N153", i, named, NAMED_FIX))
        if tag := kind.tag(example):
            self.report.tags[tag] = self.report.tags.get(tag, 0) + 1
        return True

    def _remarks(self, view: View, settled: Settled) -> None:
        """Report remarks about texts; a lone surrogate makes a row unusable."""
        batch = view.batch
        for i, row in enumerate(batch.rows):
            if not view.good[i]:
                continue
            if batch.texts is not None and not texts.suspicious(
                batch.texts[i], escaped=view.escaped
            ):
                continue
            codes: set[str] = set()
            for remark in texts.remarks(row, settled.used):
                intended = remark.code == "W707" and self.options.special_tokens == "tokens"
                if remark.code in codes or intended:
                    continue
                codes.add(remark.code)
                problem = view.problem(remark.code, i, remark.found, remark.fix, field=remark.field)
                if problem.severity == "stop":
                    view.good[i] = False
                    self._bad(problem, view.raw(i))
                    break
                self._add(problem)

    def _add(self, problem: Problem | None) -> None:
        if problem is not None and problem.code not in self.options.accept:
            self.report.add(problem)

    def _bad(self, problem: Problem, raw: str) -> None:
        self.report.bad += 1
        self.report.add(problem)
        if self.sink is not None:
            self.sink(problem, raw)


def size_of(path: Path) -> int:
    """Size of a file in bytes; 0 if it cannot be determined."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
