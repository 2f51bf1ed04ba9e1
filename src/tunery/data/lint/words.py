"""A report in words, as a terminal shows it."""

from __future__ import annotations

from collections.abc import Iterator

from tunery.data.lint.report import MAX_EXAMPLES, ORDER, Group, Report
from tunery.data.problems import Problem, visible
from tunery.i18n import t

WINDOW = 100


def report_text(report: Report, *, plain: bool = False) -> str:
    """The problems, grouped, each with its place, its line and a caret, and what to do.

    Args:
        report: What was found.
        plain: Only what stops a run; for an error message.
    """
    groups = sorted(report.groups.values(), key=lambda g: (ORDER[g.examples[0].severity], g.code))
    lines: list[str] = []
    for group in groups:
        if plain and group.examples[0].severity != "stop":
            continue
        lines += _group(group)
    lines += _end(report, plain)
    return "\n".join(lines)


def _group(group: Group) -> Iterator[str]:
    count = group.count
    for i, problem in enumerate(group.examples):
        what = problem.place
        if problem.record is not None:
            what += "  " + t("(record {record})", record=f"{problem.record:,}")
        tail = ""
        if i == 0 and (count > 1 or problem.record is not None):
            tail = "   " + (t("1 row") if count == 1 else t("{count} rows", count=f"{count:,}"))
        yield f"{problem.code}  {what}{tail}" if i == 0 else f"      {what}"
        sentence = problem.found.local()
        if i == 0 or sentence != group.examples[0].found.local():
            yield f"      {visible(sentence)}"
        yield from caret(problem)
    if count > len(group.examples) == MAX_EXAMPLES:
        yield "      " + t("… and {count} more", count=f"{count - MAX_EXAMPLES:,}")
    fix = group.examples[0].fix.local()
    if fix:
        yield "      " + t("fix: {fix}", fix=fix)


def caret(problem: Problem) -> Iterator[str]:
    """The line that is wrong and a caret under the place, cut to a window around it."""
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


def _width(text: str) -> int:
    """Columns of a terminal that a text takes; East Asian characters take two."""
    import unicodedata

    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _end(report: Report, plain: bool) -> Iterator[str]:
    if report.bad or report.duplicates:
        yield t(
            "{good} of {rows} rows are fine.", good=f"{report.good:,}", rows=f"{report.rows:,}"
        )
    if plain:
        return
