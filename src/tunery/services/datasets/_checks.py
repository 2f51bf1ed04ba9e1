"""The checker's report on a named dataset, cached until its files change.

The checker is ``data.lint``, the same for every front end; here its report is stored so that lists
and pages can show it in either language, with the row number of each example.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tunery import atomic, env
from tunery.config.data import DataConfig
from tunery.data.dataset import Dataset
from tunery.data.lint.report import Report
from tunery.data.problems import FileProblem, Phrase, Problem, visible
from tunery.data.sources.base import Bad
from tunery.data.variables import PLACEHOLDER
from tunery.i18n import joined, t
from tunery.jobs import start as jobs
from tunery.jobs.process import Handle
from tunery.services.datasets import _named
from tunery.services.datasets._rows import each_row, is_light, located, strings
from tunery.types import is_list, is_mapping

LANGUAGE_ROWS = 20_000
MIXED_SHARE = 0.3
SCRIPTS = {
    "zh": re.compile(r"[\u3400-\u9fff\uf900-\ufaff]"),
    "ja": re.compile(r"[\u3040-\u30ff]"),
    "ko": re.compile(r"[\uac00-\ud7af]"),
    "latin": re.compile(r"[A-Za-z\u00c0-\u024f]"),
    "cyrillic": re.compile(r"[\u0400-\u04ff]"),
    "arabic": re.compile(r"[\u0600-\u06ff]"),
}
Progress = Callable[[int, int, int], None]


def known_check(name: str, *, again: bool = False) -> dict[str, Any]:
    """Return the check of a dataset, running it if there is none yet.

    A small dataset is checked at once; a large one by a job, whose id is returned as ``job``.

    Args:
        name: A named dataset.
        again: Check again even if the cached report is still valid.

    Raises:
        TuneryError: The dataset was not found.
    """
    kept = None if again else latest(name)
    if kept is not None:
        return kept
    dataset = located(name, DataConfig())
    if is_light(dataset, DataConfig()):
        return check(name)
    return {"job": jobs.start("check", {"name": name}, name).id}


def latest(name: str) -> dict[str, Any] | None:
    """The cached report in the current language; None if there is none or the files changed."""
    try:
        kept = json.loads(_file(name).read_text(encoding="utf-8"))
        dataset = located(name, DataConfig()) if not name.startswith("hf:") else None
    except (OSError, ValueError):
        return None
    if dataset is None or kept.get("stamp") != stamp(dataset):
        return None
    return _in_words(kept)


def check(name: str, *, progress: Progress | None = None) -> dict[str, Any]:
    """Check a dataset now and store the report.

    Raises:
        TuneryError: The dataset was not found.
    """
    config = DataConfig()
    dataset = located(name, config)
    report = _named.check(name, config, progress=progress)
    firsts, languages = _second_look(dataset, config)
    kept = _plain(report, firsts) | {
        "stamp": stamp(dataset),
        "when": time.time(),
        "languages": languages,
        "statistics": None,
    }
    _keep(name, kept)
    return _in_words(kept)


def keep_statistics(name: str, statistics: Mapping[str, Any], *, model: str) -> None:
    """Store a dataset's token counts with its report, for lists."""
    try:
        kept = json.loads(_file(name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # it was never checked, so the counts would not be shown
    _keep(name, kept | {"statistics": {**statistics, "model": model}})


def check_job(arguments: dict[str, Any], handle: Handle) -> dict[str, Any]:
    """The job ``check``: check a large dataset row by row."""

    def progress(rows: int, done: int, total: int) -> None:
        handle.progress(done, total, "bytes", rows=rows)
        handle.stop_if_asked()

    found = check(str(arguments["name"]), progress=progress)
    return {"name": arguments["name"], "rows": found["rows"], "ok": found["ok"]}


def stamp(dataset: Dataset) -> list[list[Any]]:
    """A value that changes when a dataset's files or the way they are read change."""
    found: list[list[Any]] = [[dataset.format, sorted(dataset.columns.items())]]
    for path in dataset.files:
        if path.is_file():
            stat = path.stat()
            found.append([str(path), stat.st_size, stat.st_mtime_ns])
    return json.loads(json.dumps(found))


def groups(report: Report) -> list[dict[str, Any]]:
    """A report's problems in the current language, most severe first."""
    return _in_words(_plain(report, {}))["groups"]


def _second_look(dataset: Dataset, config: DataConfig) -> tuple[dict[str, int], dict[str, int]]:
    """The row number before each file's first row, and the number of rows per language."""
    firsts: dict[str, int] = {}
    languages: Counter[str] = Counter()
    many = len(dataset.files) > 1
    try:
        for raw in each_row(dataset, config):
            firsts.setdefault(raw.file, raw.number - raw.record)
            if raw.number <= LANGUAGE_ROWS and not isinstance(raw.row, Bad):
                languages[_language(raw.row)] += 1
            elif raw.number > LANGUAGE_ROWS and not many:
                break
    except FileProblem:
        pass  # the report contains it
    return firsts, dict(languages.most_common())


def _language(row: Any) -> str:
    text = PLACEHOLDER.sub("", "\n".join(strings(_said(row))))[:20_000]
    counts = {name: len(pattern.findall(text)) for name, pattern in SCRIPTS.items()}
    counts["zh"] *= 3  # a Chinese character carries about as much as three letters
    total = sum(counts.values())
    if not total:
        return "other"
    if counts["ja"] > total * 0.1:
        return "ja"
    (first, most), (_, second) = Counter(counts).most_common(2)
    return first if second <= MIXED_SHARE * most else "mixed"


def _said(value: Any) -> Any:
    """A row without the speaker names, which are in English in every dataset."""
    if is_mapping(value):
        return {key: _said(item) for key, item in value.items() if key not in ("role", "from")}
    if is_list(value):
        return [_said(item) for item in value]
    return value


def _plain(report: Report, firsts: Mapping[str, int]) -> dict[str, Any]:
    return {
        "rows": report.rows,
        "good": report.good,
        "bad": report.bad,
        "format": report.format,
        "ok": report.ok,
        "only_rows": bool(report.bad) and report.only_rows,
        "groups": [
            {
                "code": group.code,
                "level": group.examples[0].severity,
                "count": group.count,
                "examples": [_example(each, firsts) for each in group.examples],
            }
            for group in report.ordered
        ],
    }


def _example(problem: Problem, firsts: Mapping[str, int]) -> dict[str, Any]:
    row = problem.record + firsts.get(problem.file, 0) if problem.record is not None else None
    return {
        "place": problem.place,
        "file": visible(problem.file),
        "row": row,
        "line": problem.line,
        "column": problem.column,
        "field": problem.field,
        "excerpt": visible(problem.excerpt, 200) if problem.excerpt else None,
        "found": problem.found.stored(),
        "fix": problem.fix.stored(),
    }


def _in_words(kept: dict[str, Any]) -> dict[str, Any]:
    def said(example: dict[str, Any]) -> dict[str, Any]:
        return {
            **example,
            "place": _place(example),
            "found": Phrase.of(example["found"]).local(),
            "fix": joined(Phrase.of(example["fix"])),
        }

    found = [
        {**group, "examples": [said(each) for each in group["examples"]]}
        for group in kept["groups"]
    ]
    return {**{key: value for key, value in kept.items() if key != "stamp"}, "groups": found}


def _place(example: Mapping[str, Any]) -> str:
    """Where a problem is, in words."""
    file, line, row = example.get("file"), example["line"], example["row"]
    if not file:  # a report of an earlier version
        return example["place"]
    file = Path(file).name if Path(file).is_absolute() else file
    if line is not None:
        return t("{file}, line {n}", file=file, n=line)
    return file if row is None else t("{file}, row {n}", file=file, n=row)


def _file(name: str) -> Path:
    return env.datasets_dir() / "checks" / f"{name.replace('/', '_')}.json"


def _keep(name: str, kept: Mapping[str, Any]) -> None:
    file = _file(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    atomic.write(file, json.dumps(kept, ensure_ascii=False))
