"""A report as text for the terminal, translated to the current language."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

from tunery.data.kinds import flags_for, row_kind_named
from tunery.data.lint.report import MAX_EXAMPLES, Group, Report
from tunery.data.problems import Problem, visible
from tunery.i18n import joined, t

WINDOW = 100
MESSAGE = re.compile(r"(?:messages|conversations|prompt|completion|chosen|rejected)\[(\d+)\]")
"""A field in a message, which is counted from 0 there."""
DEFAULT_BAD_SHARE = 0.01


def report_text(report: Report, *, plain: bool = False) -> str:
    """Format the problems by code: places, lines with a caret, and what to do.

    Args:
        report: The report.
        plain: Whether to include only what stops a run, for an error message.
    """
    lines: list[str] = []
    for group in report.ordered:
        if plain and group.severity != "stop":
            continue
        lines += _group(group)
    lines += _end(report, plain)
    return "\n".join(lines)


def report_lines(report: Report) -> list[str]:
    """What stops a run, one sentence per kind of problem: for the page, which shows no carets."""
    lines: list[str] = []
    for group in report.stops:
        first = group.examples[0]
        place = Path(visible(first.file)).name
        if first.line is not None:
            place = t("{file}, line {n}", file=place, n=first.line)
        found = visible(first.found.local()).rstrip(".。")
        said = joined(t("{place}: {found}.", place=place, found=found), first.fix.local())
        if group.count > 1:
            said = joined(said, t("{count} rows", count=f"{group.count:,}"), between=" · ")
        lines.append(str(said))
    return lines


def _group(group: Group) -> Iterator[str]:
    count = group.count
    if any(problem.about_setting for problem in group.examples):
        yield from _settings(group)
        return
    groups = group.by_advice()
    for alike in groups:
        for problem in alike:
            yield from _example(problem, group, with_found=problem is alike[0])
        if alike is groups[-1] and count > len(group.examples) >= MAX_EXAMPLES:
            left = count - len(group.examples)
            yield "      " + t("… and {count} more", count=f"{left:,}")
        if fix := alike[0].fix.local():
            yield "      " + t("fix: {fix}", fix=fix)


def _example(problem: Problem, group: Group, *, with_found: bool) -> Iterator[str]:
    """The place of a problem and what was found there, if it differs from the first one."""
    first = group.examples[0]
    what = problem.place
    record = f"{problem.record:,}" if problem.record is not None else ""
    if record and (found := MESSAGE.match(problem.field or "")):
        number = int(found[1]) + 1
        what += "  " + t("(record {record}, message {number})", record=record, number=number)
    elif record:
        what += "  " + t("(record {record})", record=record)
    count = group.count
    if problem is not first:
        yield f"      {what}"
    elif count > 1 or problem.record is not None:
        number = t("1 row") if count == 1 else t("{count} rows", count=f"{count:,}")
        yield f"{problem.code}  {what}   {number}"
    else:
        yield f"{problem.code}  {what}"
    sentence = problem.found.local()
    if with_found or sentence != first.found.local():
        yield f"      {visible(sentence)}"
    yield from caret(problem)


def _settings(group: Group) -> Iterator[str]:
    """Format problems of settings, each with its own fix and without a number of rows."""
    for i, problem in enumerate(group.examples):
        yield f"{problem.code}  {problem.place}" if i == 0 else f"      {problem.place}"
        yield f"      {visible(problem.found.local())}"
        if fix := problem.fix.local():
            yield "      " + t("fix: {fix}", fix=fix)
    if group.count > len(group.examples):
        yield "      " + t("… and {count} more", count=f"{group.count - len(group.examples):,}")


def caret(problem: Problem) -> Iterator[str]:
    """The wrong line, cut to a window, and a line with a caret under the place."""
    if problem.excerpt is None or problem.column is None:
        return
    at = problem.column - 1
    start = max(0, at - WINDOW + 20)
    shown = problem.excerpt[start : start + WINDOW]
    before = visible(problem.excerpt[start:at])
    lead = "…" if start else ""
    number = f"{problem.line} | "
    yield f"      {number}{lead}{visible(shown)}"
    yield "      " + " " * (len(number) - 2) + "| " + " " * (len(lead) + _width(before)) + "^"


def _flags(report: Report) -> str:
    """The flags of a method for preference or labeled rows; empty for other rows."""
    kind = row_kind_named(report.kind) if report.kind is not None else None
    return flags_for(kind).local() if kind is not None and kind.code else ""


def _read_wrongly(report: Report) -> bool:
    """Whether the advice is to read the file again in another way, so that no row is bad."""
    return any(
        "--data.encoding" in problem.fix.local()
        for group in report.ordered
        for problem in group.examples
    )


def _width(text: str) -> int:
    """Width of a text in terminal columns; East Asian characters take two."""
    import unicodedata

    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _repeated(report: Report) -> Iterator[str]:
    """The number of rows per epoch, if it is not each usable row once, and why."""
    count, good, times = report.per_epoch, report.good, report.times
    if count is None or not good:
        return
    words = {"rows": f"{good:,}", "count": f"{count:,}", "rule": report.sampled_by}
    if count > good:
        yield t("{rows} rows, repeated to {count} per epoch ({rule}).", **words)
    elif count < good:
        yield t("{count} of {rows} rows are used ({rule}).", **words)
    if times > 1:
        yield t("*{times} uses these {count} rows {times} times: {all} rows per epoch.",
                times=times, count=words["count"], all=f"{count * times:,}")  # fmt: skip


def _end(report: Report, plain: bool) -> Iterator[str]:
    """The last lines: how many rows are usable, and what to do next."""
    good, rows = f"{report.good:,}", f"{report.rows:,}"
    if report.duplicates:
        yield t("{count} duplicates are removed.", count=f"{report.duplicates:,}")
    yield from _repeated(report)
    if report.bad:
        yield t("{good} of {rows} rows are OK.", good=good, rows=rows)
    elif report.rows and not plain and report.ok:
        words = {"dataset": visible(report.dataset), "rows": rows, "format": report.format}
        if report.unfilled:
            yield t(
                "{dataset}: {rows} rows, format {format}: OK once the placeholders are filled in.",
                **words,
            )
        elif report.lacks is not None:
            yield t(
                "{dataset}: {rows} rows, format {format}: these rows alone are not "
                "enough to start a run.",
                **words,
            )
        elif report.rendered_for:
            yield t(
                "{dataset}: {rows} rows, format {format}: a run on {model} can start.",
                model=visible(report.rendered_for),
                **words,
            )
        elif report.by_template:
            yield t(
                "{dataset}: {rows} rows, format {format}: a run can start if the model's "
                "chat template can render these rows. To check yours, add --model.name.",
                **words,
            )
        elif flags := _flags(report):
            yield t(
                "{dataset}: {rows} rows, format {format}: a run with {flags} can start.",
                flags=flags,
                **words,
            )
        else:
            yield t("{dataset}: {rows} rows, format {format}: a run can start.", **words)
    if report.sets_aside:
        yield t("A run can start; it sets the other rows aside.")
    elif report.bad and report.only_rows and not _read_wrongly(report):
        # The share is rounded up, so that the printed flag is large enough for these rows.
        share = math.ceil(report.bad / report.rows * 100) / 100
        flag = f" --data.max_bad_share {share:g}" if share > DEFAULT_BAD_SHARE else ""
        yield t(
            "A run can set the other rows aside: --data.on_bad_rows quarantine{flag}", flag=flag
        )
